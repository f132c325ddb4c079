//! Metadata of an entry, in a form that all systems have.

use std::{io, os::fd::AsFd};

use rustix::fs::{FileType, RawMode};

/// Point in time, as file systems store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime {
    /// Seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds since the start of the second.
    pub nanoseconds: u32,
}

/// Type and metadata of an entry: `stat(2)` of the entry itself, never of a link's target.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Type and permission bits, `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u32,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of [`BLOCK_SIZE`].
    pub blocks: u64,
    /// Device of the file system: its major and its minor number.
    pub device: (u32, u32),
    /// Device that a special file stands for.
    pub special_device: (u32, u32),
    /// Mount that the entry was reached through. It may be reused after the unmount.
    pub mount: u64,
    /// Time of the last change of the content.
    pub mtime: FileTime,
    /// Time of the last change of content or metadata.
    pub ctime: FileTime,
}

/// Unit of [`Stat::blocks`] in bytes.
pub const BLOCK_SIZE: u64 = 512;

impl Stat {
    /// Reads the metadata of an open file or directory.
    ///
    /// # Errors
    ///
    /// As `statx(2)` or, on macOS, `fstat(2)`.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Self::at(file.as_fd(), b"")
    }

    /// Returns the type of the entry.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        // The bits of the type are within the 16 bits that every system has.
        let mode = u16::try_from(self.mode & 0xffff).unwrap_or_default();
        FileType::from_raw_mode(RawMode::from(mode))
    }
}
