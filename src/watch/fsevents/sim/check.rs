//! The knowledge of a mirror about its source, and invariants.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind},
    path::TreePath,
};

use super::{text, tree::PlayedTree, view::MissingPaths};

/// A mirror of a tree: it reads the places that events report, as the queue and the executors do.
#[derive(Debug)]
pub(super) struct MirroredTree {
    /// The root directory.
    root: usize,
    /// Entries, with the numbers of their changes.
    known: BTreeMap<TreePath, (usize, u64)>,
    /// True if a name that only leads to an entry counts as missing.
    compares_names: bool,
    /// True if it has had entries of a volume below the root.
    has_had_volume: bool,
}

impl MirroredTree {
    pub(super) fn of(tree: &PlayedTree, root: usize, compares_names: bool) -> Self {
        let known = BTreeMap::new();
        let mut mirrored = Self { root, known, compares_names, has_had_volume: false };
        mirrored.read_subtree(tree, &TreePath::root());
        mirrored
    }

    pub(super) const fn root(&self) -> usize {
        self.root
    }

    /// Reads an entry by its name, which may be one that only leads to it.
    fn read_entry(&mut self, tree: &PlayedTree, path: &TreePath) -> Option<usize> {
        let name = text(path.as_bytes());
        let is_there = !self.compares_names || tree.has(self.root, name).0;
        let Some(entry) = tree.find(self.root, name).filter(|_| is_there) else {
            self.known.retain(|known, _| !path.contains(known));
            return None;
        };
        if !tree.entries[entry].is_directory {
            self.known.retain(|known, _| !path.contains(known));
        }
        self.has_had_volume |= tree.entries[entry].device != tree.entries[self.root].device;
        self.known.insert(path.clone(), (entry, tree.entries[entry].version));
        Some(entry)
    }

    fn read_subtree(&mut self, tree: &PlayedTree, path: &TreePath) {
        self.known.retain(|known, _| !path.contains(known));
        let Some(entry) = self.read_entry(tree, path) else { return };
        for name in tree.entries[entry].children.keys() {
            self.read_subtree(tree, &path.join(name.as_bytes()).unwrap());
        }
    }

    fn read(&mut self, tree: &PlayedTree, path: &TreePath, kind: EntryKind) {
        match kind {
            EntryKind::Directory => self.read_subtree(tree, path),
            EntryKind::Other => _ = self.read_entry(tree, path),
        }
    }

    pub(super) fn apply(&mut self, tree: &PlayedTree, event: &FsEventKind) {
        match event {
            FsEventKind::Changed(Change { edit: Edit::Attrib, path, .. }) => {
                self.read_entry(tree, path);
            }
            FsEventKind::Changed(Change { kind, path, .. }) => self.read(tree, path, *kind),
            FsEventKind::Renamed { from, to, kind } => {
                self.read(tree, from, *kind);
                self.read(tree, to, *kind);
            }
            FsEventKind::Lost(path) => self.read_subtree(tree, path),
            FsEventKind::RootGone(_) => panic!("a backend does not report lost roots"),
        }
    }

    /// Checks that an event tells no deletion of what exists, even on a volume that was unmounted.
    pub(super) fn check_deletion(&self, event: &FsEventKind, missing: &MissingPaths) {
        let deleted = match event {
            FsEventKind::Changed(Change { edit: Edit::Delete, path, .. }) => path,
            FsEventKind::Renamed { from, .. } => from,
            FsEventKind::Changed(_) | FsEventKind::Lost(_) | FsEventKind::RootGone(_) => return,
        };
        let is_hidden = missing.get(&(self.root, deleted.clone()));
        let is_true = is_hidden.is_some_and(|is_hidden| !is_hidden || !self.has_had_volume);
        assert!(is_true, "a deletion of what exists is reported: {event:?}");
    }

    /// Checks that it equals the tree, except what is not wanted.
    pub(super) fn check(&self, tree: &PlayedTree, skips: bool, context: &str) {
        let wanted = |mirrored: &Self| -> BTreeMap<TreePath, (usize, u64)> {
            let known = mirrored.known.iter().map(|(path, state)| (path.clone(), *state));
            known
                .filter(|(path, _)| !(skips && path.parent().is_some_and(|it| is_skipped(&it))))
                .collect()
        };
        let (known, real) = (wanted(self), wanted(&Self::of(tree, self.root, true)));
        let differs = |path: &&TreePath| known.get(*path) != real.get(*path);
        let paths: BTreeSet<&TreePath> = known.keys().chain(real.keys()).filter(differs).collect();
        let states: Vec<_> =
            paths.iter().map(|path| (path, known.get(*path), real.get(*path))).collect();
        assert!(paths.is_empty(), "{context}: what the mirror has and what is there: {states:?}");
    }
}

pub(super) fn is_skipped(path: &TreePath) -> bool {
    path.components().any(|name| name == b"skip")
}
