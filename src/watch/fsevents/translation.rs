//! Translation of events to places of a tree, and of what is seen there to events of a mirror.
//!
//! Pure functions: the first step knows the event and the path of the root, the second one also
//! what a look at the place has shown.

use hashbrown::HashMap;
use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    path::TreePath,
};

use super::{
    super::backend::strip_root,
    flags::EventFlags,
    view::{SeenEntry, Sighting},
};

/// The volume with the data of users. Its directories are linked into the root of the system by
/// links of the file system, so each has a second path.
const DATA_VOLUME: &[u8] = b"/System/Volumes/Data";

/// The directory that `/etc`, `/tmp` and `/var` lead to by symbolic links, and these names.
const PRIVATE: (&[u8], [&[u8]; 3]) = (b"/private", [b"etc", b"tmp", b"var"]);

/// Meaning of an event for a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// An entry to look at.
    pub(super) entry: Option<TreePath>,
    /// A place to be read again with everything below it.
    pub(super) lost: Option<TreePath>,
    /// A directory at which a volume was mounted or unmounted.
    pub(super) volume: Option<TreePath>,
    /// The root may be another one by now, or none.
    pub(super) checks_root: bool,
    /// Events were dropped, so others of the same time are missing.
    pub(super) is_dropped: bool,
}

/// Returns what an event says about the tree at `root`.
pub(super) fn translate(root: &[u8], path: &[u8], flags: EventFlags) -> Notice {
    if flags.is_only_history_done() {
        return Notice::default();
    }
    let is_root_changed = flags.has(EventFlags::ROOT_CHANGED);
    let is_dropped = flags.has(EventFlags::DROPPED);
    let mut notice = Notice { checks_root: is_root_changed, is_dropped, ..Notice::default() };
    // Dropped events may have been anywhere, whatever the path is.
    if is_root_changed || is_dropped || flags.has(EventFlags::EVENT_IDS_WRAPPED) {
        notice.lost = Some(TreePath::root());
    }
    let Some(path) = place(root, path) else {
        // The root, or a directory above it, has another name or is hidden.
        return Notice { lost: Some(TreePath::root()), checks_root: true, ..notice };
    };
    let is_volume = flags.has(EventFlags::MOUNT | EventFlags::UNMOUNT);
    let is_described = flags.describes_entry() && !is_volume;
    notice.checks_root |= path.is_root() && flags.changes_name();
    notice.entry = is_described.then(|| path.clone());
    notice.volume = is_volume.then(|| path.clone());
    if flags.has(EventFlags::MUST_SCAN_SUBDIRS) || !is_described {
        notice.lost.get_or_insert(path);
    }
    notice
}

/// Returns the path below the root. `None` if it does not lie there.
fn place(root: &[u8], path: &[u8]) -> Option<TreePath> {
    let below = strip_root(root, path).or_else(|| strip_root(plain(root), plain(path)));
    below.and_then(TreePath::new)
}

/// Returns the shortest of the paths that lead to the same place.
fn plain(path: &[u8]) -> &[u8] {
    let path = match path.strip_prefix(DATA_VOLUME) {
        Some(below) if below.first().is_none_or(|&byte| byte == b'/') => below,
        Some(_) | None => path,
    };
    let (private, names) = PRIVATE;
    let below = path.strip_prefix(private).filter(|below| {
        let first = below.strip_prefix(b"/").and_then(|below| below.split(|&b| b == b'/').next());
        first.is_some_and(|first| names.contains(&first))
    });
    below.unwrap_or(path)
}

/// An entry that events are about, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct EntryNotice {
    /// The path as reported.
    pub(super) path: TreePath,
    /// The flags of all its events.
    pub(super) flags: EventFlags,
    /// The inode that the last event names.
    pub(super) inode: Option<u64>,
    pub(super) sighting: Sighting,
    /// True if the entry is not missing only because its volume is, or because events are.
    pub(super) is_deletion_certain: bool,
}

impl EntryNotice {
    fn is_renamed_from(&self) -> bool {
        let is_gone = match self.sighting.entry {
            SeenEntry::Missing => true,
            SeenEntry::Found { .. } => self.sighting.path != self.path,
            SeenEntry::Unknown => false,
        };
        is_gone && self.is_deletion_certain && self.flags.has(EventFlags::ITEM_RENAMED)
    }

    fn is_renamed_to(&self) -> bool {
        let SeenEntry::Found { inode, .. } = self.sighting.entry else { return false };
        self.flags.has(EventFlags::ITEM_RENAMED)
            && self.inode == Some(inode)
            && self.sighting.path == self.path
    }
}

/// Returns the events of a mirror for entries that were reported together, in order.
///
/// A rename has two events without anything that links them. If they name the same inode, and no
/// third one does, they are reported as a rename. That is only a hint: both places are read.
pub(super) fn report(entries: &[EntryNotice]) -> Vec<FsEventKind> {
    let mut events = Vec::new();
    let mut places = Vec::new();
    let halves = renames(entries);
    for (at, entry) in entries.iter().enumerate() {
        match halves.get(&at) {
            Some(RenameHalf::To(from)) => report_rename(from, entry, &mut events),
            Some(RenameHalf::From) => {}
            None => events.push(event_of(entry)),
        }
        // Where names are compared without regard to case, the old name still leads to the entry.
        // Only a listing of the directory shows that it is gone.
        if entry.flags.changes_name() {
            places.extend(entry.sighting.other_name_in.clone());
        }
    }
    events.extend(places.into_iter().map(FsEventKind::Lost));
    events
}

/// A half of a rename.
#[derive(Clone, Copy)]
enum RenameHalf<'a> {
    From,
    /// The new name; the other half.
    To(&'a EntryNotice),
}

/// Returns the entries that are halves of a rename, by their position.
fn renames(entries: &[EntryNotice]) -> HashMap<usize, RenameHalf<'_>> {
    let mut by_inode: HashMap<u64, Vec<(usize, &EntryNotice)>> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if let Some(inode) = entry.inode
            && (entry.is_renamed_from() || entry.is_renamed_to())
        {
            by_inode.entry(inode).or_default().push((at, entry));
        }
    }
    let mut halves = HashMap::new();
    for same in by_inode.into_values() {
        let [one, other] = *same else { continue };
        let (from, to) = if one.1.is_renamed_from() { (one, other) } else { (other, one) };
        if from.1.is_renamed_from() && to.1.is_renamed_to() {
            halves.insert(from.0, RenameHalf::From);
            halves.insert(to.0, RenameHalf::To(from.1));
        }
    }
    halves
}

fn report_rename(from: &EntryNotice, to: &EntryNotice, events: &mut Vec<FsEventKind>) {
    let kind = kind_of(to);
    let (old, new) = (from.path.clone(), to.path.clone());
    events.push(FsEventKind::Renamed { from: old, to: new.clone(), kind });
    if kind == EntryKind::Other && to.flags.changes_content() {
        events.push(FsEventKind::Changed(Change { edit: Edit::Modify, kind, path: new }));
    }
}

/// Returns the kind of an entry; of a missing one, the larger of those that are possible.
fn kind_of(entry: &EntryNotice) -> EntryKind {
    match entry.sighting.entry {
        SeenEntry::Found { kind, .. } => kind,
        SeenEntry::Missing | SeenEntry::Unknown if entry.flags.may_be_directory() => {
            EntryKind::Directory
        }
        SeenEntry::Missing | SeenEntry::Unknown => EntryKind::Other,
    }
}

fn event_of(entry: &EntryNotice) -> FsEventKind {
    let flags = entry.flags;
    let kind = kind_of(entry);
    let edit = match entry.sighting.entry {
        SeenEntry::Unknown => return FsEventKind::Lost(entry.path.clone()),
        SeenEntry::Missing if entry.is_deletion_certain => Edit::Delete,
        SeenEntry::Found { .. } if flags.changes_name() => Edit::Create,
        // It has become a directory meanwhile.
        SeenEntry::Found { kind: EntryKind::Directory, .. } if !flags.may_be_directory() => {
            Edit::Create
        }
        SeenEntry::Found { .. } if flags.changes_only_attributes() => Edit::Attrib,
        SeenEntry::Found { .. } | SeenEntry::Missing => Edit::Modify,
    };
    FsEventKind::Changed(Change { edit, kind, path: entry.sighting.path.clone() })
}
