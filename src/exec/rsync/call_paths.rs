//! The paths of one rsync call, and the index that finds the path which covers another.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use mirror_core::{
    job::{DirtyPath, Scope},
    path::{TreePath, directories_above},
    plan::rsync::TransferPaths,
};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallPaths<'a> {
    /// Entries; of directories, only the directories themselves.
    pub(super) entries: &'a [TreePath],
    /// Directories with everything below them.
    pub(super) trees: &'a [TreePath],
    /// Paths that are missing in the source.
    pub(super) missing: &'a [TreePath],
    /// The root, or the whole tree.
    pub(super) root: Option<Scope>,
}

impl<'a> CallPaths<'a> {
    pub(super) const fn of_transfer(parts: &TransferPaths<'a>) -> Self {
        Self { entries: parts.entries, trees: parts.trees, missing: parts.missing, root: None }
    }

    pub(super) const fn root(scope: Scope) -> Self {
        Self { entries: &[], trees: &[], missing: &[], root: Some(scope) }
    }

    pub(super) fn dirty_paths(self) -> impl Iterator<Item = DirtyPath> {
        let root = self.root.map(|scope| DirtyPath { path: TreePath::root(), scope });
        let dirty = |scope| move |path: &TreePath| DirtyPath { path: path.clone(), scope };
        let entries = self.entries.iter().chain(self.missing).map(dirty(Scope::Entry));
        root.into_iter().chain(entries).chain(self.trees.iter().map(dirty(Scope::Tree)))
    }
}

/// Index from a path to the path of the call that covers it.
pub(super) struct CallPathIndex<'a> {
    paths: CallPaths<'a>,
    /// Returns true if the source has an entry at a path.
    exists: &'a dyn Fn(&TreePath) -> bool,
    index: OnceCell<IndexedPaths<'a>>,
}

/// The paths of a call, and their ancestors.
type IndexedPaths<'a> = (BTreeMap<&'a TreePath, Scope>, BTreeSet<TreePath>);

impl<'a> CallPathIndex<'a> {
    /// Creates the index. `exists` returns true if the source has an entry at a path.
    pub(super) const fn new(paths: CallPaths<'a>, exists: &'a dyn Fn(&TreePath) -> bool) -> Self {
        Self { paths, exists, index: OnceCell::new() }
    }

    /// Returns the paths of the call that a diagnostic with these candidates concerns.
    ///
    /// If several candidates belong to the call, as in a tree, all that exist in the source are
    /// returned: a path that is missed here would count as transferred. The result is empty if the
    /// path is unknown.
    pub(super) fn owners(&self, candidates: &[TreePath]) -> Vec<DirtyPath> {
        let owner = |path| Some((path, self.owner(path)?));
        let mut found: Vec<(&TreePath, DirtyPath)> = candidates.iter().filter_map(owner).collect();
        if found.iter().any(|(_, dirty)| Some(dirty) != found.first().map(|(_, first)| first)) {
            found.retain(|(path, _)| (self.exists)(path));
        }
        let mut owners: Vec<DirtyPath> = Vec::new();
        for (_, dirty) in found {
            if !owners.contains(&dirty) {
                owners.push(dirty);
            }
        }
        owners
    }

    /// Returns the path of the call that a diagnostic about `path` concerns, if there is one.
    pub(super) fn owner(&self, path: &TreePath) -> Option<DirtyPath> {
        if path.is_root() {
            let scope = self.paths.root.unwrap_or(Scope::Entry);
            return Some(DirtyPath { path: path.clone(), scope });
        }
        match self.covering_path(path) {
            Some(DirtyPath { scope: Scope::Tree, .. }) => {
                Some(DirtyPath { path: path.clone(), scope: Scope::Tree })
            }
            // In a directory that is deleted or replaced.
            Some(entry) => Some(entry),
            None => {
                let (_, above) = self.index();
                above.contains(path).then(|| DirtyPath { path: path.clone(), scope: Scope::Entry })
            }
        }
    }

    /// Returns the path of the call that equals or contains this one.
    pub(super) fn covering_path(&self, path: &TreePath) -> Option<DirtyPath> {
        if self.paths.root == Some(Scope::Tree) {
            return Some(DirtyPath::root_tree());
        }
        let (paths, _) = self.index();
        let mut at = path.clone();
        while !at.is_root() {
            if let Some(scope) = paths.get(&at) {
                return Some(DirtyPath { path: at, scope: *scope });
            }
            at.pop();
        }
        None
    }

    fn index(&self) -> &IndexedPaths<'a> {
        self.index.get_or_init(|| self.build())
    }

    fn build(&self) -> IndexedPaths<'a> {
        let CallPaths { entries, trees, missing, .. } = self.paths;
        let entries = entries.iter().chain(missing).map(|path| (path, Scope::Entry));
        let paths: BTreeMap<_, _> =
            entries.chain(trees.iter().map(|path| (path, Scope::Tree))).collect();
        let above = directories_above(paths.keys().copied());
        (paths, above)
    }
}
