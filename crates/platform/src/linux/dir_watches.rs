//! Watches of a few single directories: `inotify(7)`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use crate::{
    dir::Dir,
    dir_watch::DirInterest,
    inotify::{Inotify, InotifyEvent, InotifyEventKind, WatchId, WatchInterest},
};

/// Watched directories.
#[derive(Debug)]
pub struct DirWatches {
    inotify: Inotify,
    buffer: Vec<u8>,
}

/// A watch of one directory, which has the same one if it is watched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirWatchId(WatchId);

impl DirWatches {
    /// Creates watches of no directory.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::new()?, buffer: vec![0; 4096] })
    }

    /// Watches a directory. If it is watched already, the interest is added.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    pub fn watch(&mut self, directory: &Dir, interest: DirInterest) -> io::Result<DirWatchId> {
        let interest = match interest {
            DirInterest::Itself => WatchInterest::Itself,
            DirInterest::Names => WatchInterest::Names,
        };
        self.inotify.watch(directory, interest).map(DirWatchId)
    }

    /// Ends a watch. Does nothing if the directory was deleted.
    pub fn unwatch(&mut self, watch: DirWatchId) {
        let _ = self.inotify.unwatch(watch.0);
    }

    /// Reads the pending events. Returns true if a watched directory itself was changed, or a name
    /// in one for which `matters` returns true.
    pub fn read(&mut self, matters: impl Fn(DirWatchId, &[u8]) -> bool) -> bool {
        let is_relevant = |event: InotifyEvent<'_>| {
            event.kind != InotifyEventKind::Ignored
                && (event.name.is_empty() || matters(DirWatchId(event.watch), event.name))
        };
        let mut is_any_relevant = false;
        while let Ok(Some(mut events)) = self.inotify.read(&mut self.buffer) {
            is_any_relevant = is_any_relevant || events.any(is_relevant);
        }
        is_any_relevant
    }
}

/// Readable if there are events.
impl AsFd for DirWatches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
