//! fanotify(7) with one mark for a whole file system: events that name a directory by its handle
//! and an entry in it by its name.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::io::Errno;

use crate::handle;

/// The smallest buffer that takes every event: two names of 255 bytes and three handles.
pub const SMALLEST_BUFFER: usize = 2048;

/// The size of `struct fanotify_event_metadata`.
const HEADER: usize = 24;
/// The size of the file system's id that stands before a handle.
const FSID: usize = 8;

// Bits that nix does not name, from <linux/fanotify.h>.
const REPORT_FID: u32 = 0x200;
const REPORT_DIR_FID: u32 = 0x400;
const REPORT_NAME: u32 = 0x800;
const REPORT_TARGET_FID: u32 = 0x1000;
const RENAME: u64 = 0x1000_0000;
const INFO_DIRECTORY_AND_NAME: u8 = 2;
const INFO_OLD_DIRECTORY_AND_NAME: u8 = 10;
const INFO_NEW_DIRECTORY_AND_NAME: u8 = 12;

/// How many events the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// As many as there are. Wants `CAP_SYS_ADMIN`.
    Unlimited,
    /// `fs.fanotify.max_queued_events`.
    Limited,
}

/// A fanotify group.
#[derive(Debug)]
pub struct Group {
    fanotify: Fanotify,
}

impl Group {
    /// A new group.
    ///
    /// # Errors
    ///
    /// As `fanotify_init(2)`: `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` before Linux 5.17,
    /// `ENOSYS` without fanotify.
    pub fn new(queue: Queue) -> io::Result<Self> {
        let report = REPORT_FID | REPORT_DIR_FID | REPORT_NAME | REPORT_TARGET_FID;
        let mut flags = InitFlags::from_bits_retain(report)
            | InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK;
        if queue == Queue::Unlimited {
            flags |= InitFlags::FAN_UNLIMITED_QUEUE;
        }
        Ok(Self { fanotify: Fanotify::init(flags, EventFFlags::O_RDONLY)? })
    }

    /// Marks the whole file system that holds `directory`. Once more does no harm.
    ///
    /// # Errors
    ///
    /// As `fanotify_mark(2)`: `EXDEV` for a subvolume of btrfs, `EOPNOTSUPP` for a file system
    /// without handles, such as most overlays.
    pub fn mark(&self, directory: impl AsFd) -> io::Result<()> {
        self.change(MarkFlags::FAN_MARK_ADD, directory)
    }

    /// Takes the mark away.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    pub fn unmark(&self, directory: impl AsFd) -> io::Result<()> {
        self.change(MarkFlags::FAN_MARK_REMOVE, directory)
    }

    fn change(&self, change: MarkFlags, directory: impl AsFd) -> io::Result<()> {
        // MODIFY, since truncate(2) and utimensat(2) tell nothing else.
        let mask = MaskFlags::from_bits_retain(RENAME)
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_ATTRIB
            | MaskFlags::FAN_ONDIR;
        let flags = change | MarkFlags::FAN_MARK_FILESYSTEM;
        Ok(self.fanotify.mark(flags, mask, directory, None::<&str>)?)
    }

    /// Reads as many events as `buffer` takes. `None` if there is none. Never blocks.
    ///
    /// # Errors
    ///
    /// As `read(2)`: `EINVAL` if the next event does not fit.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(self, &mut *buffer)) {
            Ok(length) => Ok(buffer.get(..length).map(|rest| Events { rest })),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }
}

/// An entry of a directory that is known by its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    key: &'a [u8],
    /// The entry's name; `.` is the directory itself.
    pub name: &'a [u8],
}

impl<'a> Place<'a> {
    /// What tells this directory from all others: the id of the file system and the handle.
    #[must_use]
    pub const fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The handle of the directory, for [`handle::open`].
    #[must_use]
    pub fn handle(&self) -> &'a [u8] {
        self.key.get(FSID..).unwrap_or_default()
    }

    fn parse(record: &'a [u8]) -> Option<Self> {
        let end = FSID + handle::length(record.get(FSID..)?)?;
        let name = record.get(end..)?.split(|&b| b == 0).next()?;
        Some(Self { key: record.get(..end)?, name })
    }
}

/// An event, or several equal ones: the kernel joins an event to an earlier one of the same entry
/// that is still queued, so what happened is a hint, and its order unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What happened.
    pub what: What,
    /// The entry to which it happened, under its old name if it was renamed. `None` for events of
    /// an inode without a name, such as a changed number of links.
    pub place: Option<Place<'a>>,
    /// The new name, if it was renamed.
    pub renamed_to: Option<Place<'a>>,
}

/// What events say to have happened: one or more of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of a mask, any of them at once")]
pub struct What {
    /// An entry was made.
    pub create: bool,
    /// An entry was removed.
    pub delete: bool,
    /// Content changed.
    pub modify: bool,
    /// A file that was open for writing was closed.
    pub close: bool,
    /// Attributes changed.
    pub attrib: bool,
    /// An entry was renamed.
    pub rename: bool,
    /// It happened to a directory.
    pub is_directory: bool,
    /// The kernel's queue was full: events are missing.
    pub overflow: bool,
}

impl What {
    fn of(mask: u64) -> Self {
        let mask = MaskFlags::from_bits_retain(mask);
        Self {
            create: mask.contains(MaskFlags::FAN_CREATE),
            delete: mask.contains(MaskFlags::FAN_DELETE),
            modify: mask.contains(MaskFlags::FAN_MODIFY),
            close: mask.contains(MaskFlags::FAN_CLOSE_WRITE),
            attrib: mask.contains(MaskFlags::FAN_ATTRIB),
            rename: mask.bits() & RENAME != 0,
            is_directory: mask.contains(MaskFlags::FAN_ONDIR),
            overflow: mask.contains(MaskFlags::FAN_Q_OVERFLOW),
        }
    }
}

/// The events of one read.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let length = u32::from_ne_bytes(*self.rest.first_chunk()?) as usize;
        let mask = u64::from_ne_bytes(*self.rest.get(8..)?.first_chunk()?);
        let mut records = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length..)?;
        let mut event = Event { what: What::of(mask), place: None, renamed_to: None };
        while let Some(&[kind, _, low, high]) = records.first_chunk() {
            let size = usize::from(u16::from_ne_bytes([low, high]));
            let Some(record) = records.get(4..size) else { break };
            match kind {
                INFO_DIRECTORY_AND_NAME | INFO_OLD_DIRECTORY_AND_NAME => {
                    event.place = Place::parse(record);
                }
                INFO_NEW_DIRECTORY_AND_NAME => event.renamed_to = Place::parse(record),
                _ => {}
            }
            records = records.get(size..).unwrap_or_default();
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dir::Dir, handle::Handle};
    use std::fs;

    #[test]
    fn an_entry_is_told_by_the_handle_of_its_directory_and_its_name() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let Ok(group) = Group::new(Queue::Unlimited) else {
            assert!(std::env::var_os("CI").is_none(), "fanotify needs root");
            eprintln!("skipped: fanotify needs root");
            return;
        };
        group.mark(&dir).unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        fs::rename(place.path().join("d"), place.path().join("e")).unwrap();
        let here = Handle::of(&dir).unwrap();
        let mut seen = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(events) = group.read(&mut buffer).unwrap() {
            // The mark tells of the whole file system, where other tests work.
            for event in events.filter(|e| e.place.is_some_and(|p| p.handle() == here.as_bytes())) {
                assert_eq!(event.place.unwrap().key().len(), FSID + here.as_bytes().len());
                let name = |place: Option<Place<'_>>| place.map(|p| p.name.to_vec());
                seen.push((event.what.rename, name(event.place), name(event.renamed_to)));
                assert!(event.what.is_directory);
            }
        }
        let (d, e) = (Some(b"d".to_vec()), Some(b"e".to_vec()));
        assert_eq!(seen, [(false, d.clone(), None), (true, d, e)]);
        group.unmark(&dir).unwrap();
    }

    #[test]
    fn bytes_that_are_no_events_are_none() {
        for bytes in [&b""[..], &[0; 24], &[255; 64], &[30; 24]] {
            assert!(Events { rest: bytes }.next().is_none_or(|event| event.place.is_none()));
        }
    }
}
