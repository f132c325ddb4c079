//! A working directory for one thread alone.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    io,
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::dir::Dir;

/// The right of this thread to go where it wants: its working directory is not that of the
/// process any more, until it ends.
///
/// As long as a thread stands in a directory, its file system can't be unmounted.
#[derive(Debug)]
pub struct Stand {
    /// It is of no use to another thread.
    of_this_thread: PhantomData<*const ()>,
}

impl Stand {
    /// Parts the working directory of this thread from that of the process. With it go the root
    /// directory and the mode mask, which stay as they are. This can't be undone, so it is for
    /// threads that do little else.
    ///
    /// # Errors
    ///
    /// As `unshare(2)`.
    pub fn part() -> io::Result<Self> {
        // SAFETY: only the working directory, the root directory and the mask are parted. The
        // descriptors, whose parting is what can break the promises of others, stay shared.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        Ok(Self { of_this_thread: PhantomData })
    }
}

/// A directory whose entries are named for calls that take a path and no descriptor.
#[derive(Debug)]
pub struct Vantage<'a> {
    directory: &'a Dir,
    /// Who stands there meanwhile.
    stand: Option<&'a mut Stand>,
}

impl<'a> Vantage<'a> {
    /// Goes to this directory. There its entries have short paths; without a stand their paths lead
    /// through `/proc`.
    ///
    /// # Errors
    ///
    /// As `fchdir(2)`, if there is a stand: `EACCES` without the permission to search the directory.
    pub fn new(directory: &'a Dir, stand: Option<&'a mut Stand>) -> io::Result<Self> {
        if stand.is_some() {
            rustix::process::fchdir(directory)?;
        }
        Ok(Self { directory, stand })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Dir {
        self.directory
    }

    /// A path for its entry `name`.
    pub(crate) fn path<'n>(&self, name: &'n [u8]) -> Cow<'n, OsStr> {
        if self.stand.is_some() {
            return OsStr::from_bytes(name).into();
        }
        let descriptor = self.directory.as_fd().as_raw_fd();
        let path = [format!("/proc/self/fd/{descriptor}/").as_bytes(), name].concat();
        OsString::from_vec(path).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, thread};

    #[test]
    fn only_the_thread_itself_goes_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        let before = env::current_dir().unwrap();
        let there = thread::scope(|scope| {
            let wanderer = scope.spawn(|| {
                let mut stand = Stand::part().unwrap();
                Vantage::new(&Dir::open(&path).unwrap(), Some(&mut stand)).unwrap();
                env::current_dir().unwrap()
            });
            wanderer.join().unwrap()
        });
        assert_eq!((there, env::current_dir().unwrap()), (path, before));
    }
}
