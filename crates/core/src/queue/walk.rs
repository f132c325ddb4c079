//! The way through a set of places, in order.

use alloc::{vec, vec::Vec};
use core::iter::FusedIterator;

use crate::{
    job::Place,
    path::TreePath,
    queue::{
        index::{NodeId, PlaceSet},
        steps::step,
    },
};

/// The places of a [`PlaceSet`]: a directory before what is below it, siblings in the order of
/// their bytes.
#[derive(Debug)]
pub struct Iter<'a> {
    set: &'a PlaceSet,
    /// Where the walk is.
    path: TreePath,
    /// What is still to be visited at each depth on the way to `path`.
    stack: Vec<vec::IntoIter<NodeId>>,
    /// How many places are still to come.
    left: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(set: &'a PlaceSet) -> Self {
        let stack = vec![vec![NodeId::ROOT].into_iter()];
        Self { set, path: TreePath::root(), stack, left: set.len() }
    }

    fn enter(&mut self, node: NodeId) -> Option<Place> {
        step();
        if node != NodeId::ROOT {
            self.path.push(self.set.name(node)).expect("the name comes from a path");
        }
        let mut below: Vec<NodeId> = self.set.children(node).collect();
        below.sort_unstable_by_key(|&child| self.set.name(child));
        self.stack.push(below.into_iter());
        let scope = self.set.scope(node)?;
        Some(Place { path: self.path.clone(), scope })
    }
}

impl Iterator for Iter<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        while self.left > 0 {
            let Some(node) = self.stack.last_mut()?.next() else {
                self.stack.pop();
                self.path.pop();
                continue;
            };
            if let Some(place) = self.enter(node) {
                self.left -= 1;
                return Some(place);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl FusedIterator for Iter<'_> {}
