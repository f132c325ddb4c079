//! What the source asks the kernel for.
//!
//! One door for all of it, so that a simulated kernel may stand behind it which shows, tells and
//! forgets things in any order that the real one may.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use mirror_platform::{
    dir::{Dir, device},
    entries::ReadBuffer,
    inotify::{Events, Inotify, Subject, WatchId},
    leaf::Leaves,
    stand::{Stand, Vantage},
};
use rustix::fs::FileType;

use super::super::limits::no_instance;

/// The calls of the kernel that the source needs. Paths are absolute, without the leading slash.
///
/// Its descriptor is readable when there are events.
pub(in crate::watch) trait Kernel: AsFd + fmt::Debug + Send + Sync {
    /// An open directory.
    type Dir;
    /// What is known of the file system of a directory, to tell those that hold no others.
    type Leaves: Copy;
    /// A directory in which others are named.
    type Vantage<'a>
    where
        Self: 'a;

    /// Opens a directory, to be read. No link is followed.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn open(&self, path: &[u8]) -> io::Result<Self::Dir>;

    /// Opens the directory `name` in another one, to be read. No link is followed.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn open_in(&self, parent: &Self::Dir, name: &[u8]) -> io::Result<Self::Dir>;

    /// Opens a directory, only to look names up in it.
    ///
    /// # Errors
    ///
    /// As `openat2(2)`.
    fn search(&self, path: &[u8]) -> io::Result<Self::Dir>;

    /// Which directory it is.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn identity(&self, dir: &Self::Dir) -> io::Result<Identity>;

    /// Tells `each` the names of the directories in a directory.
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

    /// How to tell the directories that hold no others, on the file system of `dir`.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn leaves(&self, dir: &Self::Dir) -> io::Result<Self::Leaves>;

    /// Whether the directory `name` in `dir` surely holds no other one.
    ///
    /// # Errors
    ///
    /// As `statx(2)`.
    fn is_leaf(&self, leaves: Self::Leaves, dir: &Self::Dir, name: &[u8]) -> io::Result<bool>;

    /// Goes to a directory, to name others from there.
    ///
    /// # Errors
    ///
    /// As `fchdir(2)`.
    fn vantage<'a>(
        &'a self,
        dir: &'a Self::Dir,
        stand: Option<&'a mut Stand>,
    ) -> io::Result<Self::Vantage<'a>>;

    /// Watches an open directory. One that is watched keeps its number.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    fn watch(&self, dir: &Self::Dir) -> io::Result<WatchId>;

    /// Watches the directory in which others are named. If it is watched, it keeps its number.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    fn watch_here(&self, there: &Self::Vantage<'_>) -> io::Result<WatchId>;

    /// Watches the directory `name`, if it is not watched yet.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`: `EEXIST` if it is watched.
    fn watch_new(&self, there: &Self::Vantage<'_>, name: &[u8]) -> io::Result<WatchId>;

    /// Ends a watch.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has ended.
    fn unwatch(&self, watch: WatchId) -> io::Result<()>;

    /// Reads as many events as `buffer` takes. `None` if there is none.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>>;
}

/// What tells a directory from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Identity {
    pub(in crate::watch) device: (u32, u32),
    pub(in crate::watch) inode: u64,
    pub(in crate::watch) mount: u64,
}

/// The kernel on which we run.
#[derive(Debug)]
pub(in crate::watch) struct Real {
    inotify: Inotify,
    base: Dir,
}

impl Real {
    /// A new inotify instance.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`.
    pub(in crate::watch) fn new() -> io::Result<Self> {
        let inotify = Inotify::new().map_err(no_instance)?;
        Ok(Self { inotify, base: Dir::open(Path::new("/"))? })
    }
}

impl AsFd for Real {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Kernel for Real {
    type Dir = Dir;
    type Leaves = Leaves;
    type Vantage<'a> = Vantage<'a>;

    fn open(&self, path: &[u8]) -> io::Result<Dir> {
        self.base.open_below(path)
    }

    fn open_in(&self, parent: &Dir, name: &[u8]) -> io::Result<Dir> {
        parent.open_below(name)
    }

    fn search(&self, path: &[u8]) -> io::Result<Dir> {
        self.base.search_below(path)
    }

    fn identity(&self, dir: &Dir) -> io::Result<Identity> {
        let stat = dir.stat(b"")?;
        Ok(Identity { device: device(&stat), inode: stat.stx_ino, mount: stat.stx_mnt_id })
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

    fn leaves(&self, dir: &Dir) -> io::Result<Leaves> {
        Leaves::on_file_system_of(dir)
    }

    fn is_leaf(&self, leaves: Leaves, dir: &Dir, name: &[u8]) -> io::Result<bool> {
        leaves.contain(dir, name)
    }

    fn vantage<'a>(
        &'a self,
        dir: &'a Dir,
        stand: Option<&'a mut Stand>,
    ) -> io::Result<Vantage<'a>> {
        Vantage::new(dir, stand)
    }

    fn watch(&self, dir: &Dir) -> io::Result<WatchId> {
        self.inotify.watch(dir, Subject::Entries)
    }

    fn watch_here(&self, there: &Vantage<'_>) -> io::Result<WatchId> {
        self.inotify.watch_here(there, Subject::Entries)
    }

    fn watch_new(&self, there: &Vantage<'_>, name: &[u8]) -> io::Result<WatchId> {
        self.inotify.watch_new(there, name, Subject::Entries)
    }

    fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        self.inotify.unwatch(watch)
    }

    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        self.inotify.read(buffer)
    }
}
