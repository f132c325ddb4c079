//! A file system, as small as it can be.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::path::TreePath;

/// What can stand at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File { content: u32, mode: u32 },
    Link { to: u32 },
    Directory { mode: u32 },
}

/// All that stands below a root.
///
/// **Invariant.** Whatever is not the root stands in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<TreePath, Node>);

/// A directory without content and with nothing special about it.
pub(crate) const PLAIN: Node = Node::Directory { mode: 0 };

impl Tree {
    /// An empty root.
    pub(crate) fn new() -> Self {
        Self(BTreeMap::from([(TreePath::root(), PLAIN)]))
    }

    pub(crate) fn get(&self, path: &TreePath) -> Option<Node> {
        self.0.get(path).copied()
    }

    pub(crate) fn is_dir(&self, path: &TreePath) -> bool {
        matches!(self.get(path), Some(Node::Directory { .. }))
    }

    /// Whether an entry could stand at `path`: whether it is in a directory.
    pub(crate) fn has_room_at(&self, path: &TreePath) -> bool {
        path.parent().is_some_and(|parent| self.is_dir(&parent))
    }

    /// Makes `node` stand at `path`. What was below it goes, unless both are directories.
    pub(crate) fn put(&mut self, path: &TreePath, node: Node) {
        assert!(path.is_root() || self.has_room_at(path), "{path} has no directory");
        if !matches!((self.get(path), node), (Some(Node::Directory { .. }), Node::Directory { .. }))
        {
            self.remove(path);
        }
        self.0.insert(path.clone(), node);
    }

    /// Takes away what stands at `path` and below it. The root is only emptied.
    pub(crate) fn remove(&mut self, path: &TreePath) {
        self.0.retain(|it, _| it.is_root() || !path.contains(it));
    }

    /// Gives what stands at `from` the name `to`, in place of what stands there.
    pub(crate) fn rename(&mut self, from: &TreePath, to: &TreePath) {
        assert!(self.has_room_at(to) && !from.contains(to), "{from} can't become {to}");
        self.remove(to);
        let moves: Vec<_> = self.0.extract_if(.., |it, _| from.contains(it)).collect();
        self.0.extend(moves.into_iter().map(|(it, node)| (it.rebase(from, to).unwrap(), node)));
    }

    /// Exchanges what stands at two paths of which none lies below the other.
    pub(crate) fn swap(&mut self, one: &TreePath, other: &TreePath) {
        let ones: Vec<_> = self.0.extract_if(.., |it, _| one.contains(it)).collect();
        let others: Vec<_> = self.0.extract_if(.., |it, _| other.contains(it)).collect();
        let ones = ones.into_iter().map(|(it, node)| (it.rebase(one, other).unwrap(), node));
        let others = others.into_iter().map(|(it, node)| (it.rebase(other, one).unwrap(), node));
        self.0.extend(ones.chain(others));
    }

    /// Every path, a directory before what is below it.
    pub(crate) fn paths(&self) -> impl DoubleEndedIterator<Item = &TreePath> {
        self.0.keys()
    }

    /// What a directory lists.
    pub(crate) fn children(&self, directory: &TreePath) -> Vec<TreePath> {
        let is_child = |it: &&TreePath| it.parent().as_ref() == Some(directory);
        self.paths().filter(is_child).cloned().collect()
    }

    /// The path itself, or the highest above it that is not a directory: what has to be looked at
    /// if `path` has to.
    pub(crate) fn survey(&self, path: TreePath) -> TreePath {
        let mut top = path;
        while let Some(parent) = top.parent().filter(|parent| !self.is_dir(parent)) {
            top = parent;
        }
        top
    }
}
