//! System calls of the backend.
//!
//! All of them are behind one trait, so a simulated kernel can show, report and lose changes in any
//! order in which the real one may.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use mirror_platform::{
    dir::Dir,
    entries::ReadBuffer,
    inotify::{Inotify, InotifyEvents, WatchId, WatchInterest},
    leaf_dirs::LeafDirs,
    thread_cwd::{LookupDir, ThreadCwd},
};
use rustix::fs::FileType;

use super::super::limits::explain_no_instance;

/// System calls that the backend needs. Paths are absolute, without the leading slash.
///
/// The descriptor is readable when there are events.
pub(in crate::watch) trait Kernel: AsFd + fmt::Debug + Send + Sync {
    /// An open directory.
    type Dir;
    /// Knowledge about a file system that identifies directories without subdirectories.
    type LeafDirs: Copy;
    /// Directory in which names are looked up.
    type LookupDir<'a>
    where
        Self: 'a;

    /// Opens a directory for reading. Follows no symbolic link.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn open(&self, path: &[u8]) -> io::Result<Self::Dir>;

    /// Opens the subdirectory `name` for reading. Follows no symbolic link.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn open_in(&self, parent: &Self::Dir, name: &[u8]) -> io::Result<Self::Dir>;

    /// Opens a directory for looking names up in it only.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn open_for_lookup(&self, path: &[u8]) -> io::Result<Self::Dir>;

    /// Returns the identity of a directory.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn identity(&self, dir: &Self::Dir) -> io::Result<DirId>;

    /// Calls `each` with the name of each subdirectory.
    ///
    /// # Errors
    ///
    /// As `getdents64(2)`.
    fn list(
        &self,
        dir: &Self::Dir,
        buffer: &mut ReadBuffer,
        each: impl FnMut(&[u8]),
    ) -> io::Result<()>;

    /// Determines whether link counts identify directories without subdirectories on the file
    /// system of `dir`.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn leaf_dirs(&self, dir: &Self::Dir) -> io::Result<Self::LeafDirs>;

    /// Returns true if the subdirectory `name` of `dir` certainly has no subdirectory.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn is_leaf(&self, leaves: Self::LeafDirs, dir: &Self::Dir, name: &[u8]) -> io::Result<bool>;

    /// Prepares a directory for looking names up in it.
    ///
    /// # Errors
    ///
    /// As `fchdir(2)`.
    fn lookup_dir<'a>(
        &'a self,
        dir: &'a Self::Dir,
        cwd: Option<&'a mut ThreadCwd>,
    ) -> io::Result<Self::LookupDir<'a>>;

    /// Watches an open directory. A watched directory keeps its watch descriptor.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    fn watch(&self, dir: &Self::Dir) -> io::Result<WatchId>;

    /// Watches the lookup directory itself. A watched directory keeps its watch descriptor.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    fn watch_lookup_dir(&self, lookup: &Self::LookupDir<'_>) -> io::Result<WatchId>;

    /// Watches the subdirectory `name`, if it is not watched yet.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`: `EEXIST` if it is watched.
    fn watch_new(&self, lookup: &Self::LookupDir<'_>, name: &[u8]) -> io::Result<WatchId>;

    /// Removes a watch.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the watch no longer exists.
    fn unwatch(&self, watch: WatchId) -> io::Result<()>;

    /// Reads as many events as fit into `buffer`. Returns `None` if none is pending.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<InotifyEvents<'a>>>;
}

/// Identity of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct DirId {
    pub(in crate::watch) device: (u32, u32),
    pub(in crate::watch) inode: u64,
    pub(in crate::watch) mount: u64,
}

#[derive(Debug)]
pub(in crate::watch) struct RealKernel {
    inotify: Inotify,
    base: Dir,
}

impl RealKernel {
    /// Creates an inotify instance.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`.
    pub(in crate::watch) fn new() -> io::Result<Self> {
        let inotify = Inotify::new().map_err(explain_no_instance)?;
        Ok(Self { inotify, base: Dir::open(Path::new("/"))? })
    }
}

impl AsFd for RealKernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Kernel for RealKernel {
    type Dir = Dir;
    type LeafDirs = LeafDirs;
    type LookupDir<'a> = LookupDir<'a>;

    fn open(&self, path: &[u8]) -> io::Result<Dir> {
        self.base.open_below(path)
    }

    fn open_in(&self, parent: &Dir, name: &[u8]) -> io::Result<Dir> {
        parent.open_below(name)
    }

    fn open_for_lookup(&self, path: &[u8]) -> io::Result<Dir> {
        self.base.open_below_for_lookup(path)
    }

    fn identity(&self, dir: &Dir) -> io::Result<DirId> {
        let stat = dir.stat(b"")?;
        Ok(DirId { device: stat.device, inode: stat.inode, mount: stat.mount })
    }

    fn list(
        &self,
        dir: &Dir,
        buffer: &mut ReadBuffer,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        dir.read(buffer, |entry| {
            if entry.file_type == FileType::Directory {
                each(entry.name);
            }
            Ok(())
        })
    }

    fn leaf_dirs(&self, dir: &Dir) -> io::Result<LeafDirs> {
        LeafDirs::for_file_system_of(dir)
    }

    fn is_leaf(&self, leaves: LeafDirs, dir: &Dir, name: &[u8]) -> io::Result<bool> {
        leaves.is_leaf(dir, name)
    }

    fn lookup_dir<'a>(
        &'a self,
        dir: &'a Dir,
        cwd: Option<&'a mut ThreadCwd>,
    ) -> io::Result<LookupDir<'a>> {
        LookupDir::new(dir, cwd)
    }

    fn watch(&self, dir: &Dir) -> io::Result<WatchId> {
        self.inotify.watch(dir, WatchInterest::Entries)
    }

    fn watch_lookup_dir(&self, lookup: &LookupDir<'_>) -> io::Result<WatchId> {
        self.inotify.watch_lookup_dir(lookup, WatchInterest::Entries)
    }

    fn watch_new(&self, lookup: &LookupDir<'_>, name: &[u8]) -> io::Result<WatchId> {
        self.inotify.watch_new(lookup, name, WatchInterest::Entries)
    }

    fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        self.inotify.unwatch(watch)
    }

    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<InotifyEvents<'a>>> {
        self.inotify.read(buffer)
    }
}
