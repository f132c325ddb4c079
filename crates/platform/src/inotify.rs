//! inotify(7): events of directories that are watched one by one.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use crate::stand::Vantage;

/// The smallest buffer that takes every event: a header and a name of 255 bytes with its NULs.
pub const SMALLEST_BUFFER: usize = HEADER + 256;

/// The size of `struct inotify_event` without its name.
const HEADER: usize = 16;

/// The number of a watch. The kernel does not use a number again before it has used all 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub i32);

/// An inotify instance.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

/// What a watch tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The entries of a directory, and the attributes of the directory itself. Files that were
    /// unlinked and are still open are left out.
    Entries,
    /// Names that come or go in a directory, and what [`Itself`](Self::Itself) tells.
    Names,
    /// Only that the directory itself is deleted, renamed or unmounted.
    Itself,
}

impl Subject {
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

    /// The mask for a directory that may be watched already, for this same subject.
    ///
    /// Without `IN_MASK_ADD` the kernel sets the mask of such a watch to zero for a moment before it
    /// sets it anew, and what happens on another processor in that moment is told to nobody
    /// (seen on 6.18: one event of 300 while a directory is watched again and again).
    fn mask_again(self) -> WatchFlags {
        self.mask() | WatchFlags::MASK_ADD
    }
}

/// A path to what is open.
fn of_open(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

impl Inotify {
    /// A new instance.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`: `EMFILE` if `fs.inotify.max_user_instances` is used up.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Watches an open directory. The descriptor need not stay open. A directory that is watched
    /// already keeps its number, and loses no event; in one instance, a directory that is watched for
    /// several subjects tells what any of them does.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`: `ENOSPC` if `fs.inotify.max_user_watches` is used up, and
    /// `ENOENT` without `/proc`.
    pub fn watch(&self, directory: impl AsFd, subject: Subject) -> io::Result<WatchId> {
        let path = of_open(&directory);
        Ok(WatchId(inotify::add_watch(&self.fd, path, subject.mask_again())?))
    }

    /// Watches the directory of a vantage. One that is watched already keeps its number.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    pub fn watch_here(&self, there: &Vantage<'_>, subject: Subject) -> io::Result<WatchId> {
        Ok(WatchId(inotify::add_watch(&self.fd, there.path(b"."), subject.mask_again())?))
    }

    /// Watches the directory `name` there, which may be no link, if it is not watched already. With a
    /// stand this takes less than half of the time that it takes to open a directory, to watch it as
    /// it is open, and to close it.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch), and `EEXIST` if the directory is watched already; `ENOTDIR` if there
    /// is something else of that name.
    pub fn watch_new(
        &self,
        there: &Vantage<'_>,
        name: &[u8],
        subject: Subject,
    ) -> io::Result<WatchId> {
        let mask = subject.mask() | WatchFlags::MASK_CREATE | WatchFlags::DONT_FOLLOW;
        Ok(WatchId(inotify::add_watch(&self.fd, there.path(name), mask)?))
    }

    /// Ends a watch. An `Ignored` event follows, and events that are queued stay so.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the watch has ended already, as that of a deleted directory has.
    pub fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        Ok(inotify::remove_watch(&self.fd, watch.0)?)
    }

    /// Reads as many events as `buffer` takes. `None` if there is none. Never blocks.
    ///
    /// # Errors
    ///
    /// As `read(2)`: `EINVAL` if the buffer is smaller than [`SMALLEST_BUFFER`].
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)) {
            Ok(length) => Ok(buffer.get(..length).map(Events::new)),
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

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The watch that tells it.
    pub watch: WatchId,
    /// What happened.
    pub what: What,
    /// Whether it happened to a directory.
    pub is_directory: bool,
    /// The entry of the watched directory to which it happened; empty for the directory itself.
    pub name: &'a [u8],
}

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Attributes changed.
    Attrib,
    /// The content of a file changed.
    Modify,
    /// A file that was open for writing was closed.
    CloseWrite,
    /// An entry was made.
    Create,
    /// An entry was removed.
    Delete,
    /// An entry was renamed away; the other half has the same number.
    MovedFrom(u32),
    /// An entry was renamed to this place.
    MovedTo(u32),
    /// The watched directory was deleted.
    DeleteSelf,
    /// The watched directory was renamed.
    MoveSelf,
    /// The file system of the watched directory was unmounted.
    Unmount,
    /// The watch has ended.
    Ignored,
    /// The kernel's queue was full: events are missing from here on.
    Overflow,
    /// Something that this program does not know.
    Unknown,
}

impl What {
    /// The kernel sets one bit of these in an event.
    fn of(mask: ReadFlags, cookie: u32) -> Self {
        const BITS: [(ReadFlags, What); 10] = [
            (ReadFlags::MODIFY, What::Modify),
            (ReadFlags::CLOSE_WRITE, What::CloseWrite),
            (ReadFlags::CREATE, What::Create),
            (ReadFlags::DELETE, What::Delete),
            (ReadFlags::ATTRIB, What::Attrib),
            (ReadFlags::IGNORED, What::Ignored),
            (ReadFlags::DELETE_SELF, What::DeleteSelf),
            (ReadFlags::MOVE_SELF, What::MoveSelf),
            (ReadFlags::UNMOUNT, What::Unmount),
            (ReadFlags::QUEUE_OVERFLOW, What::Overflow),
        ];
        if mask.contains(ReadFlags::MOVED_FROM) {
            return Self::MovedFrom(cookie);
        }
        if mask.contains(ReadFlags::MOVED_TO) {
            return Self::MovedTo(cookie);
        }
        BITS.into_iter()
            .find(|(bit, _)| mask.contains(*bit))
            .map_or(Self::Unknown, |(_, what)| what)
    }
}

/// The events of one read.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// The events in these bytes, which are as the kernel writes them; see inotify(7).
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(self.rest.get(at..at + 4)?.try_into().ok()?))
        };
        let watch = WatchId(number(0)?.cast_signed());
        let mask = ReadFlags::from_bits_retain(number(4)?);
        let what = What::of(mask, number(8)?);
        let end = HEADER + usize::try_from(number(12)?).ok()?;
        let padded = self.rest.get(HEADER..end)?;
        self.rest = self.rest.get(end..)?;
        let name = padded.split(|&b| b == 0).next().unwrap_or_default();
        Some(Event { watch, what, is_directory: mask.contains(ReadFlags::ISDIR), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dir::Dir, stand::Stand};
    use std::{
        fs,
        os::unix::fs::symlink,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    fn drain(inotify: &Inotify) -> Vec<(What, bool, Vec<u8>)> {
        let mut buffer = [0; SMALLEST_BUFFER];
        let mut seen = Vec::new();
        while let Some(events) = inotify.read(&mut buffer).unwrap() {
            seen.extend(events.map(|e| (e.what, e.is_directory, e.name.to_vec())));
        }
        seen
    }

    #[test]
    fn what_happens_to_entries_is_told_in_order() {
        let place = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.watch(Dir::open(place.path()).unwrap(), Subject::Entries).unwrap();
        assert_eq!(drain(&inotify), []);
        let long = "n".repeat(255);
        fs::create_dir(place.path().join("d")).unwrap();
        fs::write(place.path().join(&long), b"x").unwrap();
        fs::rename(place.path().join(&long), place.path().join("f")).unwrap();
        fs::remove_file(place.path().join("f")).unwrap();
        let seen = drain(&inotify);
        let (What::MovedFrom(from), What::MovedTo(to)) = (seen[4].0, seen[5].0) else {
            panic!("no move in {seen:?}")
        };
        assert_eq!(from, to);
        let long = long.into_bytes();
        assert_eq!(
            seen,
            [
                (What::Create, true, b"d".to_vec()),
                (What::Create, false, long.clone()),
                (What::Modify, false, long.clone()),
                (What::CloseWrite, false, long.clone()),
                (What::MovedFrom(from), false, long),
                (What::MovedTo(to), false, b"f".to_vec()),
                (What::Delete, false, b"f".to_vec()),
            ]
        );
    }

    #[test]
    fn a_directory_tells_of_its_own_end() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        fs::create_dir(&path).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = inotify.watch(Dir::open(&path).unwrap(), Subject::Itself).unwrap();
        fs::rename(&path, place.path().join("e")).unwrap();
        fs::remove_dir(place.path().join("e")).unwrap();
        let what: Vec<_> = drain(&inotify).into_iter().map(|(what, ..)| what).collect();
        assert_eq!(what, [What::MoveSelf, What::DeleteSelf, What::Ignored]);
        assert!(inotify.unwatch(watch).is_err());
    }

    #[test]
    fn nothing_is_lost_while_a_directory_is_watched_again() {
        const MADE: usize = 30_000;
        // The kernel's queue takes some thousands of events.
        const AT_ONCE: usize = 1000;
        let place = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut stand = Stand::part().unwrap();
        let vantage = Vantage::new(&dir, Some(&mut stand)).unwrap();
        inotify.watch(&dir, Subject::Entries).unwrap();
        let (mut told, drains) = (0, AtomicUsize::new(0));
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
            let mut is_at_its_end = false;
            while !is_at_its_end {
                is_at_its_end = other.is_finished();
                for _ in 0..20 {
                    inotify.watch(&dir, Subject::Entries).unwrap();
                    inotify.watch_here(&vantage, Subject::Entries).unwrap();
                }
                let events = drain(&inotify);
                assert!(events.iter().all(|(what, ..)| *what != What::Overflow));
                told += events.len();
                drains.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(told, 2 * MADE);
    }

    #[test]
    fn a_directory_keeps_its_number_when_it_is_renamed() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = |name| {
            inotify.watch(Dir::open(&place.path().join(name)).unwrap(), Subject::Entries).unwrap()
        };
        let before = watch("d");
        fs::rename(place.path().join("d"), place.path().join("e")).unwrap();
        assert_eq!(watch("e"), before);
        inotify.unwatch(before).unwrap();
        assert_ne!(watch("e"), before);
    }

    #[test]
    fn a_directory_that_is_watched_is_not_new() {
        let place = tempfile::tempdir().unwrap();
        let sub = place.path().join("sub");
        fs::create_dir(&sub).unwrap();
        symlink("sub", place.path().join("link")).unwrap();
        let inotify = Inotify::new().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let mut last = None;
        let mut check = |stand: Option<&mut Stand>| {
            let there = Vantage::new(&dir, stand).unwrap();
            let new = |name| inotify.watch_new(&there, name, Subject::Entries);
            let code = |name| Errno::from_io_error(&new(name).unwrap_err()).unwrap();
            assert_eq!([code(b"link"), code(b"none")], [Errno::NOTDIR, Errno::NOENT]);
            let watch = new(b"sub").unwrap();
            assert_ne!(last.replace(watch), Some(watch));
            assert_eq!(code(b"sub"), Errno::EXIST);
            fs::write(sub.join("f"), b"x").unwrap();
            assert!(drain(&inotify).contains(&(What::CloseWrite, false, b"f".to_vec())));
            inotify.unwatch(watch).unwrap();
        };
        check(None);
        // The stand would stay with this thread, which has other tests to run.
        thread::scope(|scope| {
            scope.spawn(|| check(Some(&mut Stand::part().unwrap())));
        });
    }
}
