//! Opening of directories that are identified by their watches.

use std::io;

use mirror_platform::inotify::WatchId;
use rustix::io::Errno;

use super::{InotifyBackend, kernel::Kernel};

/// A directory held open for lookups of its entries, and the watch that identifies it.
pub(super) type OpenParent<K> = Option<(WatchId, <K as Kernel>::Dir)>;

/// Reason why a directory could not be opened.
pub(super) enum OpenFailure {
    /// The parent has no such entry.
    Absent,
    /// The parent is not at its supposed location.
    Unreachable,
    /// The kernel returned another error.
    Refused(io::Error),
}

impl From<io::Error> for OpenFailure {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Self::Absent,
            _ => Self::Refused(error),
        }
    }
}

impl<K: Kernel> InotifyBackend<K> {
    /// Opens a directory by its name in the parent, which is identified by its watch. So the result
    /// is correct whatever the paths have become, and the parent reports when it leaves.
    ///
    /// Only roots are opened by their paths, which is what they stand for.
    pub(super) fn open(
        &mut self,
        node: u32,
        held: &mut OpenParent<K>,
        verify: bool,
    ) -> Result<K::Dir, OpenFailure> {
        let parent = self.dirs.parent(node).filter(|_| !self.dirs.is_root(node));
        let Some(parent) = parent else {
            let path = self.dirs.path(node).ok_or(OpenFailure::Unreachable)?;
            return Ok(self.kernel.open(&path)?);
        };
        // The parent's entries are read after it is watched.
        let Some(watch) = self.dirs.watch(parent) else { return Err(OpenFailure::Unreachable) };
        if held.as_ref().is_none_or(|(known, _)| *known != watch) {
            *held = None;
            *held = self.open_by_watch(parent, watch, verify).map(|dir| (watch, dir));
        }
        let (_, dir) = held.as_ref().ok_or(OpenFailure::Unreachable)?;
        Ok(self.kernel.open_in(dir, self.dirs.name(node))?)
    }

    /// Opens a directory that has this watch. If it is not at its supposed location, it is
    /// scheduled to be read again, until it is seen elsewhere or deleted.
    pub(super) fn open_by_watch(
        &mut self,
        node: u32,
        watch: WatchId,
        verify: bool,
    ) -> Option<K::Dir> {
        let path = self.dirs.path(node);
        let dir = path.and_then(|path| self.kernel.open(&path).ok());
        let actual = dir.as_ref().and_then(|dir| self.kernel.watch(dir).ok());
        if actual == Some(watch) {
            return dir;
        }
        actual.inspect(|&other| self.release_stray(other));
        self.schedule_reread(node, verify);
        None
    }

    /// Returns true if the directory at the location of `other` is `dir` on another mount. Within
    /// one mount it has only one location, so it has left the other one.
    pub(super) fn is_mounted_twice(&mut self, other: u32, dir: &K::Dir) -> bool {
        let Ok(here) = self.kernel.identity(dir) else { return false };
        let Ok(there) = self.open(other, &mut None, false) else { return false };
        self.kernel.identity(&there).is_ok_and(|there| {
            (there.device, there.inode) == (here.device, here.inode) && there.mount != here.mount
        })
    }
}
