//! A directory while anything in it is worked on.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use mirror_core::path::TreePath;

use super::links::Inode;

/// A directory while anything in it is worked on. Its own attributes are set when the last of its
/// tasks is done, since all that is done in it changes its time, and its mode may forbid it.
#[derive(Debug)]
pub(super) struct Branch {
    /// Whose task this directory is. `None` if only its own attributes wait for it.
    parent: Option<Arc<Branch>>,
    /// The path below the parent, or below the root of the mirror.
    path: TreePath,
    /// Whether this job made it, so that it was empty.
    pub(super) fresh: bool,
    /// How often it was found to be something else while it was opened.
    pub(super) tries: usize,
    /// Which directories it is, source first, once it was opened.
    pub(super) inodes: OnceLock<(Inode, Inode)>,
    /// How many tasks are not done yet.
    open: AtomicUsize,
}

impl Branch {
    /// A directory that nothing waits for, with one task.
    pub(super) fn new(path: TreePath) -> Arc<Self> {
        Self::with(None, path, false, 0)
    }

    /// The directory `name` in this one, with one task, which is one more for this one.
    pub(super) fn child(self: &Arc<Self>, name: TreePath, fresh: bool, tries: usize) -> Arc<Self> {
        self.add(1);
        Self::with(Some(Arc::clone(self)), name, fresh, tries)
    }

    fn with(parent: Option<Arc<Self>>, path: TreePath, fresh: bool, tries: usize) -> Arc<Self> {
        let (inodes, open) = (OnceLock::new(), AtomicUsize::new(1));
        Arc::new(Self { parent, path, fresh, tries, inodes, open })
    }

    /// Its name in the parent, or its path if it has none.
    pub(super) const fn name(&self) -> &TreePath {
        &self.path
    }

    /// The directory whose task this one is.
    pub(super) const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Adds tasks.
    pub(super) fn add(&self, tasks: usize) {
        self.open.fetch_add(tasks, Ordering::Relaxed);
    }

    /// Its path below the root of the mirror. Only the names are held, since a deep tree would
    /// take the square of its depth.
    pub(super) fn path(&self) -> TreePath {
        let mut chain = vec![self];
        while let Some(parent) = chain.last().and_then(|branch| branch.parent.as_deref()) {
            chain.push(parent);
        }
        let mut path = TreePath::root();
        for name in chain.into_iter().rev().flat_map(|branch| branch.path.components()) {
            // A component of a path can be a component of a path.
            let _ = path.push(name);
        }
        path
    }

    /// One task is done. `finish` is called for this directory if it was the last, and then for
    /// each one above that waited for nothing else.
    pub(super) fn done(self: &Arc<Self>, mut finish: impl FnMut(&Self)) {
        let mut branch = self;
        // Release, so that whoever ends the last task sees what all others did.
        while branch.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            finish(branch);
            let Some(parent) = &branch.parent else { return };
            branch = parent;
        }
    }
}

impl Drop for Branch {
    /// Without recursion, which a deep tree would not survive.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut branch) = parent.and_then(Arc::into_inner) {
            parent = branch.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_finished_after_all_that_is_in_it() {
        let root = Branch::new(TreePath::new(b"a/b").unwrap());
        let one = root.child(TreePath::new(b"one").unwrap(), false, 0);
        let two = root.child(TreePath::new(b"two").unwrap(), true, 0);
        let mut order = Vec::new();
        for branch in [&one, &root, &two] {
            branch.done(|finished| order.push(finished.path().to_string()));
        }
        assert_eq!(order, ["/a/b/one", "/a/b/two", "/a/b"]);
    }

    #[test]
    fn a_deep_tree_takes_no_stack() {
        let mut branch = Branch::new(TreePath::root());
        for _ in 0..200_000 {
            let child = branch.child(TreePath::new(b"d").unwrap(), true, 0);
            branch.done(|_| unreachable!());
            branch = child;
        }
        let mut finished = 0;
        branch.done(|_| finished += 1);
        assert_eq!(finished, 200_001);
    }
}
