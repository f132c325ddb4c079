//! Files that were made and are open still.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use mirror_core::{
    notice::{Change, Edit, MirrorId, News, Notice},
    path::TreePath,
};

use super::source::Findings;

/// Has files told as being written that were made and not closed: the kernel tells only that there is
/// a new name. A symbolic link, a further name of a file, a pipe and the like have nobody who closes
/// them. `root_of` is the source of those mirrors that want it.
pub(super) fn tell_open<'a>(found: &mut Findings, root_of: impl Fn(MirrorId) -> Option<&'a Path>) {
    let made = std::mem::take(&mut found.made);
    if made.is_empty() {
        return;
    }
    for at in left_open(&found.notices, &made) {
        let Some(Notice { mirror, news: News::Changed(change) }) = found.notices.get_mut(at) else {
            continue;
        };
        if root_of(*mirror).is_some_and(|root| is_written(root, &change.path)) {
            change.edit = Edit::Write;
        }
    }
}

/// Those of these notices of new files that no later one tells to be closed, or to have another name
/// or none.
fn left_open(notices: &[Notice], made: &[usize]) -> Vec<usize> {
    let mut settled: HashSet<(MirrorId, &TreePath)> = HashSet::new();
    let mut made = made.iter().rev().peekable();
    let mut open = Vec::new();
    for (at, Notice { mirror, news }) in notices.iter().enumerate().rev() {
        if made.peek().is_none() {
            break;
        }
        match news {
            News::Changed(Change { edit: Edit::Modify | Edit::Delete, path, .. }) => {
                settled.insert((*mirror, path));
            }
            News::Moved { from, .. } => {
                settled.insert((*mirror, from));
            }
            News::Changed(Change { path, .. }) if made.next_if(|it| **it == at).is_some() => {
                if !settled.contains(&(*mirror, path)) {
                    open.push(at);
                }
            }
            News::Changed(_) | News::Lost(_) | News::Gone(_) => {}
        }
    }
    open
}

/// Whether there is a file that may have been made by opening it.
fn is_written(root: &Path, path: &TreePath) -> bool {
    let path = root.join(OsStr::from_bytes(path.as_bytes()));
    path.symlink_metadata().is_ok_and(|it: fs::Metadata| it.is_file() && it.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::notice::Kind;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_new_file_that_was_not_closed_is_told_as_being_written() {
        let place = tempfile::tempdir().unwrap();
        for name in ["open", "closed", "other", "old"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        fs::hard_link(place.path().join("old"), place.path().join("hard")).unwrap();
        symlink("open", place.path().join("soft")).unwrap();
        let path = |name: &str| TreePath::new(name.as_bytes()).unwrap();
        let change =
            |edit, name| News::Changed(Change { edit, kind: Kind::Other, path: path(name) });
        let mut found = Findings::default();
        for name in ["open", "closed", "hard", "soft", "gone", "moved"] {
            found.tell_made(MirrorId(0), change(Edit::Create, name));
        }
        found.tell_made(MirrorId(1), change(Edit::Create, "open"));
        found.tell(MirrorId(0), change(Edit::Modify, "closed"));
        found.tell(MirrorId(0), change(Edit::Write, "open"));
        let moved = News::Moved { from: path("moved"), to: path("other"), kind: Kind::Other };
        found.tell(MirrorId(0), moved);
        let before = found.notices.clone();
        tell_open(&mut found, |mirror| (mirror == MirrorId(0)).then_some(place.path()));
        let mut wanted = before;
        wanted[0].news = change(Edit::Write, "open");
        assert_eq!(found.notices, wanted);
        assert!(found.made.is_empty());
    }
}
