//! What a source of changes has to say.

use crate::path::TreePath;

/// One mirror of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId(pub u32);

/// What a source has to say about one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which mirror.
    pub mirror: MirrorId,
    /// What happened there.
    pub news: News,
}

/// What happened in a mirror.
///
/// For the built-in targets all of it only says where to look (law 3): it may be told twice, in
/// another order, or as something larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An entry may have changed.
    Changed(Change),
    /// An entry got another name, and both names lie in this mirror.
    Moved {
        /// Its name before.
        from: TreePath,
        /// Its name now.
        to: TreePath,
        /// Whether it is a directory.
        kind: Kind,
    },
    /// Changes at and below this path may be missing: all of it has to be read again.
    Lost(TreePath),
    /// The root was removed, renamed away, replaced or unmounted.
    Gone(Gone),
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is said to have happened. A hint: fanotify joins and reorders.
    pub edit: Edit,
    /// Whether the entry was a directory when it happened.
    pub kind: Kind,
    /// Which entry. The root stands for the attributes of the root itself.
    pub path: TreePath,
}

/// What can happen to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Owner, mode, times or extended attributes.
    Attrib,
    /// It came into being.
    Create,
    /// Its content.
    Modify,
    /// Its content, by somebody who has not closed it yet.
    Write,
    /// It went.
    Delete,
}

/// Which events of a file tell that its content changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// That it is closed by somebody who could write.
    #[default]
    Closed,
    /// That something is written, or cut off.
    Written,
    /// Either.
    Both,
}

/// What an entry is, as far as events can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// How a root went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It is not there any more.
    Removed,
    /// Another directory stands in its place.
    Replaced,
    /// The file system that held it was unmounted.
    Unmounted,
    /// A symbolic link is in its path.
    Linked,
}

impl Gone {
    /// What happened, as a part of a sentence about the source.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Removed => "it was removed or renamed",
            Self::Replaced => "another directory stands in its place",
            Self::Unmounted => "its file system was unmounted",
            Self::Linked => "its path leads through a symbolic link now",
        }
    }
}
