//! Node in the tree of directories with unfinished work.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use mirror_core::path::TreePath;

use crate::exec::inode::Inode;

/// Directory with unfinished work. Its attributes are set after the last of its tasks, because each
/// change in it updates its modification time, and its final mode may forbid changes.
#[derive(Debug)]
pub(super) struct DirNode {
    /// Directory that waits for this one. `None` if only the attributes of this directory depend on
    /// its tasks.
    parent: Option<Arc<DirNode>>,
    /// Path below the parent, or below the root of the mirror if there is no parent.
    path: TreePath,
    /// True if this job created the directory, so that it was empty.
    pub(super) created: bool,
    /// Number of attempts to open it that found something else.
    pub(super) tries: u8,
    /// Inodes of both directories, once opened.
    pub(super) inodes: OnceLock<DirInodes>,
    /// Number of unfinished tasks.
    pending: AtomicUsize,
}

/// Inodes of a directory on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirInodes {
    pub(super) source: Inode,
    pub(super) target: Inode,
}

impl DirNode {
    /// Creates a node without a parent and with one task.
    pub(super) fn new(path: TreePath) -> Arc<Self> {
        Self::with(None, path, false, 0)
    }

    /// Creates a node for the subdirectory `name` with one task. It counts as a task of this node.
    pub(super) fn child(self: &Arc<Self>, name: TreePath, created: bool, tries: u8) -> Arc<Self> {
        self.add(1);
        Self::with(Some(Arc::clone(self)), name, created, tries)
    }

    fn with(parent: Option<Arc<Self>>, path: TreePath, created: bool, tries: u8) -> Arc<Self> {
        let (inodes, pending) = (OnceLock::new(), AtomicUsize::new(1));
        Arc::new(Self { parent, path, created, tries, inodes, pending })
    }

    /// Returns the path below the parent, or the full path if there is no parent.
    pub(super) const fn name(&self) -> &TreePath {
        &self.path
    }

    /// Returns the directory that waits for this one.
    pub(super) const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    pub(super) fn add(&self, tasks: usize) {
        self.pending.fetch_add(tasks, Ordering::Relaxed);
    }

    /// Returns the path below the root of the mirror. A node stores only its name: full paths would
    /// take memory quadratic in the depth of the tree.
    pub(super) fn path(&self) -> TreePath {
        let mut chain = vec![self];
        while let Some(parent) = chain.last().and_then(|node| node.parent.as_deref()) {
            chain.push(parent);
        }
        let mut path = TreePath::root();
        for name in chain.into_iter().rev().flat_map(|node| node.path.components()) {
            // Cannot fail: the component was part of a valid path.
            let _ = path.push(name);
        }
        path
    }

    /// Finishes one task. If it was the last one, calls `finish` for this directory and then for
    /// each ancestor without other tasks.
    pub(super) fn finish_task(self: &Arc<Self>, mut finish: impl FnMut(&Self)) {
        let mut node = self;
        // Release, so that the thread that finishes the last task sees the effects of all others.
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            finish(node);
            let Some(parent) = &node.parent else { return };
            node = parent;
        }
    }
}

impl Drop for DirNode {
    /// Iterative: recursion would overflow the stack in a deep tree.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_finished_after_its_entries() {
        let root = DirNode::new(TreePath::new(b"a/b").unwrap());
        let one = root.child(TreePath::new(b"one").unwrap(), false, 0);
        let two = root.child(TreePath::new(b"two").unwrap(), true, 0);
        let mut order = Vec::new();
        for node in [&one, &root, &two] {
            node.finish_task(|finished| order.push(finished.path().to_string()));
        }
        assert_eq!(order, ["/a/b/one", "/a/b/two", "/a/b"]);
    }

    #[test]
    fn a_deep_tree_does_not_overflow_the_stack() {
        let mut node = DirNode::new(TreePath::root());
        for _ in 0..200_000 {
            let child = node.child(TreePath::new(b"d").unwrap(), true, 0);
            node.finish_task(|_| unreachable!());
            node = child;
        }
        let mut finished = 0;
        node.finish_task(|_| finished += 1);
        assert_eq!(finished, 200_001);
    }
}
