//! File system events, as a watch backend reports them.

use crate::path::TreePath;

/// The id of a mirror of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId(pub u32);

/// A report of a watch backend about one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsEvent {
    /// The mirror.
    pub mirror: MirrorId,
    /// The event.
    pub kind: FsEventKind,
}

/// An event in the tree of a mirror.
///
/// For built-in targets it only says which paths to compare (law 3): it may be reported twice, in
/// another order, or as something larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsEventKind {
    /// An entry may have changed.
    Changed(Change),
    /// An entry was renamed; both names are in this mirror.
    Renamed {
        /// The old name.
        from: TreePath,
        /// The new name.
        to: TreePath,
        /// The kind of the entry.
        kind: EntryKind,
    },
    /// Events at and below this path may have been lost: all of it has to be rescanned.
    Lost(TreePath),
    /// The root was removed, renamed, replaced or unmounted.
    RootGone(RootGone),
}

impl FsEventKind {
    /// Returns the length of its paths, in bytes.
    #[must_use]
    pub fn path_bytes(&self) -> usize {
        let length = |path: &TreePath| path.as_bytes().len();
        match self {
            Self::Changed(Change { path, .. }) | Self::Lost(path) => length(path),
            Self::Renamed { from, to, .. } => length(from) + length(to),
            Self::RootGone(_) => 0,
        }
    }
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The reported change. A hint: fanotify merges and reorders.
    pub edit: Edit,
    /// The kind of the entry at the time of the change.
    pub kind: EntryKind,
    /// The entry. The root stands for the attributes of the root itself.
    pub path: TreePath,
}

/// A change of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Its owner, mode, times or extended attributes were changed.
    Attrib,
    /// It was created.
    Create,
    /// Its content was changed.
    Modify,
    /// Its content was changed by a process that has not closed it yet.
    Write,
    /// It was deleted.
    Delete,
}

/// The events that report a changed content of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteDetection {
    /// The close by a process that could write.
    #[default]
    OnClose,
    /// Each write or truncation.
    OnModify,
    /// Either.
    Both,
}

/// The kind of an entry, as far as events distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// The way in which a root disappeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootGone {
    /// It does not exist any more.
    Removed,
    /// Another directory is in its place.
    Replaced,
    /// Its file system was unmounted.
    Unmounted,
    /// There is a symbolic link in its path.
    Symlinked,
}

impl RootGone {
    /// The description, as a part of a sentence about the source.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Removed => "it was removed or renamed",
            Self::Replaced => "another directory is in its place",
            Self::Unmounted => "its file system was unmounted",
            Self::Symlinked => "its path contains a new symbolic link",
        }
    }
}
