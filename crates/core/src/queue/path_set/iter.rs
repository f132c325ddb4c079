//! The iterator over a set of paths, in order.

use alloc::{vec, vec::Vec};
use core::iter::FusedIterator;

use super::{NodeId, PathSet};
use crate::{job::DirtyPath, path::TreePath, queue::steps::step};

/// The paths of a [`PathSet`]: a directory before its entries, siblings in the order of their
/// bytes.
#[derive(Debug)]
pub struct PathSetIter<'a> {
    set: &'a PathSet,
    /// The current position.
    path: TreePath,
    /// The nodes to visit at each depth on the way to `path`.
    stack: Vec<vec::IntoIter<NodeId>>,
    /// The number of remaining paths.
    left: usize,
}

impl<'a> PathSetIter<'a> {
    pub(super) fn new(set: &'a PathSet) -> Self {
        let stack = vec![vec![NodeId::ROOT].into_iter()];
        Self { set, path: TreePath::root(), stack, left: set.len() }
    }

    fn enter(&mut self, node: NodeId) -> Option<DirtyPath> {
        step();
        if node != NodeId::ROOT {
            self.path.push(self.set.name(node)).expect("the name comes from a path");
        }
        let mut below: Vec<NodeId> = self.set.children(node).collect();
        below.sort_unstable_by_key(|&child| self.set.name(child));
        self.stack.push(below.into_iter());
        let scope = self.set.scope(node)?;
        Some(DirtyPath { path: self.path.clone(), scope })
    }
}

impl Iterator for PathSetIter<'_> {
    type Item = DirtyPath;

    fn next(&mut self) -> Option<DirtyPath> {
        while self.left > 0 {
            let Some(node) = self.stack.last_mut()?.next() else {
                self.stack.pop();
                self.path.pop();
                continue;
            };
            if let Some(dirty) = self.enter(node) {
                self.left -= 1;
                return Some(dirty);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for PathSetIter<'_> {}

impl FusedIterator for PathSetIter<'_> {}

impl<'a> IntoIterator for &'a PathSet {
    type Item = DirtyPath;
    type IntoIter = PathSetIter<'a>;

    fn into_iter(self) -> PathSetIter<'a> {
        self.iter()
    }
}
