//! Inode of a file with several hard links.

use mirror_platform::dir::{Stat, device};

use super::survey::{EntryType, entry_type};

/// File with several names, of any type: `cp -al` also links symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkedInode {
    device: (u32, u32),
    /// Inode number.
    pub(super) inode: u64,
    /// Number of hard links.
    pub(super) link_count: u32,
}

impl LinkedInode {
    /// Returns the device and the inode number.
    pub(super) const fn file(self) -> ((u32, u32), u64) {
        (self.device, self.inode)
    }

    /// Returns `None` for a file with a single name.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        let is_directory = entry_type(stat) == EntryType::Directory;
        (!is_directory && stat.stx_nlink > 1).then_some(Self {
            device: device(stat),
            inode: stat.stx_ino,
            link_count: stat.stx_nlink,
        })
    }
}
