//! A working directory for one thread alone.

use std::{io, marker::PhantomData};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::dir::Dir;

/// The right of this thread to go where it wants: its working directory is not that of the
/// process any more, until it ends.
///
/// From there an open directory can be named as `.`, which is the shortest name that it has. As
/// long as a thread stands in a directory, its file system can't be unmounted.
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

    /// Goes to an open directory.
    ///
    /// # Errors
    ///
    /// As `fchdir(2)`: `EACCES` without the permission to search the directory.
    pub fn go(&self, directory: &Dir) -> io::Result<()> {
        Ok(rustix::process::fchdir(directory)?)
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
                let stand = Stand::part().unwrap();
                stand.go(&Dir::open(&path).unwrap()).unwrap();
                env::current_dir().unwrap()
            });
            wanderer.join().unwrap()
        });
        assert_eq!((there, env::current_dir().unwrap()), (path, before));
    }
}
