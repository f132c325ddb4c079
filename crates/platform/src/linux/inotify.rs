//! inotify(7): events of individually watched directories.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use crate::thread_cwd::LookupDir;

/// Size of the smallest buffer that can hold every event: a header and a name of 255 bytes with its
/// NULs.
pub const MIN_BUFFER_SIZE: usize = HEADER_SIZE + 256;

/// Size of `struct inotify_event` without its name.
const HEADER_SIZE: usize = 16;

/// Watch descriptor. The kernel reuses a number only after all 2^31 numbers were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub i32);

/// An inotify instance.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

/// Events that a watch reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchInterest {
    /// Changes of the entries of a directory, and of the attributes of the directory itself.
    /// Excludes files that were unlinked and are still open.
    Entries,
    /// Names that appear in a directory or disappear from it, and the events of
    /// [`Itself`](Self::Itself).
    Names,
    /// Only deletion, renaming and unmounting of the directory itself.
    Itself,
}

impl WatchInterest {
    fn mask(self) -> WatchFlags {
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let events = match self {
            Self::Itself => itself,
            Self::Names => {
                itself
                    | WatchFlags::CREATE
                    | WatchFlags::DELETE
                    | WatchFlags::MOVED_FROM
                    | WatchFlags::MOVED_TO
            }
            Self::Entries => {
                WatchFlags::ATTRIB
                    | WatchFlags::MODIFY
                    | WatchFlags::CLOSE_WRITE
                    | WatchFlags::CREATE
                    | WatchFlags::DELETE
                    | WatchFlags::MOVED_FROM
                    | WatchFlags::MOVED_TO
                    | WatchFlags::EXCL_UNLINK
            }
        };
        events | WatchFlags::ONLYDIR
    }

    /// Returns the mask for a directory that may be watched already, with the same interest.
    ///
    /// Without `IN_MASK_ADD` the kernel clears the mask of an existing watch for a moment before it
    /// sets the new one. Events on other processors in that moment are lost (seen on 6.18: one
    /// event of 300 while a directory is watched again and again).
    fn mask_add(self) -> WatchFlags {
        self.mask() | WatchFlags::MASK_ADD
    }
}

/// Returns a path to an open file.
fn proc_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

impl Inotify {
    /// Creates an instance.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`: `EMFILE` if the limit `fs.inotify.max_user_instances` is reached.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Watches an open directory. The descriptor may be closed afterwards. A directory that is
    /// already watched keeps its watch descriptor and loses no event. Within one instance, a
    /// directory that is watched with several interests reports the events of all of them.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`: `ENOSPC` if the limit `fs.inotify.max_user_watches` is reached,
    /// and `ENOENT` if `/proc` is not mounted.
    pub fn watch(&self, directory: impl AsFd, interest: WatchInterest) -> io::Result<WatchId> {
        let path = proc_path(&directory);
        Ok(WatchId(inotify::add_watch(&self.fd, path, interest.mask_add())?))
    }

    /// Watches the lookup directory itself. A directory that is already watched keeps its watch
    /// descriptor.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    pub fn watch_lookup_dir(
        &self,
        lookup: &LookupDir<'_>,
        interest: WatchInterest,
    ) -> io::Result<WatchId> {
        Ok(WatchId(inotify::add_watch(&self.fd, lookup.path(b"."), interest.mask_add())?))
    }

    /// Watches the subdirectory `name`, which must not be a symbolic link, if it is not watched
    /// yet. With a [`ThreadCwd`](crate::thread_cwd::ThreadCwd) this takes less than half of the
    /// time of opening a directory, watching it by its descriptor and closing it.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch), and `EEXIST` if the directory is already watched; `ENOTDIR` if
    /// `name` is not a directory.
    pub fn watch_new(
        &self,
        lookup: &LookupDir<'_>,
        name: &[u8],
        interest: WatchInterest,
    ) -> io::Result<WatchId> {
        let mask = interest.mask() | WatchFlags::MASK_CREATE | WatchFlags::DONT_FOLLOW;
        Ok(WatchId(inotify::add_watch(&self.fd, lookup.path(name), mask)?))
    }

    /// Removes a watch. An `Ignored` event follows, and events that are already queued remain
    /// queued.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the watch no longer exists, for example because the directory was deleted.
    pub fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        Ok(inotify::remove_watch(&self.fd, watch.0)?)
    }

    /// Reads as many events as fit into `buffer`. Returns `None` if none is pending. Never blocks.
    ///
    /// # Errors
    ///
    /// As `read(2)`: `EINVAL` if the buffer is smaller than [`MIN_BUFFER_SIZE`].
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<InotifyEvents<'a>>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)) {
            Ok(length) => Ok(buffer.get(..length).map(InotifyEvents::new)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyEvent<'a> {
    /// The watch that reports it.
    pub watch: WatchId,
    /// Kind of change.
    pub kind: InotifyEventKind,
    /// True if the entry is a directory.
    pub is_directory: bool,
    /// The changed entry of the watched directory; empty for the directory itself.
    pub name: &'a [u8],
}

/// Kind of change in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InotifyEventKind {
    /// Attributes changed.
    Attrib,
    /// The content of a file changed.
    Modify,
    /// A file that was open for writing was closed.
    CloseWrite,
    /// An entry was created.
    Create,
    /// An entry was removed.
    Delete,
    /// An entry was renamed away from here; the matching [`MovedTo`](Self::MovedTo) has the same
    /// cookie.
    MovedFrom(u32),
    /// An entry was renamed to here.
    MovedTo(u32),
    /// The watched directory was deleted.
    DeleteSelf,
    /// The watched directory was renamed.
    MoveSelf,
    /// The file system of the watched directory was unmounted.
    Unmount,
    /// The watch was removed.
    Ignored,
    /// The kernel's queue overflowed: events are missing from here on.
    Overflow,
    /// A kind that this program does not know.
    Unknown,
}

impl InotifyEventKind {
    /// Decodes a mask, in which the kernel sets exactly one of these bits.
    fn of(mask: ReadFlags, cookie: u32) -> Self {
        const BITS: [(ReadFlags, InotifyEventKind); 10] = [
            (ReadFlags::MODIFY, InotifyEventKind::Modify),
            (ReadFlags::CLOSE_WRITE, InotifyEventKind::CloseWrite),
            (ReadFlags::CREATE, InotifyEventKind::Create),
            (ReadFlags::DELETE, InotifyEventKind::Delete),
            (ReadFlags::ATTRIB, InotifyEventKind::Attrib),
            (ReadFlags::IGNORED, InotifyEventKind::Ignored),
            (ReadFlags::DELETE_SELF, InotifyEventKind::DeleteSelf),
            (ReadFlags::MOVE_SELF, InotifyEventKind::MoveSelf),
            (ReadFlags::UNMOUNT, InotifyEventKind::Unmount),
            (ReadFlags::QUEUE_OVERFLOW, InotifyEventKind::Overflow),
        ];
        if mask.contains(ReadFlags::MOVED_FROM) {
            return Self::MovedFrom(cookie);
        }
        if mask.contains(ReadFlags::MOVED_TO) {
            return Self::MovedTo(cookie);
        }
        BITS.into_iter()
            .find(|(bit, _)| mask.contains(*bit))
            .map_or(Self::Unknown, |(_, kind)| kind)
    }
}

/// Iterator over the events of one read.
#[derive(Clone, Debug)]
pub struct InotifyEvents<'a> {
    rest: &'a [u8],
}

impl<'a> InotifyEvents<'a> {
    /// Parses events in the kernel's binary format; see inotify(7).
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the number of bytes that are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for InotifyEvents<'a> {
    type Item = InotifyEvent<'a>;

    fn next(&mut self) -> Option<InotifyEvent<'a>> {
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(self.rest.get(at..at + 4)?.try_into().ok()?))
        };
        let watch = WatchId(number(0)?.cast_signed());
        let mask = ReadFlags::from_bits_retain(number(4)?);
        let kind = InotifyEventKind::of(mask, number(8)?);
        let end = HEADER_SIZE + usize::try_from(number(12)?).ok()?;
        let padded = self.rest.get(HEADER_SIZE..end)?;
        self.rest = self.rest.get(end..)?;
        let name = padded.split(|&b| b == 0).next().unwrap_or_default();
        Some(InotifyEvent { watch, kind, is_directory: mask.contains(ReadFlags::ISDIR), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dir::Dir, thread_cwd::ThreadCwd};
    use std::{
        fs,
        os::unix::fs::symlink,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    fn drain(inotify: &Inotify) -> Vec<(InotifyEventKind, bool, Vec<u8>)> {
        let mut buffer = [0; MIN_BUFFER_SIZE];
        let mut seen = Vec::new();
        while let Some(events) = inotify.read(&mut buffer).unwrap() {
            seen.extend(events.map(|e| (e.kind, e.is_directory, e.name.to_vec())));
        }
        seen
    }

    #[test]
    fn entry_events_are_reported_in_order() {
        let place = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.watch(Dir::open(place.path()).unwrap(), WatchInterest::Entries).unwrap();
        assert_eq!(drain(&inotify), []);
        let long = "n".repeat(255);
        fs::create_dir(place.path().join("d")).unwrap();
        fs::write(place.path().join(&long), b"x").unwrap();
        fs::rename(place.path().join(&long), place.path().join("f")).unwrap();
        fs::remove_file(place.path().join("f")).unwrap();
        let seen = drain(&inotify);
        let (InotifyEventKind::MovedFrom(from), InotifyEventKind::MovedTo(to)) =
            (seen[4].0, seen[5].0)
        else {
            panic!("no move in {seen:?}")
        };
        assert_eq!(from, to);
        let long = long.into_bytes();
        assert_eq!(
            seen,
            [
                (InotifyEventKind::Create, true, b"d".to_vec()),
                (InotifyEventKind::Create, false, long.clone()),
                (InotifyEventKind::Modify, false, long.clone()),
                (InotifyEventKind::CloseWrite, false, long.clone()),
                (InotifyEventKind::MovedFrom(from), false, long),
                (InotifyEventKind::MovedTo(to), false, b"f".to_vec()),
                (InotifyEventKind::Delete, false, b"f".to_vec()),
            ]
        );
    }

    #[test]
    fn a_directory_reports_its_own_rename_and_deletion() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        fs::create_dir(&path).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = inotify.watch(Dir::open(&path).unwrap(), WatchInterest::Itself).unwrap();
        fs::rename(&path, place.path().join("e")).unwrap();
        fs::remove_dir(place.path().join("e")).unwrap();
        let kind: Vec<_> = drain(&inotify).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(
            kind,
            [InotifyEventKind::MoveSelf, InotifyEventKind::DeleteSelf, InotifyEventKind::Ignored]
        );
        assert!(inotify.unwatch(watch).is_err());
    }

    #[test]
    fn watching_again_loses_no_events() {
        const MADE: usize = 30_000;
        // The kernel's queue holds some thousands of events.
        const AT_ONCE: usize = 1000;
        let place = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut cwd = ThreadCwd::unshare().unwrap();
        let lookup = LookupDir::new(&dir, Some(&mut cwd)).unwrap();
        inotify.watch(&dir, WatchInterest::Entries).unwrap();
        let (mut reported, drains) = (0, AtomicUsize::new(0));
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut drained = 0;
                for number in 0..MADE {
                    while number % AT_ONCE == 0 && drains.load(Ordering::Relaxed) < drained {
                        thread::yield_now();
                    }
                    drained = drains.load(Ordering::Relaxed) + 2;
                    fs::create_dir(place.path().join("d")).unwrap();
                    fs::remove_dir(place.path().join("d")).unwrap();
                }
            });
            let mut is_finished = false;
            while !is_finished {
                is_finished = other.is_finished();
                for _ in 0..20 {
                    inotify.watch(&dir, WatchInterest::Entries).unwrap();
                    inotify.watch_lookup_dir(&lookup, WatchInterest::Entries).unwrap();
                }
                let events = drain(&inotify);
                assert!(events.iter().all(|(kind, ..)| *kind != InotifyEventKind::Overflow));
                reported += events.len();
                drains.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(reported, 2 * MADE);
    }

    #[test]
    fn a_renamed_directory_keeps_its_watch() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = |name| {
            inotify
                .watch(Dir::open(&place.path().join(name)).unwrap(), WatchInterest::Entries)
                .unwrap()
        };
        let before = watch("d");
        fs::rename(place.path().join("d"), place.path().join("e")).unwrap();
        assert_eq!(watch("e"), before);
        inotify.unwatch(before).unwrap();
        assert_ne!(watch("e"), before);
    }

    #[test]
    fn watch_new_rejects_a_watched_directory() {
        let place = tempfile::tempdir().unwrap();
        let sub = place.path().join("sub");
        fs::create_dir(&sub).unwrap();
        symlink("sub", place.path().join("link")).unwrap();
        let inotify = Inotify::new().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut last = None;
        let mut check = |cwd: Option<&mut ThreadCwd>| {
            let lookup = LookupDir::new(&dir, cwd).unwrap();
            let new = |name| inotify.watch_new(&lookup, name, WatchInterest::Entries);
            let code = |name| Errno::from_io_error(&new(name).unwrap_err()).unwrap();
            assert_eq!([code(b"link"), code(b"none")], [Errno::NOTDIR, Errno::NOENT]);
            let watch = new(b"sub").unwrap();
            assert_ne!(last.replace(watch), Some(watch));
            assert_eq!(code(b"sub"), Errno::EXIST);
            fs::write(sub.join("f"), b"x").unwrap();
            assert!(drain(&inotify).contains(&(
                InotifyEventKind::CloseWrite,
                false,
                b"f".to_vec()
            )));
            inotify.unwatch(watch).unwrap();
        };
        check(None);
        // The unshared working directory would stay with this thread, which runs other tests
        // afterwards.
        thread::scope(|scope| {
            scope.spawn(|| check(Some(&mut ThreadCwd::unshare().unwrap())));
        });
    }
}
