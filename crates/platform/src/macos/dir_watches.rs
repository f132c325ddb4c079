//! Watches of a few single directories: `kqueue(2)` with `EVFILT_VNODE`.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use super::kqueue::{KernelQueue, QueueEvent};
use crate::{dir::Dir, dir_watch::DirInterest};

/// Watched directories.
#[derive(Debug)]
pub struct DirWatches {
    queue: KernelQueue,
    watched: HashMap<DirWatchId, WatchedDir>,
}

/// A watch of one directory, which has the same one if it is watched again: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirWatchId(i32, u64);

#[derive(Debug)]
struct WatchedDir {
    /// Kept open: the kernel forgets the watch when it is closed.
    _fd: OwnedFd,
    wants_names: bool,
}

impl DirWatches {
    /// Creates watches of no directory.
    ///
    /// # Errors
    ///
    /// As `kqueue(2)`.
    pub fn new() -> io::Result<Self> {
        Ok(Self { queue: KernelQueue::new()?, watched: HashMap::new() })
    }

    /// Watches a directory. If it is watched already, the interest is added.
    ///
    /// # Errors
    ///
    /// As `kevent(2)`.
    pub fn watch(&mut self, directory: &Dir, interest: DirInterest) -> io::Result<DirWatchId> {
        let stat = rustix::fs::fstat(directory)?;
        let id = DirWatchId(stat.st_dev, stat.st_ino);
        let known = self.watched.get(&id);
        let wants_names = interest == DirInterest::Names || known.is_some_and(|it| it.wants_names);
        if known.is_some_and(|known| known.wants_names == wants_names) {
            return Ok(id);
        }
        let fd = directory.as_fd().try_clone_to_owned()?;
        let itself = libc::NOTE_DELETE | libc::NOTE_RENAME | libc::NOTE_REVOKE;
        let notes = if wants_names { itself | libc::NOTE_WRITE } else { itself };
        self.queue.add(QueueEvent {
            ident: usize::try_from(fd.as_raw_fd()).unwrap_or_default(),
            filter: libc::EVFILT_VNODE,
            flags: libc::EV_ADD | libc::EV_CLEAR,
            notes,
        })?;
        // Closing the other descriptor of this directory removes its watch.
        self.watched.insert(id, WatchedDir { _fd: fd, wants_names });
        Ok(id)
    }

    /// Ends a watch. Does nothing if there is none.
    pub fn unwatch(&mut self, watch: DirWatchId) {
        self.watched.remove(&watch);
    }

    /// Reads the pending events. Returns true if a watched directory itself was changed, or any
    /// name in one: the kernel does not tell which, so `matters` is not asked.
    pub fn read(&mut self, _: impl Fn(DirWatchId, &[u8]) -> bool) -> bool {
        let mut is_any = false;
        while self.queue.take().is_ok_and(|event| event.is_some()) {
            is_any = true;
        }
        is_any
    }
}

/// Readable if there are events.
impl AsFd for DirWatches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
