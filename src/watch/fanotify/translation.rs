//! Translation of kernel events about resolved directories to events of the mirrors.

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId},
    path::TreePath,
};
use mirror_platform::fanotify::FanotifyEvent;

use super::super::backend::Drained;

/// Paths of a directory in the mirrors that want it.
#[derive(Debug, Default)]
pub(super) struct ResolvedDir {
    pub(super) paths: Vec<(MirrorId, TreePath)>,
    /// True if these are only ancestors, because its own path is too long for the kernel.
    pub(super) is_approximate: bool,
}

/// An entry of a resolved directory.
#[derive(Clone, Copy)]
pub(super) struct ResolvedEntry<'a> {
    pub(super) directory: &'a ResolvedDir,
    pub(super) name: &'a [u8],
}

/// Translates an event. If an entry was both created and deleted, in whatever order, both are
/// reported.
pub(super) fn edits(event: &FanotifyEvent<'_>) -> impl Iterator<Item = Edit> {
    let mask = event.mask;
    let is_created_or_deleted = mask.create || mask.delete;
    let content = match (mask.close, mask.modify) {
        (true, _) => Edit::Modify,
        (false, true) => Edit::Write,
        (false, false) => Edit::Attrib,
    };
    let edits = [
        (mask.delete, Edit::Delete),
        (mask.create, Edit::Create),
        (!is_created_or_deleted, content),
    ];
    edits.into_iter().filter_map(|(is_set, edit)| is_set.then_some(edit))
}

/// Reports a change of an entry; with `may_be_open`, of a new file that may still be open.
pub(super) fn report_change(
    entry: ResolvedEntry<'_>,
    edit: Edit,
    kind: EntryKind,
    may_be_open: bool,
    drained: &mut Drained,
) {
    let ResolvedEntry { directory: resolved, name } = entry;
    for (mirror, directory) in &resolved.paths {
        let path = if name == b"." { Some(directory.clone()) } else { directory.join(name) };
        let event = match path {
            Some(path) if !resolved.is_approximate => {
                FsEventKind::Changed(Change { edit, kind, path })
            }
            _ => FsEventKind::Lost(directory.clone()),
        };
        if may_be_open && matches!(event, FsEventKind::Changed(_)) {
            drained.push_created(*mirror, event);
        } else {
            drained.push(*mirror, event);
        }
    }
}

pub(super) fn report_move(
    from: ResolvedEntry<'_>,
    to: ResolvedEntry<'_>,
    kind: EntryKind,
    drained: &mut Drained,
) {
    let is_approximate = from.directory.is_approximate || to.directory.is_approximate;
    for (mirror, directory) in &from.directory.paths {
        let there = to.directory.paths.iter().find(|(other, _)| other == mirror);
        let new = there.and_then(|(_, directory)| directory.join(to.name));
        match (directory.join(from.name), new) {
            (Some(from), Some(to)) if !is_approximate => {
                drained.push(*mirror, FsEventKind::Renamed { from, to, kind });
            }
            (Some(path), _) if !from.directory.is_approximate => {
                drained
                    .push(*mirror, FsEventKind::Changed(Change { edit: Edit::Delete, kind, path }));
            }
            _ => drained.push(*mirror, FsEventKind::Lost(directory.clone())),
        }
    }
    for (mirror, directory) in &to.directory.paths {
        if !is_approximate && from.directory.paths.iter().any(|(other, _)| other == mirror) {
            continue;
        }
        let event = match directory.join(to.name) {
            Some(path) if !to.directory.is_approximate => {
                FsEventKind::Changed(Change { edit: Edit::Create, kind, path })
            }
            _ => FsEventKind::Lost(directory.clone()),
        };
        drained.push(*mirror, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::fanotify::FanotifyMask;

    #[test]
    fn only_delete_events_report_deletions() {
        let edits = |mask: FanotifyMask| -> Vec<Edit> {
            edits(&FanotifyEvent { mask, entry: None, renamed_to: None, object: None }).collect()
        };
        let none = FanotifyMask::default();
        assert_eq!(edits(FanotifyMask { create: true, modify: true, ..none }), [Edit::Create]);
        assert_eq!(edits(FanotifyMask { delete: true, modify: true, ..none }), [Edit::Delete]);
        let both = FanotifyMask { create: true, delete: true, ..none };
        assert_eq!(edits(both), [Edit::Delete, Edit::Create]);
        let closed = FanotifyMask { modify: true, close: true, attrib: true, ..none };
        assert_eq!(edits(closed), [Edit::Modify]);
        assert_eq!(edits(FanotifyMask { close: false, ..closed }), [Edit::Write]);
        assert_eq!(edits(FanotifyMask { attrib: true, ..none }), [Edit::Attrib]);
    }
}
