//! The flags of an event, with the values of `<FSEvents.h>`.

use std::ops::BitOr;

/// Merged flags of an event.
///
/// The service merges the flags of all changes of a path, and repeats flags of earlier ones. So a
/// flag never proves that something has happened lately; but whatever has happened set its flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventFlags(pub(super) u32);

impl EventFlags {
    pub(super) const MUST_SCAN_SUBDIRS: Self = Self(0x1);
    pub(super) const USER_DROPPED: Self = Self(0x2);
    pub(super) const KERNEL_DROPPED: Self = Self(0x4);
    pub(super) const EVENT_IDS_WRAPPED: Self = Self(0x8);
    pub(super) const HISTORY_DONE: Self = Self(0x10);
    pub(super) const ROOT_CHANGED: Self = Self(0x20);
    pub(super) const MOUNT: Self = Self(0x40);
    pub(super) const UNMOUNT: Self = Self(0x80);
    pub(super) const ITEM_CREATED: Self = Self(0x100);
    pub(super) const ITEM_REMOVED: Self = Self(0x200);
    pub(super) const ITEM_INODE_META_MOD: Self = Self(0x400);
    pub(super) const ITEM_RENAMED: Self = Self(0x800);
    pub(super) const ITEM_MODIFIED: Self = Self(0x1000);
    pub(super) const ITEM_FINDER_INFO_MOD: Self = Self(0x2000);
    pub(super) const ITEM_CHANGE_OWNER: Self = Self(0x4000);
    pub(super) const ITEM_XATTR_MOD: Self = Self(0x8000);
    pub(super) const ITEM_IS_FILE: Self = Self(0x1_0000);
    pub(super) const ITEM_IS_DIR: Self = Self(0x2_0000);
    pub(super) const ITEM_IS_SYMLINK: Self = Self(0x4_0000);
    pub(super) const OWN_EVENT: Self = Self(0x8_0000);
    pub(super) const ITEM_IS_HARDLINK: Self = Self(0x10_0000);
    pub(super) const ITEM_IS_LAST_HARDLINK: Self = Self(0x20_0000);
    pub(super) const ITEM_CLONED: Self = Self(0x40_0000);

    /// The events were lost in the service or in the kernel.
    pub(super) const DROPPED: Self = Self(Self::USER_DROPPED.0 | Self::KERNEL_DROPPED.0);

    /// The names of a directory have changed.
    const NAMES: Self = Self(Self::ITEM_CREATED.0 | Self::ITEM_REMOVED.0 | Self::ITEM_RENAMED.0);

    /// The owner, the mode, the times or the extended attributes have changed.
    const ATTRIBUTES: Self = Self(
        Self::ITEM_INODE_META_MOD.0
            | Self::ITEM_FINDER_INFO_MOD.0
            | Self::ITEM_CHANGE_OWNER.0
            | Self::ITEM_XATTR_MOD.0,
    );

    /// The content has changed.
    const CONTENT: Self = Self(Self::ITEM_MODIFIED.0 | Self::ITEM_CLONED.0);

    /// The kinds of an entry, and properties that are no change.
    const PROPERTIES: Self = Self(
        Self::ITEM_IS_FILE.0
            | Self::ITEM_IS_DIR.0
            | Self::ITEM_IS_SYMLINK.0
            | Self::OWN_EVENT.0
            | Self::ITEM_IS_HARDLINK.0
            | Self::ITEM_IS_LAST_HARDLINK.0,
    );

    /// Every flag that is about an entry.
    const ITEM: Self =
        Self(Self::NAMES.0 | Self::ATTRIBUTES.0 | Self::CONTENT.0 | Self::PROPERTIES.0);

    /// Every flag that is about the stream.
    const STREAM: Self = Self(0xff);

    /// Returns true if any of these flags is set.
    pub(super) const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Returns true if nothing else than attributes has changed.
    pub(super) const fn changes_only_attributes(self) -> bool {
        let changes = self.0 & (Self::ITEM.0 & !Self::PROPERTIES.0);
        changes != 0 && changes & !Self::ATTRIBUTES.0 == 0
    }

    /// Returns true if the name may have appeared or disappeared.
    pub(super) const fn changes_name(self) -> bool {
        self.has(Self::NAMES)
    }

    /// Returns true if the content may have changed.
    pub(super) const fn changes_content(self) -> bool {
        self.has(Self::CONTENT)
    }

    /// Returns true if an entry has changed in a way that the flags describe.
    pub(super) const fn describes_entry(self) -> bool {
        self.has(Self(Self::ITEM.0 & !Self::PROPERTIES.0)) && !self.has_unknown()
    }

    /// Returns true if there is a flag of a later system.
    const fn has_unknown(self) -> bool {
        self.has(Self(!(Self::ITEM.0 | Self::STREAM.0)))
    }

    /// Returns true if the entry has been a directory, or nothing tells what it was.
    pub(super) const fn may_be_directory(self) -> bool {
        let others = Self(Self::ITEM_IS_FILE.0 | Self::ITEM_IS_SYMLINK.0);
        self.has(Self::ITEM_IS_DIR) || !self.has(others)
    }

    /// Returns true if the event says only that the history ends.
    pub(super) const fn is_only_history_done(self) -> bool {
        self.has(Self::HISTORY_DONE) && self.0 & !Self::HISTORY_DONE.0 == 0
    }
}

impl BitOr for EventFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_have_no_flag_in_common() {
        let groups = [
            EventFlags::STREAM,
            EventFlags::NAMES,
            EventFlags::ATTRIBUTES,
            EventFlags::CONTENT,
            EventFlags::PROPERTIES,
        ];
        let all = groups.iter().fold(0, |all, group| all + u64::from(group.0));
        assert_eq!(all, 0x7f_ffff);
    }

    #[test]
    fn a_flag_of_a_later_system_describes_nothing() {
        let created = EventFlags::ITEM_CREATED;
        assert!(created.describes_entry());
        assert!(!(created | EventFlags(0x800_0000)).describes_entry());
        assert!(!EventFlags::ITEM_IS_DIR.describes_entry());
    }
}
