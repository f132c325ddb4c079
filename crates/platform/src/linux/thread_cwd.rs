//! Working directory of a single thread.

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

/// Proof that the working directory of this thread is unshared from that of the process.
///
/// While the thread's working directory is on a file system, that can't be unmounted.
#[derive(Debug)]
pub struct ThreadCwd {
    /// Makes the type neither `Send` nor `Sync`: it is valid only in its thread.
    not_send: PhantomData<*const ()>,
}

impl ThreadCwd {
    /// Unshares the working directory of this thread from that of the process, and with it the root
    /// directory and the umask; their values do not change. This can't be undone, so it is for
    /// threads with no other purpose.
    ///
    /// # Errors
    ///
    /// As `unshare(2)`.
    pub fn unshare() -> io::Result<Self> {
        // SAFETY: only the working directory, the root directory and the umask are unshared.
        // Unsharing the descriptors would break the guarantees of other code; they stay shared.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        Ok(Self { not_send: PhantomData })
    }
}

/// Directory whose entries are named in calls that accept a path and no descriptor.
#[derive(Debug)]
pub struct LookupDir<'a> {
    directory: &'a Dir,
    /// Holds the working directory while this exists.
    cwd: Option<&'a mut ThreadCwd>,
}

impl<'a> LookupDir<'a> {
    /// Makes this directory the working directory of the thread, so that its entries have short
    /// paths. Without a `ThreadCwd` the paths lead through `/proc`.
    ///
    /// # Errors
    ///
    /// As `fchdir(2)`, if there is a `ThreadCwd`: `EACCES` without search permission for the
    /// directory.
    pub fn new(directory: &'a Dir, cwd: Option<&'a mut ThreadCwd>) -> io::Result<Self> {
        if cwd.is_some() {
            rustix::process::fchdir(directory)?;
        }
        Ok(Self { directory, cwd })
    }

    /// Returns the open directory.
    #[must_use]
    pub fn directory(&self) -> &Dir {
        self.directory
    }

    /// Returns a path for the entry `name`.
    pub(crate) fn path<'n>(&self, name: &'n [u8]) -> Cow<'n, OsStr> {
        if self.cwd.is_some() {
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
    fn only_the_unshared_thread_changes_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        let before = env::current_dir().unwrap();
        let there = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut cwd = ThreadCwd::unshare().unwrap();
                LookupDir::new(&Dir::open(&path).unwrap(), Some(&mut cwd)).unwrap();
                env::current_dir().unwrap()
            });
            other.join().unwrap()
        });
        assert_eq!((there, env::current_dir().unwrap()), (path, before));
    }
}
