//! Operations on two sets of paths.

use alloc::vec;
use core::mem;

use super::{NodeId, PathSet};
use crate::{
    job::{DirtyPath, Scope},
    queue::steps::step,
};

impl PathSet {
    /// Returns true if the set covers each path of `other`.
    ///
    /// Costs O(1) for each node of `other`, wherever it is.
    pub(in crate::queue) fn covers_all(&self, other: &Self) -> bool {
        // The same path in both.
        let mut pairs = vec![(NodeId::ROOT, NodeId::ROOT)];
        while let Some((node, other_node)) = pairs.pop() {
            step();
            if self.scope(node) == Some(Scope::Tree) {
                continue;
            }
            if self.scope(node) < other.scope(other_node) {
                return false;
            }
            for below in other.children(other_node) {
                match self.child(node, other.name(below)) {
                    Some(child) => pairs.push((child, below)),
                    None => return false,
                }
            }
        }
        true
    }

    /// Takes the paths that are covered by `paths`.
    ///
    /// Costs O(depth) for each path of the set.
    pub(in crate::queue) fn take_within(&mut self, paths: &Self) -> Self {
        if paths.covers_all(self) {
            return mem::take(self);
        }
        let is_within = |dirty: &DirtyPath| paths.covers(&dirty.path, dirty.scope);
        let (mut taken, mut kept) = (Self::new(), Self::new());
        for dirty in &*self {
            let set = if is_within(&dirty) { &mut taken } else { &mut kept };
            set.insert(&dirty.path, dirty.scope);
        }
        *self = kept;
        taken
    }

    /// Adds all paths of `other`.
    ///
    /// Costs O(depth) for each path of the smaller set.
    pub fn append(&mut self, mut other: Self) {
        if self.len < other.len {
            mem::swap(self, &mut other);
        }
        for DirtyPath { path, scope } in &other {
            self.insert(&path, scope);
        }
    }
}

/// Compares the paths.
impl PartialEq for PathSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other)
    }
}
