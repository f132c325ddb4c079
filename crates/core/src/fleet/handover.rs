//! Handover of watches: a replaced mirror stays watched until its successor is.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::fs_event::MirrorId;

/// Maps each successor that is not yet watched to the predecessor whose watches still feed it.
///
/// A watch backend reports nothing of a mirror before all of its tree is watched, so the events of
/// the predecessor reach the successor exactly once.
#[derive(Debug, Default)]
pub(super) struct Handover(BTreeMap<MirrorId, MirrorId>);

impl Handover {
    /// Forwards the events of `old` to `successor` from now on. If `old` is not watched yet itself,
    /// the events of its own predecessor are forwarded.
    pub(super) fn add(&mut self, old: MirrorId, successor: MirrorId) {
        let first = self.0.get(&old).copied().unwrap_or(old);
        self.0.insert(successor, first);
    }

    /// The successors that receive the events of this mirror.
    pub(super) fn successors_of(&self, old: MirrorId) -> impl Iterator<Item = MirrorId> {
        self.0.iter().filter(move |&(_, &first)| first == old).map(|(&successor, _)| successor)
    }

    /// Returns true if this mirror has to stay watched although it was replaced.
    pub(super) fn is_needed(&self, old: MirrorId) -> bool {
        self.successors_of(old).next().is_some()
    }

    /// Removes the successors that are watched, can't be watched or no longer exist. Returns the
    /// predecessors that need no watches any more.
    pub(super) fn remove(&mut self, successors: impl Fn(MirrorId) -> bool) -> BTreeSet<MirrorId> {
        let ended: Vec<_> = self.0.extract_if(.., |&successor, _| successors(successor)).collect();
        ended.into_iter().map(|(_, old)| old).filter(|&old| !self.is_needed(old)).collect()
    }
}
