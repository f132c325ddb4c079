//! Observed changes across batches.

use alloc::{sync::Arc, vec::Vec};

use super::DirtySet;
use crate::{
    job::DirtyPath,
    path::TreePath,
    queue::{ObservedChanges, PathSet},
    time::Moment,
};

impl DirtySet {
    /// Inherits the changes observed at unsettled paths of `other`, the queue of another mirror of
    /// the same source and target.
    pub fn inherit(&mut self, other: &Self, now: Moment) {
        let mut observed = other.observed.clone();
        for flight in &other.in_flight {
            observed.append((*flight.observed).clone());
        }
        for DirtyPath { path, scope } in observed.paths() {
            self.mark(&path, scope, now);
        }
        self.observed.append(observed);
        self.bound_observed();
    }

    /// Returns true if the deletion of this name, or of a directory above it, was observed and is
    /// not settled.
    #[must_use]
    pub fn is_deletion_pending(&self, path: &TreePath) -> bool {
        self.pending_changes().any(|observed| observed.is_deleted(path))
    }

    /// Returns true if a deletion at, above or below this path was observed that is no rename and
    /// is not settled.
    pub(super) fn overlaps_pending_deletion(&self, path: &TreePath) -> bool {
        self.pending_changes().any(|observed| observed.overlaps_deletion(path))
    }

    /// The observed changes that are not settled.
    fn pending_changes(&self) -> impl Iterator<Item = &ObservedChanges> {
        self.in_flight.iter().map(|flight| &*flight.observed).chain([&self.observed])
    }

    /// Forgets the observed deletions: the source may not have been whole.
    pub fn forget_deletions(&mut self) {
        self.observed.forget_deletions();
        self.recent.forget_deletions();
        for flight in &mut self.in_flight {
            Arc::make_mut(&mut flight.observed).forget_deletions();
        }
    }

    /// Notes paths that the startup has left to be retried.
    pub fn note_left_by_startup(&mut self, paths: PathSet) {
        self.observed.left_by_startup.append(paths);
    }

    /// Copies the changes observed under the old name to the new one.
    pub(super) fn observe_rename(&mut self, from: &TreePath, to: &DirtyPath) {
        let observed = self.pending_changes().map(|observed| observed.rebased(from, to));
        let rebased: Vec<_> = observed.chain([self.recent.rebased(from, to)]).collect();
        self.observed.add_renamed_to(to);
        for observed in rebased {
            self.observed.append(observed);
        }
    }

    /// Counts everything that was renamed as written: what is known to be written under an old name
    /// was not known when the rename was observed.
    pub fn mark_renamed_written(&mut self, now: Moment) {
        let renamed: Vec<_> = self.observed.renamed_to.iter().collect();
        for DirtyPath { path, scope } in renamed {
            self.mark_written(&path, scope, now);
        }
    }

    /// Bounds the observed changes: with too many, those in a tree are replaced by the tree.
    pub(super) fn bound_observed(&mut self) {
        if self.observed.len() <= self.observed_limit.max(self.limits.paths) {
            return;
        }
        let Self { observed, waiting, hot, in_flight, .. } = self;
        let deferred = in_flight.iter().map(|flight| &flight.deferred);
        let pending_sets = deferred.chain([&*waiting, &hot.pending]);
        observed.widen(|path| pending_sets.clone().find_map(|pending| pending.paths.tree_of(path)));
        self.observed_limit = 2 * self.observed.len();
    }
}
