//! A minimal file system.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::path::TreePath;

/// An entry of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimNode {
    File { content: u32, mode: u32 },
    Link { to: u32 },
    Directory { mode: u32 },
}

/// A tree of entries.
///
/// **Invariant.** The parent of every entry but the root is a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimTree(BTreeMap<TreePath, SimNode>);

/// An empty directory with default attributes.
pub(crate) const PLAIN: SimNode = SimNode::Directory { mode: 0 };

impl SimTree {
    /// Returns an empty root.
    pub(crate) fn new() -> Self {
        Self(BTreeMap::from([(TreePath::root(), PLAIN)]))
    }

    pub(crate) fn get(&self, path: &TreePath) -> Option<SimNode> {
        self.0.get(path).copied()
    }

    pub(crate) fn is_dir(&self, path: &TreePath) -> bool {
        matches!(self.get(path), Some(SimNode::Directory { .. }))
    }

    /// Returns true if an entry can exist at `path`, that is, if its parent is a directory.
    pub(crate) fn has_room_at(&self, path: &TreePath) -> bool {
        path.parent().is_some_and(|parent| self.is_dir(&parent))
    }

    /// Puts `node` at `path`. Entries below `path` are removed, unless both are directories.
    pub(crate) fn put(&mut self, path: &TreePath, node: SimNode) {
        assert!(path.is_root() || self.has_room_at(path), "{path} has no directory");
        if !matches!(
            (self.get(path), node),
            (Some(SimNode::Directory { .. }), SimNode::Directory { .. })
        ) {
            self.remove(path);
        }
        self.0.insert(path.clone(), node);
    }

    /// Removes the entry at `path` and everything below it. The root is only emptied.
    pub(crate) fn remove(&mut self, path: &TreePath) {
        self.0.retain(|it, _| it.is_root() || !path.contains(it));
    }

    /// Renames `from` to `to`, replacing any entry there.
    pub(crate) fn rename(&mut self, from: &TreePath, to: &TreePath) {
        assert!(self.has_room_at(to) && !from.contains(to), "{from} can't become {to}");
        self.remove(to);
        let moves: Vec<_> = self.0.extract_if(.., |it, _| from.contains(it)).collect();
        self.0.extend(moves.into_iter().map(|(it, node)| (it.rebase(from, to).unwrap(), node)));
    }

    /// Swaps the entries at two paths, neither of which lies below the other.
    pub(crate) fn swap(&mut self, one: &TreePath, other: &TreePath) {
        let ones: Vec<_> = self.0.extract_if(.., |it, _| one.contains(it)).collect();
        let others: Vec<_> = self.0.extract_if(.., |it, _| other.contains(it)).collect();
        let ones = ones.into_iter().map(|(it, node)| (it.rebase(one, other).unwrap(), node));
        let others = others.into_iter().map(|(it, node)| (it.rebase(other, one).unwrap(), node));
        self.0.extend(ones.chain(others));
    }

    /// Iterates over all paths, a directory before its contents.
    pub(crate) fn paths(&self) -> impl DoubleEndedIterator<Item = &TreePath> {
        self.0.keys()
    }

    /// Returns the entries of a directory.
    pub(crate) fn children(&self, directory: &TreePath) -> Vec<TreePath> {
        let is_child = |it: &&TreePath| it.parent().as_ref() == Some(directory);
        self.paths().filter(is_child).cloned().collect()
    }

    /// Returns the path itself, or its highest ancestor that is not a directory: the path to
    /// examine instead of `path`.
    pub(crate) fn survey(&self, path: TreePath) -> TreePath {
        let mut top = path;
        while let Some(parent) = top.parent().filter(|parent| !self.is_dir(parent)) {
            top = parent;
        }
        top
    }
}
