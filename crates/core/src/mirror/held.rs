//! Deletions held for an operator.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Mirror, SyncMember,
    running_job::JobPurpose,
    target::{ResumePoint, TargetState},
};
use crate::{
    effect::Effect,
    guard::AcceptedDeletions,
    job::{DirtyPath, HeldDeletions, HoldReason, Scope},
    log_event::{DeletionEvent, HoldEnd, MirrorEvent},
    path::TreePath,
    plan::options::TransferPhase,
    queue::{DirtySet, HeldBefore, PathSet},
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

/// Deletions held for an operator, as a job has counted them.
#[derive(Clone, Debug)]
pub(super) struct HeldGroup {
    deletions: HeldDeletions,
    /// True if they were counted in an earlier run, and by no job of this one.
    is_restored: bool,
    /// True if an operator has accepted them, as they were counted.
    is_accepted: bool,
}

/// Way to mark a path of the queue.
type MarkFn = fn(&mut DirtySet, &TreePath, Scope, Moment);

impl Mirror {
    /// Deletions beyond the budget. The target keeps the entries.
    pub fn held(&self) -> impl Iterator<Item = &HeldDeletions> {
        self.held.iter().map(|group| &group.deletions)
    }

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
        let delete = self.settings.delete;
        let (at_startup, running) = (TransferPhase::Startup, TransferPhase::Running);
        let has_counted = match purpose {
            JobPurpose::Startup => delete.applies(at_startup),
            JobPurpose::Full | JobPurpose::Changes => delete.applies(running),
            JobPurpose::Obsolete => delete.applies(at_startup) && delete.applies(running),
        };
        if !has_counted {
            return;
        }
        let CountedPaths { paths, mut held } = counted;
        let was_held = !self.held.is_empty();
        let counted = |dirty: &DirtyPath| paths.covers(&dirty.path, dirty.scope);
        let all_counted = |it: &mut HeldGroup| it.deletions.paths.iter().all(counted);
        let before: Vec<_> = self.held.extract_if(.., all_counted).collect();
        for it in &mut self.held {
            it.deletions.paths.retain(|dirty| !counted(dirty));
        }
        let is_observed = |name: &TreePath| self.queue.is_deletion_pending(name);
        let unobserved = held.iter().filter(|it| it.reason != HoldReason::Observed);
        let outdated = unobserved.filter(|it| all_paths(it).any(is_observed));
        let outdated: Vec<_> = outdated.cloned().collect();
        held.retain(|it| it.reason == HoldReason::Observed || !self.is_pending(it));
        self.compare_again(&outdated, DirtySet::mark, now);
        let groups = held.iter().cloned().map(|deletions| HeldGroup {
            deletions,
            is_restored: false,
            is_accepted: false,
        });
        self.held.extend(groups);
        let was_reported = before.iter().all(|it| !it.is_restored);
        let is_unchanged = was_reported && held.iter().eq(before.iter().map(|it| &it.deletions));
        if !held.is_empty() && !is_unchanged {
            self.is_released = false;
            let all = self.held().cloned().collect();
            let event = DeletionEvent::Held { found: held, all };
            self.report(MirrorEvent::Deletions(event), effects);
        } else if was_held && self.held.is_empty() {
            let end = if self.is_released { HoldEnd::Released } else { HoldEnd::Obsolete };
            self.is_released = false;
            self.report(MirrorEvent::Deletions(DeletionEvent::NoneHeld(end)), effects);
        }
    }

    /// Returns true if a job may find deletions that were observed and are held. It may find them
    /// anywhere: if a directory above its paths is missing, it finds that.
    fn has_observed_held(&self) -> bool {
        self.held().any(|it| it.reason == HoldReason::Observed)
    }

    /// Returns the held deletions that concern a job for these paths, or for everything.
    pub(super) fn held_before(&self, paths: &PathSet, is_full: bool) -> HeldBefore {
        let is_counted = |dirty: &DirtyPath| is_full || paths.covers(&dirty.path, dirty.scope);
        let mut accepted = AcceptedDeletions::default();
        for HeldGroup { deletions, .. } in self.held.iter().filter(|group| group.is_accepted) {
            if deletions.paths.iter().all(is_counted) {
                accepted.add(deletions.reason, deletions.count);
            }
        }
        HeldBefore { may_include_held: self.has_observed_held(), accepted }
    }

    /// Accepts the held deletions, as they were counted, and makes them.
    pub(super) fn accept_held(&mut self, now: Moment) {
        self.held.iter_mut().for_each(|group| group.is_accepted = true);
        self.recount(now);
    }

    /// Inherits the held deletions of `other`, a mirror of the same source and target, that were
    /// observed: otherwise the first transfer would count them as if nobody had seen them.
    pub(super) fn inherit_held(&mut self, other: &Self) {
        let is_observed = |it: &&HeldGroup| it.deletions.reason == HoldReason::Observed;
        let observed = other.held.iter().filter(is_observed).cloned();
        self.held.extend(observed.map(|group| HeldGroup { is_accepted: false, ..group }));
    }

    /// Marks the paths of held deletions, to be counted again. The source may not be whole any
    /// more, so they don't count as observed.
    pub(super) fn recount_restored(&mut self, now: Moment) {
        let paths = self.held.iter().flat_map(|group| &group.deletions.paths);
        paths.for_each(|DirtyPath { path, scope }| self.queue.mark(path, *scope, now));
    }

    /// Continues with the deletions that were held at the end of an earlier run.
    pub fn restore_held(&mut self, held: Vec<HeldDeletions>) {
        let group = |deletions| HeldGroup { deletions, is_restored: true, is_accepted: false };
        self.held.extend(held.into_iter().map(group));
    }

    /// Handles the loss of the source: observed deletions that are held may be anywhere when it is
    /// back, and are counted again with all others.
    pub(super) fn suspend_held(&mut self) {
        for HeldGroup { deletions, is_accepted, .. } in &mut self.held {
            // What was accepted was counted before.
            *is_accepted = false;
            if deletions.reason == HoldReason::Observed {
                deletions.paths = Vec::from([DirtyPath::root_tree()]);
            }
        }
    }

    /// Counts the held deletions again, and makes those that the budget allows.
    pub(super) fn recount(&mut self, now: Moment) {
        let held: Vec<_> = self.held().cloned().collect();
        self.is_released = !held.is_empty();
        self.compare_again(&held, DirtySet::mark_due, now);
    }

    /// Counts the held deletions again that include this path, because it was created again, or
    /// because its deletion was observed after all.
    pub(super) fn recount_changed(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let is_it = |name: &TreePath| name == path || scope == Scope::Tree && path.contains(name);
        let is_changed = |held: &&HeldDeletions| all_paths(held).any(is_it);
        let held: Vec<_> = self.held().filter(is_changed).cloned().collect();
        self.compare_again(&held, DirtySet::mark, now);
    }

    /// Returns true if all of them were observed after all, and are made by the next batch.
    fn is_pending(&self, held: &HeldDeletions) -> bool {
        let is_pending = |path: &TreePath| self.queue.is_deletion_pending(path);
        !held.names.is_empty() && held.lists_all() && held.names.iter().all(is_pending)
            || held.paths.iter().all(|dirty| is_pending(&dirty.path))
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
                if *reason == HoldReason::Observed && !path.is_root() {
                    self.queue.mark_deleted(path, *scope, now);
                }
                mark(&mut self.queue, path, *scope, now);
            }
        }
    }

    /// Prepares a rename of the directory or file `from`. Returns the reason for which deletions
    /// are held there, if any: they do not follow from the deletion of the old name, which has to
    /// be counted, too.
    pub(super) fn recount_held_below(
        &mut self,
        from: &TreePath,
        scope: Scope,
        now: Moment,
    ) -> Option<HoldReason> {
        let other = self.held.iter().map(|group| &group.deletions);
        let other = other.filter(|held| !self.is_rename(held, from));
        let held: Vec<_> = other.clone().filter(|it| is_listed(it, from)).cloned().collect();
        // Not all names are listed.
        let may_include = |held: &HeldDeletions| {
            scope == Scope::Tree
                && !held.lists_all()
                && held.paths.iter().any(|dirty| dirty.path.contains(from))
        };
        let reasons = other.filter(|it| is_listed(it, from) || may_include(it));
        let mut reasons = reasons.map(|it| it.reason);
        let first = reasons.next();
        let reason = reasons.find(|reason| *reason != HoldReason::Observed).or(first);
        // If the rename is repeated, they have another name on the target now.
        self.mark_held(&held, DirtySet::mark, now);
        reason
    }

    /// Returns true if this rename explains the held deletions: that of `from` itself. What was
    /// counted below it may have been missing before: that a rename came soon after the job
    /// explains nothing. Observed deletions have another explanation.
    fn is_rename(&self, held: &HeldDeletions, from: &TreePath) -> bool {
        held.reason != HoldReason::Observed
            && (held.names.iter().any(|name| name.contains(from)) || self.is_pending(held))
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

/// Returns the compared paths and the listed names of held deletions, except the root: something
/// changes in it all the time.
fn all_paths(held: &HeldDeletions) -> impl Iterator<Item = &TreePath> {
    let paths = held.paths.iter().map(|dirty| &dirty.path);
    paths.filter(|path| !path.is_root()).chain(&held.names)
}

/// Returns true if a path or name of held deletions is below `from`, or, if they were observed, is
/// `from` or above: the entry that is renamed now is another one then.
fn is_listed(held: &HeldDeletions, from: &TreePath) -> bool {
    let is_seen = held.reason == HoldReason::Observed;
    let is_it =
        |path: &TreePath| path != from && from.contains(path) || is_seen && path.contains(from);
    all_paths(held).any(is_it)
}
