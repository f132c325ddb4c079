//! Detection of new files that are still open.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use mirror_core::{
    fs_event::{Change, Edit, FsEvent, FsEventKind, MirrorId},
    path::TreePath,
};

use super::backend::Drained;

/// Turns the creation of a file that is not closed yet into a write: the kernel reports only the
/// new name. Symbolic links, hard links, pipes and the like are never closed by a writer. `root_of`
/// returns the source of each mirror that wants this.
pub(super) fn mark_open_files<'a>(
    drained: &mut Drained,
    root_of: impl Fn(MirrorId) -> Option<&'a Path>,
) {
    let created = std::mem::take(&mut drained.created);
    if created.is_empty() {
        return;
    }
    for at in left_open(&drained.fs_events, &created) {
        let Some(FsEvent { mirror, kind: FsEventKind::Changed(change) }) =
            drained.fs_events.get_mut(at)
        else {
            continue;
        };
        if root_of(*mirror).is_some_and(|root| may_be_open(root, &change.path)) {
            change.edit = Edit::Write;
        }
    }
}

/// Returns the positions of those creations after which the name was neither closed, renamed nor
/// deleted.
fn left_open(events: &[FsEvent], created: &[usize]) -> Vec<usize> {
    let mut closed: HashSet<(MirrorId, &TreePath)> = HashSet::new();
    let mut created = created.iter().rev().peekable();
    let mut open = Vec::new();
    for (at, FsEvent { mirror, kind }) in events.iter().enumerate().rev() {
        if created.peek().is_none() {
            break;
        }
        match kind {
            FsEventKind::Changed(Change { edit: Edit::Modify | Edit::Delete, path, .. }) => {
                closed.insert((*mirror, path));
            }
            FsEventKind::Renamed { from, .. } => {
                closed.insert((*mirror, from));
            }
            FsEventKind::Changed(Change { path, .. })
                if created.next_if(|it| **it == at).is_some() =>
            {
                if !closed.contains(&(*mirror, path)) {
                    open.push(at);
                }
            }
            FsEventKind::Changed(_) | FsEventKind::Lost(_) | FsEventKind::RootGone(_) => {}
        }
    }
    open
}

/// Returns true if the path is a file that may have been created by opening it.
fn may_be_open(root: &Path, path: &TreePath) -> bool {
    let path = root.join(OsStr::from_bytes(path.as_bytes()));
    path.symlink_metadata().is_ok_and(|it: fs::Metadata| it.is_file() && it.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::fs_event::EntryKind;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_new_unclosed_files_become_writes() {
        let place = tempfile::tempdir().unwrap();
        for name in ["open", "closed", "other", "old"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        fs::hard_link(place.path().join("old"), place.path().join("hard")).unwrap();
        symlink("open", place.path().join("soft")).unwrap();
        let path = |name: &str| TreePath::new(name.as_bytes()).unwrap();
        let change = |edit, name| {
            FsEventKind::Changed(Change { edit, kind: EntryKind::Other, path: path(name) })
        };
        let mut drained = Drained::default();
        for name in ["open", "closed", "hard", "soft", "gone", "moved"] {
            drained.push_created(MirrorId(0), change(Edit::Create, name));
        }
        drained.push_created(MirrorId(1), change(Edit::Create, "open"));
        drained.push(MirrorId(0), change(Edit::Modify, "closed"));
        drained.push(MirrorId(0), change(Edit::Write, "open"));
        let moved =
            FsEventKind::Renamed { from: path("moved"), to: path("other"), kind: EntryKind::Other };
        drained.push(MirrorId(0), moved);
        let before = drained.fs_events.clone();
        mark_open_files(&mut drained, |mirror| (mirror == MirrorId(0)).then_some(place.path()));
        let mut expected = before;
        expected[0].kind = change(Edit::Write, "open");
        assert_eq!(drained.fs_events, expected);
        assert!(drained.created.is_empty());
    }
}
