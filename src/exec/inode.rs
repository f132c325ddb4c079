//! Identity and type of a file, from its metadata.

use mirror_core::fs_event::EntryKind;
use mirror_platform::stat::Stat;
use rustix::fs::FileType;

/// Identity of a file: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Inode {
    device: (u32, u32),
    number: u64,
}

impl Inode {
    pub(super) const fn of(stat: &Stat) -> Self {
        Self { device: stat.device, number: stat.inode }
    }

    /// Returns the inode number. A file on another device may have it too.
    pub(super) const fn number(self) -> u64 {
        self.number
    }
}

/// File with several names, of any type: `cp -al` also links symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinkedInode {
    pub(super) inode: Inode,
    /// Number of hard links.
    pub(super) link_count: u32,
}

impl LinkedInode {
    /// Returns `None` for a file with a single name.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        let is_directory = stat.file_type() == FileType::Directory;
        (!is_directory && stat.links > 1)
            .then(|| Self { inode: Inode::of(stat), link_count: stat.links })
    }
}

/// Type of an entry, as far as programs distinguish types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryType {
    Directory,
    Symlink,
    /// Regular file.
    File,
    /// Fifo, socket or device.
    Other,
}

impl EntryType {
    /// Returns the type of the entry with this metadata.
    pub(super) fn of(stat: &Stat) -> Self {
        stat.file_type().into()
    }

    /// Returns the kind by which filter rules distinguish entries.
    #[must_use]
    pub(super) const fn kind(self) -> EntryKind {
        match self {
            Self::Directory => EntryKind::Directory,
            Self::Symlink | Self::File | Self::Other => EntryKind::Other,
        }
    }
}

impl From<FileType> for EntryType {
    fn from(file_type: FileType) -> Self {
        match file_type {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::RegularFile => Self::File,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Other,
        }
    }
}
