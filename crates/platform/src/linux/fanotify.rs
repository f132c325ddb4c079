//! fanotify(7) with one mark for a whole file system: events that identify a directory by its file
//! handle and an entry in it by its name.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::io::Errno;

use crate::file_handle;

/// Size of the smallest buffer that can hold every event: two names of 255 bytes and three handles.
pub const MIN_BUFFER_SIZE: usize = 2048;

/// Size of `struct fanotify_event_metadata`.
const HEADER_SIZE: usize = 24;
/// Size of the file system's id, which precedes a handle.
const FSID_SIZE: usize = 8;

// Bits that nix does not define, from <linux/fanotify.h>.
const REPORT_FID: u32 = 0x200;
const REPORT_DIR_FID: u32 = 0x400;
const REPORT_NAME: u32 = 0x800;
const REPORT_TARGET_FID: u32 = 0x1000;
const RENAME: u64 = 0x1000_0000;
const INFO_OBJECT: u8 = 1;
const INFO_DIRECTORY_AND_NAME: u8 = 2;
const INFO_OLD_DIRECTORY_AND_NAME: u8 = 10;
const INFO_NEW_DIRECTORY_AND_NAME: u8 = 12;

/// Limit of the kernel's event queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanotifyQueue {
    /// No limit. Requires `CAP_SYS_ADMIN`.
    Unlimited,
    /// `fs.fanotify.max_queued_events`.
    Limited,
}

/// fanotify group: the kernel's term for an fanotify instance.
#[derive(Debug)]
pub struct FanotifyGroup {
    fanotify: Fanotify,
}

impl FanotifyGroup {
    /// Creates a group.
    ///
    /// # Errors
    ///
    /// As `fanotify_init(2)`: `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` before Linux 5.17, `ENOSYS`
    /// if the kernel has no fanotify.
    pub fn new(queue: FanotifyQueue) -> io::Result<Self> {
        let report = REPORT_FID | REPORT_DIR_FID | REPORT_NAME | REPORT_TARGET_FID;
        let mut flags = InitFlags::from_bits_retain(report)
            | InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK;
        if queue == FanotifyQueue::Unlimited {
            flags |= InitFlags::FAN_UNLIMITED_QUEUE;
        }
        Ok(Self { fanotify: Fanotify::init(flags, EventFFlags::O_RDONLY)? })
    }

    /// Marks the whole file system that holds `directory`. Marking it again has no effect.
    ///
    /// # Errors
    ///
    /// As `fanotify_mark(2)`: `EXDEV` for a subvolume of btrfs, `EOPNOTSUPP` for a file system
    /// without handles, such as most overlays.
    pub fn mark(&self, directory: impl AsFd) -> io::Result<()> {
        self.update_mark(MarkFlags::FAN_MARK_ADD, directory)
    }

    /// Removes the mark.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    pub fn unmark(&self, directory: impl AsFd) -> io::Result<()> {
        self.update_mark(MarkFlags::FAN_MARK_REMOVE, directory)
    }

    fn update_mark(&self, operation: MarkFlags, directory: impl AsFd) -> io::Result<()> {
        // MODIFY, because truncate(2) and utimensat(2) cause no other event.
        let mask = MaskFlags::from_bits_retain(RENAME)
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_ATTRIB
            | MaskFlags::FAN_ONDIR;
        let flags = operation | MarkFlags::FAN_MARK_FILESYSTEM;
        Ok(self.fanotify.mark(flags, mask, directory, None::<&str>)?)
    }

    /// Reads as many events as fit into `buffer`. Returns `None` if none is pending. Never blocks.
    ///
    /// # Errors
    ///
    /// As `read(2)`: `EINVAL` if the next event does not fit.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<FanotifyEvents<'a>>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(self, &mut *buffer)) {
            Ok(length) => Ok(buffer.get(..length).map(FanotifyEvents::new)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for FanotifyGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }
}

/// Entry of a directory that is identified by its file handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanotifyEntry<'a> {
    key: &'a [u8],
    /// Name of the entry; `.` is the directory itself.
    pub name: &'a [u8],
}

impl<'a> FanotifyEntry<'a> {
    /// Returns the unique key of the directory: the id of the file system and the handle.
    #[must_use]
    pub const fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Returns the handle of the directory, for [`file_handle::open`].
    #[must_use]
    pub fn handle(&self) -> &'a [u8] {
        handle_of(self.key)
    }

    fn parse(record: &'a [u8]) -> Option<Self> {
        let key = parse_key(record)?;
        let name = record.get(key.len()..)?.split(|&b| b == 0).next()?;
        Some(Self { key, name })
    }
}

/// Returns the key at the start of a record.
fn parse_key(record: &[u8]) -> Option<&[u8]> {
    record.get(..FSID_SIZE + file_handle::length(record.get(FSID_SIZE..)?)?)
}

/// Returns the handle in a key, see [`FanotifyEntry::key`].
#[must_use]
pub fn handle_of(key: &[u8]) -> &[u8] {
    key.get(FSID_SIZE..).unwrap_or_default()
}

/// An event, or several merged ones. The kernel merges an event into an earlier one of the same
/// entry that is still queued, so the mask may have several bits, and their order is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanotifyEvent<'a> {
    /// Kinds of changes.
    pub mask: FanotifyMask,
    /// The changed entry, with its old name if it was renamed. `None` for events of an inode
    /// without a name, such as a changed link count.
    pub entry: Option<FanotifyEntry<'a>>,
    /// The new name, if the entry was renamed.
    pub renamed_to: Option<FanotifyEntry<'a>>,
    /// The key of the entry itself, if it was created, deleted or renamed; see
    /// [`FanotifyEntry::key`].
    pub object: Option<&'a [u8]>,
}

/// Kinds of changes in an event: one or more of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of a mask, any of them at once")]
pub struct FanotifyMask {
    /// An entry was created.
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
    /// The entry is a directory.
    pub is_directory: bool,
    /// The kernel's queue overflowed: events are missing.
    pub overflow: bool,
}

impl FanotifyMask {
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

/// Iterator over the events of one read.
#[derive(Clone, Debug)]
pub struct FanotifyEvents<'a> {
    rest: &'a [u8],
}

impl<'a> FanotifyEvents<'a> {
    /// Parses events in the kernel's binary format; see fanotify(7).
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for FanotifyEvents<'a> {
    type Item = FanotifyEvent<'a>;

    fn next(&mut self) -> Option<FanotifyEvent<'a>> {
        let length = u32::from_ne_bytes(*self.rest.first_chunk()?) as usize;
        let mask = u64::from_ne_bytes(*self.rest.get(8..)?.first_chunk()?);
        let mut records = self.rest.get(HEADER_SIZE..length)?;
        self.rest = self.rest.get(length..)?;
        let mask = FanotifyMask::of(mask);
        let mut event = FanotifyEvent { mask, entry: None, renamed_to: None, object: None };
        while let Some(&[kind, _, low, high]) = records.first_chunk() {
            let size = usize::from(u16::from_ne_bytes([low, high]));
            let Some(record) = records.get(4..size) else { break };
            match kind {
                INFO_OBJECT => event.object = parse_key(record),
                INFO_DIRECTORY_AND_NAME | INFO_OLD_DIRECTORY_AND_NAME => {
                    event.entry = FanotifyEntry::parse(record);
                }
                INFO_NEW_DIRECTORY_AND_NAME => event.renamed_to = FanotifyEntry::parse(record),
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
    use crate::{dir::Dir, file_handle::FileHandle};
    use std::fs;

    #[test]
    fn events_identify_entries_by_directory_handle_and_name() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let Ok(group) = FanotifyGroup::new(FanotifyQueue::Unlimited) else {
            assert!(std::env::var_os("CI").is_none(), "fanotify needs root");
            eprintln!("skipped: fanotify needs root");
            return;
        };
        group.mark(&dir).unwrap();
        fs::create_dir(place.path().join("d")).unwrap();
        fs::rename(place.path().join("d"), place.path().join("e")).unwrap();
        let here = FileHandle::of(&dir).unwrap();
        let mut seen = Vec::new();
        let moved = FileHandle::of(Dir::open(&place.path().join("e")).unwrap()).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        while let Some(events) = group.read(&mut buffer).unwrap() {
            // The mark reports the whole file system, in which other tests work.
            for event in events.filter(|e| e.entry.is_some_and(|p| p.handle() == here.as_bytes())) {
                assert_eq!(event.entry.unwrap().key().len(), FSID_SIZE + here.as_bytes().len());
                let name = |entry: Option<FanotifyEntry<'_>>| entry.map(|e| e.name.to_vec());
                seen.push((event.mask.rename, name(event.entry), name(event.renamed_to)));
                assert!(event.mask.is_directory);
                assert_eq!(event.object.map(handle_of), Some(moved.as_bytes()));
            }
        }
        let (d, e) = (Some(b"d".to_vec()), Some(b"e".to_vec()));
        assert_eq!(seen, [(false, d.clone(), None), (true, d, e)]);
        group.unmark(&dir).unwrap();
    }

    #[test]
    fn invalid_bytes_yield_no_events() {
        for bytes in [&b""[..], &[0; 24], &[255; 64], &[30; 24]] {
            assert!(FanotifyEvents::new(bytes).next().is_none_or(|event| event.entry.is_none()));
        }
    }
}
