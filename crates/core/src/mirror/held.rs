//! Deletions held for an operator.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Mirror, SyncMember,
    running_job::JobPurpose,
    target::{ResumePoint, TargetState},
};
use crate::{
    effect::Effect,
    job::{DirtyPath, HeldDeletions, HoldReason, Scope},
    log_event::{DeletionEvent, MirrorEvent},
    path::TreePath,
    plan::options::TransferPhase,
    queue::{DirtySet, PathSet},
    time::Moment,
};

/// Paths in which a job has counted the deletions.
#[derive(Debug)]
pub(super) struct CountedPaths {
    /// The paths that the job has compared.
    pub(super) paths: Arc<PathSet>,
    /// The deletions beyond the budget.
    pub(super) held: Vec<HeldDeletions>,
}

/// Way to mark a path of the queue.
type MarkFn = fn(&mut DirtySet, &TreePath, Scope, Moment);

impl Mirror {
    /// Updates the deletions that are held, after a job has counted them.
    ///
    /// Some may have been observed since the job began: they are made by the next batch, and the
    /// others are counted again with it.
    pub(super) fn update_held(
        &mut self,
        purpose: JobPurpose,
        counted: CountedPaths,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        // A job that deletes nothing has counted nothing.
        if self.deletes_at_startup_only() && purpose != JobPurpose::Startup {
            return;
        }
        let CountedPaths { paths, mut held } = counted;
        let was_held = !self.held.is_empty();
        let counted = |dirty: &DirtyPath| paths.covers(&dirty.path, dirty.scope);
        let all_counted = |it: &mut HeldDeletions| it.paths.iter().all(counted);
        let before: Vec<_> = self.held.extract_if(.., all_counted).collect();
        for it in &mut self.held {
            it.paths.retain(|dirty| !counted(dirty));
        }
        let is_observed = |name: &TreePath| self.queue.is_deletion_pending(name);
        let outdated = held.iter().filter(|it| it.names.iter().any(is_observed));
        let outdated: Vec<_> = outdated.cloned().collect();
        held.retain(|it| it.count > it.names.len() as u64 || !it.names.iter().all(is_observed));
        self.compare_again(&outdated, DirtySet::mark, now);
        self.held.extend(held.iter().cloned());
        if !held.is_empty() && held != before {
            self.report(MirrorEvent::Deletions(DeletionEvent::Held(held)), effects);
        } else if was_held && self.held.is_empty() {
            self.report(MirrorEvent::Deletions(DeletionEvent::NoneHeld), effects);
        }
    }

    /// Counts the held deletions again, and makes those that the budget allows.
    pub(super) fn recount(&mut self, now: Moment) {
        self.compare_again(&self.held.clone(), DirtySet::mark_due, now);
    }

    /// Counts the held deletions again that include this path, because it was created again, or
    /// because its deletion was observed after all.
    pub(super) fn recount_changed(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let is_it = |name: &TreePath| name == path || scope == Scope::Tree && path.contains(name);
        let is_changed = |held: &&HeldDeletions| held.names.iter().any(is_it);
        let held: Vec<_> = self.held.iter().filter(is_changed).cloned().collect();
        self.compare_again(&held, DirtySet::mark, now);
    }

    fn compare_again(&mut self, held: &[HeldDeletions], mark: MarkFn, now: Moment) {
        if !held.is_empty() && self.deletes_at_startup_only() {
            return self.restart(now);
        }
        self.mark_held(held, mark, now);
    }

    /// Marks the paths of held deletions. As long as the source was whole, observed deletions stay
    /// observed. But not everything below the root was.
    fn mark_held(&mut self, held: &[HeldDeletions], mark: MarkFn, now: Moment) {
        for HeldDeletions { paths, reason, .. } in held {
            for DirtyPath { path, scope } in paths {
                if *reason == HoldReason::Seen && !path.is_root() {
                    self.queue.mark_deleted(path, *scope, now);
                }
                mark(&mut self.queue, path, *scope, now);
            }
        }
    }

    /// Prepares a rename of `from`. Returns true if deletions are held below it: those were not
    /// observed, so they do not follow from the deletion of the old name. A held deletion of `from`
    /// itself is this rename.
    pub(super) fn recount_held_below(&mut self, from: &TreePath, now: Moment) -> bool {
        let is_below = |path: &TreePath| path != from && from.contains(path);
        let is_of_it = |held: &&HeldDeletions| {
            let mut names = held.names.iter();
            held.paths.iter().any(|dirty| is_below(&dirty.path))
                || names.clone().any(is_below) && !names.any(|name| name.contains(from))
        };
        let held: Vec<_> = self.held.iter().filter(is_of_it).cloned().collect();
        // If the rename is repeated, they have another name on the target now.
        self.mark_held(&held, DirtySet::mark, now);
        !held.is_empty()
    }

    /// Repeats the first transfer, because only that deletes.
    fn restart(&mut self, now: Moment) {
        match &mut self.target {
            TargetState::Live => self.target = TargetState::Starting,
            TargetState::Away(away) => away.resume = ResumePoint::Starting,
            TargetState::Starting => {}
        }
        self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
    }

    fn deletes_at_startup_only(&self) -> bool {
        let delete = self.settings.delete;
        delete.applies(TransferPhase::Startup) && !delete.applies(TransferPhase::Running)
    }
}
