//! Mapping from directories to the mirrors that want them, and their paths there.

use std::collections::BTreeMap;

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId, WriteDetection},
    path::TreePath,
};

use super::{
    super::backend::{Drained, SkipFn, WatchTree},
    EntryAt, InotifyBackend,
    dir_tree::{DirTree, Ticket},
    kernel::Kernel,
};

/// Mirrors whose trees are covered, or are being covered.
#[derive(Debug, Default)]
pub(super) struct InotifyMirrors {
    all: Vec<InotifyMirror>,
    /// Mirrors for which each event matters, and the events that count as a write for them.
    exact: BTreeMap<MirrorId, WriteDetection>,
    version: u64,
}

pub(super) struct InotifyMirror {
    id: MirrorId,
    root: Ticket,
    skip: SkipFn,
    is_covered: bool,
}

impl std::fmt::Debug for InotifyMirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InotifyMirror").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Change of an entry's content.
#[derive(Clone, Copy)]
pub(super) struct Modification {
    pub(super) kind: EntryKind,
    pub(super) how: WriteDetection,
    /// False if the last report of this entry was the same.
    pub(super) is_new: bool,
}

/// Cached paths of the directory that had the last event.
///
/// Consecutive events often concern one directory, so this avoids most of the lookups.
#[derive(Debug, Default)]
pub(super) struct PathCache {
    key: Option<(u32, u64, u64)>,
    paths: Vec<(MirrorId, TreePath)>,
}

impl InotifyMirror {
    /// Returns true if the mirror wants the directory at this path, which is not its root.
    pub(super) fn wants(&self, path: &TreePath) -> bool {
        !(self.skip)(path)
    }
}

impl InotifyMirrors {
    pub(super) fn add(&mut self, tree: &WatchTree, root: Ticket) {
        let skip = tree.skip.clone();
        self.exact.extend(tree.exact.map(|writes| (tree.mirror, writes)));
        self.all.push(InotifyMirror { id: tree.mirror, root, skip, is_covered: false });
        self.version += 1;
    }

    /// Removes a mirror. Returns its root.
    pub(super) fn remove(&mut self, mirror: MirrorId) -> Option<Ticket> {
        let at = self.all.iter().position(|known| known.id == mirror)?;
        self.exact.remove(&mirror);
        self.version += 1;
        Some(self.all.remove(at).root)
    }

    pub(super) fn has_root(&self, root: Ticket) -> bool {
        self.all.iter().any(|mirror| mirror.root == root)
    }

    pub(super) fn root(&self, id: MirrorId) -> Option<Ticket> {
        self.all.iter().find(|mirror| mirror.id == id).map(|mirror| mirror.root)
    }

    /// Marks a mirror as covered: events are reported from now on.
    pub(super) fn set_covered(&mut self, id: MirrorId) {
        self.version += 1;
        for mirror in self.all.iter_mut().filter(|mirror| mirror.id == id) {
            mirror.is_covered = true;
        }
    }

    /// Iterates over the covered mirrors and their roots.
    pub(super) fn covered(&self) -> impl Iterator<Item = (MirrorId, Ticket)> {
        self.all.iter().filter(|mirror| mirror.is_covered).map(|mirror| (mirror.id, mirror.root))
    }

    /// Iterates over the mirrors that want a directory, covered or not, and its path there.
    pub(super) fn interested(
        &self,
        dirs: &DirTree,
        node: u32,
    ) -> impl Iterator<Item = (&InotifyMirror, TreePath)> {
        let ancestors: Vec<u32> = dirs.ancestors(node).collect();
        let roots: Vec<usize> = (0..ancestors.len())
            .filter(|&at| ancestors.get(at).is_some_and(|&n| dirs.is_root(n)))
            .collect();
        roots.into_iter().flat_map(move |at| {
            let (below, from) = ancestors.split_at(at);
            let root = from.first().map(|&node| dirs.ticket(node));
            let mut path = TreePath::root();
            let is_complete = below.iter().rev().all(|&node| path.push(dirs.name(node)).is_some());
            let own =
                self.all.iter().filter(move |mirror| is_complete && Some(mirror.root) == root);
            own.filter_map(move |mirror| {
                let wanted = path.is_root() || mirror.wants(&path);
                wanted.then(|| (mirror, path.clone()))
            })
        })
    }
}

impl<K: Kernel> InotifyBackend<K> {
    /// Returns true if any mirror wants the directory.
    pub(super) fn is_wanted(&self, node: u32) -> bool {
        self.mirrors.interested(&self.dirs, node).next().is_some()
    }

    /// Returns the path of the directory in each mirror that wants it, covered or not.
    pub(super) fn all_paths(&self, node: u32) -> Vec<(MirrorId, TreePath)> {
        let interested = self.mirrors.interested(&self.dirs, node);
        interested.map(|(mirror, path)| (mirror.id, path)).collect()
    }

    /// Returns the path of the directory in each covered mirror that wants it.
    pub(super) fn paths(&mut self, node: u32) -> &[(MirrorId, TreePath)] {
        let now = (node, self.dirs.version(), self.mirrors.version);
        if self.path_cache.key != Some(now) {
            let interested = self.mirrors.interested(&self.dirs, node);
            self.path_cache.paths = interested
                .filter(|(mirror, _)| mirror.is_covered)
                .map(|(mirror, path)| (mirror.id, path))
                .collect();
            self.path_cache.key = Some(now);
        }
        &self.path_cache.paths
    }

    /// Reports a change of the entry `name` of a directory.
    pub(super) fn report(
        &mut self,
        entry: EntryAt<'_>,
        edit: Edit,
        kind: EntryKind,
        drained: &mut Drained,
    ) {
        let EntryAt { directory: node, name } = entry;
        for (mirror, directory) in self.paths(node) {
            if let Some(path) = directory.join(name) {
                drained.push(*mirror, FsEventKind::Changed(Change { edit, kind, path }));
            }
        }
    }

    /// Reports the creation of an entry that is not a directory and was not moved there.
    pub(super) fn report_created(&mut self, entry: EntryAt<'_>, drained: &mut Drained) {
        let EntryAt { directory: node, name } = entry;
        self.paths(node);
        for (mirror, directory) in &self.path_cache.paths {
            let Some(path) = directory.join(name) else { continue };
            let event =
                FsEventKind::Changed(Change { edit: Edit::Create, kind: EntryKind::Other, path });
            // A mirror that wants each event gets it unmodified.
            if self.mirrors.exact.contains_key(mirror) {
                drained.push(*mirror, event);
            } else {
                drained.push_created(*mirror, event);
            }
        }
    }

    /// Reports a change of an entry's content: to mirrors that want each event if `how` counts for
    /// them, to the others if `is_new`. To these a file that is created, written and closed is
    /// reported once.
    pub(super) fn report_modified(
        &mut self,
        entry: EntryAt<'_>,
        modification: Modification,
        drained: &mut Drained,
    ) {
        let Modification { kind, how, is_new } = modification;
        let EntryAt { directory: node, name } = entry;
        self.paths(node);
        // Where the event before this one was reported, if it was reported to the same mirrors.
        let before = drained.fs_events.len().checked_sub(self.path_cache.paths.len());
        for (number, (mirror, directory)) in self.path_cache.paths.iter().enumerate() {
            let counts = match self.mirrors.exact.get(mirror) {
                Some(WriteDetection::Both) => true,
                Some(wanted) => *wanted == how,
                None => is_new,
            };
            let is_exact = self.mirrors.exact.contains_key(mirror);
            let edit = if how == WriteDetection::OnModify && !is_exact {
                Edit::Write
            } else {
                Edit::Modify
            };
            if let Some(path) = directory.join(name).filter(|_| counts) {
                let change = Change { edit, kind, path };
                let before = before.filter(|_| !is_exact).map(|before| before + number);
                if !before.is_some_and(|before| drained.merge(before, *mirror, &change)) {
                    drained.push(*mirror, FsEventKind::Changed(change));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::watch::{backend::Backend, inotify::InotifyLimits};

    fn cover(backend: &mut InotifyBackend, tree: &WatchTree) {
        backend.cover(tree).unwrap();
        while backend.advance(&mut Drained::default()) {}
    }

    /// Returns the mirrors to which a modification of the file `f` is reported.
    fn reported(backend: &mut InotifyBackend) -> Vec<u32> {
        let mut drained = Drained::default();
        backend.drain(&mut drained).unwrap();
        let path = TreePath::new(b"f").unwrap();
        let modified = [Edit::Modify, Edit::Write].map(|edit| {
            FsEventKind::Changed(Change { edit, kind: EntryKind::Other, path: path.clone() })
        });
        let reported = drained.fs_events.into_iter().filter(|it| modified.contains(&it.kind));
        reported.map(|it| it.mirror.0).collect()
    }

    #[test]
    fn exact_mirrors_get_the_requested_write_events() {
        let temp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temp.path()).unwrap();
        let mut backend = InotifyBackend::new(InotifyLimits::default()).unwrap();
        let wanted = [
            Some(WriteDetection::OnClose),
            Some(WriteDetection::OnModify),
            Some(WriteDetection::Both),
            None,
        ];
        for (exact, mirror) in wanted.into_iter().zip(0..) {
            cover(&mut backend, &WatchTree { exact, ..WatchTree::whole(mirror, &root) });
        }
        let mut file = fs::File::create(root.join("f")).unwrap();
        assert!(reported(&mut backend).is_empty());
        for _ in 0..2 {
            file.write_all(b"more").unwrap();
            assert_eq!(reported(&mut backend), [1, 2, 3]);
        }
        drop(file);
        assert_eq!(reported(&mut backend), [0, 2, 3]);
    }

    #[test]
    fn a_file_that_is_created_written_and_closed_is_reported_once_to_each_mirror() {
        let temp = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temp.path()).unwrap();
        let mut backend = InotifyBackend::new(InotifyLimits::default()).unwrap();
        for mirror in 0..3 {
            cover(&mut backend, &WatchTree::whole(mirror, &root));
        }
        let mut edits = || {
            let mut drained = Drained::default();
            backend.drain(&mut drained).unwrap();
            let edits = drained.fs_events.into_iter().map(|it| match it.kind {
                FsEventKind::Changed(change) => (it.mirror.0, change.edit),
                other => panic!("{other:?}"),
            });
            (edits.collect::<Vec<_>>(), drained.created)
        };
        let each = |edit| [0, 1, 2].map(|mirror| (mirror, edit)).to_vec();
        fs::write(root.join("f"), "new").unwrap();
        assert_eq!(edits(), (each(Edit::Create), vec![]));
        fs::write(root.join("f"), "changed").unwrap();
        assert_eq!(edits(), (each(Edit::Modify), vec![]));
        let mut file = fs::File::create(root.join("g")).unwrap();
        file.write_all(b"more").unwrap();
        assert_eq!(edits(), (each(Edit::Create), vec![0, 1, 2]));
        file.write_all(b"more").unwrap();
        fs::write(root.join("h"), "").unwrap();
        assert_eq!(edits().0, [each(Edit::Write), each(Edit::Create)].concat());
    }
}
