//! Which file a name is of.

use mirror_platform::dir::{Stat, device};

use super::survey::{What, what};

/// A file with several names, of whatever kind: `cp -al` gives them to symbolic links too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Linked {
    device: (u32, u32),
    /// The number of its inode.
    pub(super) inode: u64,
    /// How many names it has.
    pub(super) names: u32,
}

impl Linked {
    /// Which file it is, whatever its names.
    pub(super) const fn file(self) -> ((u32, u32), u64) {
        (self.device, self.inode)
    }

    /// `None` if it has one name.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        let is_directory = what(stat) == What::Directory;
        (!is_directory && stat.stx_nlink > 1).then_some(Self {
            device: device(stat),
            inode: stat.stx_ino,
            names: stat.stx_nlink,
        })
    }
}
