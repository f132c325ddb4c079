//! The queue of a mirror with a built-in target: the set of dirty paths, which have to be compared.
//!
//! It is not a list of events. So it has no order, nothing blocks anything else for longer than a
//! batch takes, and a burst of changes in one directory becomes one path in the end (law 3 of
//! `docs/architecture.md`).

mod admission;
mod observe;
mod touched;

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::mem;

use crate::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{
        Batch, Debounce, PathSet, QueueLimits, Settled,
        backoff::{FailedPaths, Unsettled},
        debounce::Spell,
        hot_paths::HotPaths,
        large_files::LargeFiles,
        observed::{ObservedChanges, RecentChanges},
        pending::{PendingSet, Span},
        rename_hints::RenameHints,
        status::{QueueCounts, Stage},
    },
    time::Moment,
};

/// The dirty paths of one mirror.
///
/// Pure: time is an argument and does not run backwards.
///
/// **Invariants.**
/// 1. No two batches in flight touch the same path, and no waiting path touches one in flight: such
///    a path is deferred until that batch is settled.
/// 2. A mark is not absorbed by a batch in flight.
/// 3. A marked path leaves only by being settled, or by being covered by another path.
/// 4. No path starves: a path that would touch a deferred one is deferred with it.
///
/// A mark costs O(depth of its path) for each batch in flight, and one more for the set that it
/// joins. Memory is bounded by [`QueueLimits`], for the waiting paths, the hot ones and for those
/// deferred by each batch.
#[derive(Debug, Default)]
pub struct DirtySet {
    debounce: Debounce,
    limits: QueueLimits,
    /// The number of batches so far.
    batches: u64,
    spell: Spell,
    waiting: PendingSet,
    /// Those that wait apart from the others, because they change again and again.
    hot: HotPaths,
    /// The changes observed at paths that are not in flight.
    ///
    /// **Invariant.** Each of its paths is covered by a waiting, hot, deferred or failed path or by
    /// a large file, and leaves with that.
    observed: ObservedChanges,
    /// The maximum number of its names, if that is more than the limit.
    observed_limit: usize,
    recent: RecentChanges,
    in_flight: Vec<InFlight>,
    failed: FailedPaths,
    large: LargeFiles,
    /// The paths that were reported to change since the last snapshot, if there are snapshots.
    touched: Option<PendingSet>,
}

/// A batch that is not settled yet.
#[derive(Debug)]
struct InFlight {
    number: u64,
    paths: Arc<PathSet>,
    observed: Arc<ObservedChanges>,
    hints: RenameHints,
    span: Span,
    started: Moment,
    /// The paths that were marked since then and have to wait for this batch.
    deferred: PendingSet,
}

impl DirtySet {
    /// An empty queue.
    #[must_use]
    pub fn new(debounce: Debounce) -> Self {
        Self::with_limits(debounce, QueueLimits::default())
    }

    /// An empty queue with other limits.
    #[must_use]
    pub fn with_limits(debounce: Debounce, limits: QueueLimits) -> Self {
        Self { debounce, limits, ..Self::default() }
    }

    /// Changes the debounce.
    pub const fn set_debounce(&mut self, debounce: Debounce) {
        self.debounce = debounce;
    }

    /// Marks a path in which something was written, created or renamed at `now`, so that equal size
    /// and time prove nothing.
    pub fn mark_written(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        self.observed.add_written(&DirtyPath { path: path.clone(), scope });
        self.mark(path, scope, now);
        self.bound_observed();
    }

    /// Marks a name that was observed to disappear at `now`.
    pub fn mark_deleted(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        self.observed.add_deleted(&DirtyPath { path: path.clone(), scope });
        self.mark(path, scope, now);
        self.bound_observed();
    }

    /// Marks a path that may have changed at `now`.
    pub fn mark(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        self.touch(path, scope);
        let span = self.span_of_mark(now);
        if !self.failed.absorb(path, scope) {
            self.admit(&DirtyPath { path: path.clone(), scope }, span);
        }
    }

    /// Marks a path, ends its backoff, and makes all waiting paths due at once.
    pub fn mark_due(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let span = Span::due_now(now);
        self.admit(&DirtyPath { path: path.clone(), scope }, span);
    }

    /// Marks both names of a rename at `now`, and keeps the rename as a hint.
    pub fn mark_rename(&mut self, from: &TreePath, to: &TreePath, kind: EntryKind, now: Moment) {
        if self.overlaps_pending_deletion(from) {
            return self.mark_deleting_rename(from, to, kind, now);
        }
        self.mark_counted_rename(from, to, kind, now);
        self.observed.add_renamed_from(&dirty_path(from, kind));
        self.bound_observed();
    }

    /// Like [`mark_rename`](Self::mark_rename), but observed deletions may be at the old name: if
    /// the rename is not repeated on the target, the old name counts as one of them.
    pub fn mark_deleting_rename(
        &mut self,
        from: &TreePath,
        to: &TreePath,
        kind: EntryKind,
        now: Moment,
    ) {
        self.mark_counted_rename(from, to, kind, now);
        self.observed.add_deleted(&dirty_path(from, kind));
        self.bound_observed();
    }

    /// Like [`mark_rename`](Self::mark_rename), but the target may have the old name for another
    /// reason: if the rename is not repeated there, its deletion has to be counted.
    pub fn mark_counted_rename(
        &mut self,
        from: &TreePath,
        to: &TreePath,
        kind: EntryKind,
        now: Moment,
    ) {
        let dirty = dirty_path(to, kind);
        self.observe_rename(from, &dirty);
        self.put_rename(from, to, dirty.scope, now);
        self.bound_observed();
    }

    /// The time at which [`take_due`](Self::take_due) may next return a batch. `None`: not before
    /// the next mark or settlement.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        let pending = self.waiting.due(self.debounce).into_iter();
        pending.chain(self.hot.due(self.debounce)).chain(self.failed.next_retry()).min()
    }

    /// Takes all waiting paths, if they are due at `now`. Deferred paths are not waiting.
    pub fn take_due(&mut self, now: Moment) -> Option<Batch> {
        for dirty in self.failed.take_due(now) {
            self.admit(&dirty, Span::retry(now));
        }
        if self.hot.due(self.debounce).is_some_and(|due| due <= now) {
            self.release_hot(now);
        }
        self.waiting.due(self.debounce).filter(|&due| due <= now)?;
        self.take(now)
    }

    /// Returns true if a large file can be taken. One that touches waiting paths can't.
    #[must_use]
    pub fn has_large(&self) -> bool {
        self.next_large().is_some()
    }

    /// Takes a large file.
    pub fn take_large(&mut self, now: Moment) -> Option<Batch> {
        let path = self.next_large()?.clone();
        let since = self.large.take(&path)?;
        let mut pending = PendingSet::default();
        let dirty = DirtyPath { path: path.clone(), scope: Scope::Entry };
        let _ = pending.add(&dirty, Span::mark(since), &self.limits);
        Some(self.dispatch(pending, Some(path), now))
    }

    /// Takes all waiting and failed paths, due or not.
    pub fn take_all(&mut self, now: Moment) -> Option<Batch> {
        self.retry_now(now);
        self.release_hot(now);
        self.take(now)
    }

    /// Ends the backoff of all failed paths: they wait with the others.
    pub fn retry_now(&mut self, now: Moment) {
        for dirty in self.failed.take_all() {
            self.admit(&dirty, Span::retry(now));
        }
    }

    /// Makes all waiting and deferred paths due at once, and those that deferred paths wait for.
    pub fn make_due(&mut self, now: Moment) {
        let deferred = self.in_flight.iter_mut().map(|flight| &mut flight.deferred);
        let waiting = [&mut self.waiting, &mut self.hot.pending];
        deferred.chain(waiting).for_each(|pending| pending.make_due(now));
    }

    /// Settles a batch, and releases the paths that it deferred.
    pub fn settle(&mut self, batch: Batch, settled: Settled, now: Moment) {
        self.settle_with_large(batch, settled, BTreeSet::new(), now);
    }

    /// Settles a batch except for these of its files, which are too large to be transferred with
    /// others and wait for a job of their own.
    pub fn settle_with_large(
        &mut self,
        batch: Batch,
        settled: Settled,
        large: BTreeSet<TreePath>,
        now: Moment,
    ) {
        let Some(at) = self.in_flight.iter().position(|flight| flight.number == batch.number)
        else {
            debug_assert!(false, "a batch of another queue");
            return;
        };
        drop(batch);
        let InFlight { paths, observed, hints, span, started, deferred, .. } =
            self.in_flight.remove(at);
        if matches!(settled, Settled::Nothing) {
            self.hot.failed(&paths, now);
        } else {
            self.hot.ended(&paths, started, now);
        }
        let observed = Arc::unwrap_or_clone(observed);
        let left = settled.left(&large);
        let failed = match settled {
            Settled::All => Vec::new(),
            Settled::Except(failed) => failed,
            Settled::Nothing => {
                self.observed.append(observed);
                self.readmit(deferred);
                self.readmit(PendingSet { paths: Arc::unwrap_or_clone(paths), hints, span });
                return;
            }
        };
        if !left.is_empty() {
            self.observed.append(observed.restrict(&left));
        }
        self.recent.add(observed, now);
        let since = span.first.unwrap_or(now);
        self.failed.settle(&paths, Unsettled { large: &large, failed }, since, now);
        self.failed.bound(self.limits.failed, now);
        self.queue_large(large, since);
        self.readmit(deferred);
    }

    /// The time of the oldest change that is not known to be on the target. `None`: the target has
    /// everything.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.oldest_fresh().into_iter().chain(self.failed.oldest()).min()
    }

    /// The time of the oldest change that waits or is in flight, also after a failure.
    #[must_use]
    pub fn oldest_moving(&self) -> Option<Moment> {
        self.oldest_fresh().into_iter().chain(self.failed.oldest_retried()).min()
    }

    /// The time of the oldest change that has not failed.
    fn oldest_fresh(&self) -> Option<Moment> {
        let in_flight = self.in_flight.iter();
        let in_flight =
            in_flight.flat_map(|flight| [flight.span.first, flight.deferred.span.first]);
        let waiting = self.waiting_sets().map(|pending| pending.span.first);
        let pending_sets = in_flight.chain(waiting).flatten();
        pending_sets.chain(self.large.oldest()).min()
    }

    /// Returns true if something at or below `path` waits or is in flight.
    #[must_use]
    pub fn moves_within(&self, path: &TreePath) -> bool {
        let in_flight = self.in_flight.iter();
        let mut sets = in_flight
            .flat_map(|flight| [&*flight.paths, &flight.deferred.paths])
            .chain(self.waiting_sets().map(|pending| &pending.paths));
        sets.any(|set| set.overlaps(path, Scope::Tree))
            || self.large.iter().any(|large| path.contains(large))
    }

    /// The paths that were observed to be written, and are not known to be on the target.
    pub fn written(&self) -> impl Iterator<Item = DirtyPath> {
        let in_flight = self.in_flight.iter().map(|flight| &*flight.observed);
        let observed = in_flight.chain([&self.observed]);
        observed.flat_map(|it| it.written.iter().chain(it.renamed_to.iter()))
    }

    /// The number of paths that could be taken now, if they were due.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting.paths.len()
    }

    /// Returns true if no path is waiting, failed or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The paths that wait for no batch.
    const fn waiting_sets(&self) -> [&PendingSet; 2] {
        [&self.waiting, &self.hot.pending]
    }

    /// The number of paths at each stage.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        let waiting = self.waiting_sets().map(|pending| pending.paths.len());
        QueueCounts {
            waiting: waiting.iter().sum::<usize>() + self.large.len(),
            deferred: self.in_flight.iter().map(|flight| flight.deferred.paths.len()).sum(),
            in_flight: self.in_flight.iter().map(|flight| flight.paths.len()).sum(),
            backing_off: self.backing_off().count(),
        }
    }

    /// The number of paths whose runs are counted.
    #[cfg(test)]
    pub(super) fn counted(&self) -> usize {
        self.hot.counted()
    }

    /// The approximate memory use in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let in_flight = self.in_flight.iter();
        let in_flight = in_flight.map(|it| it.paths.memory() + it.deferred.paths.memory());
        let waiting = self.waiting_sets().map(|pending| pending.paths.memory());
        waiting.iter().sum::<usize>() + self.observed.memory() + in_flight.sum::<usize>()
    }

    /// Returns true if the tree of the root is waiting or in flight.
    #[must_use]
    pub fn covers_root(&self) -> bool {
        let in_flight = self.in_flight.iter().map(|flight| &*flight.paths);
        let mut sets = in_flight.chain([&self.waiting.paths]);
        sets.any(|set| set.covers(&TreePath::root(), Scope::Tree))
    }

    /// All paths, for `status`: first those in flight with those deferred, then the waiting ones,
    /// then those backing off. A path that was marked while it was in flight is listed twice.
    pub fn iter(&self) -> impl Iterator<Item = (DirtyPath, Stage)> {
        let large =
            self.large.iter().map(|path| DirtyPath { path: path.clone(), scope: Scope::Entry });
        let waiting = self.waiting_sets().into_iter().flat_map(|pending| pending.paths.iter());
        let waiting = waiting.chain(large).map(|dirty| (dirty, Stage::Waiting));
        let in_flight = self.in_flight.iter().flat_map(|flight| {
            let deferred = flight.deferred.paths.iter().map(|dirty| (dirty, Stage::Deferred));
            flight.paths.iter().map(|dirty| (dirty, Stage::InFlight)).chain(deferred)
        });
        in_flight.chain(waiting).chain(self.backing_off())
    }

    /// The failed paths that are backing off, with [`Stage::BackingOff`].
    pub fn backing_off(&self) -> impl Iterator<Item = (DirtyPath, Stage)> {
        self.failed.iter().filter_map(|(dirty, failed)| {
            let tries = failed.tries;
            failed.retry_at.map(|retry_at| (dirty, Stage::BackingOff { retry_at, tries }))
        })
    }
}

/// An entry of this kind, with everything below it.
fn dirty_path(path: &TreePath, kind: EntryKind) -> DirtyPath {
    let scope = match kind {
        EntryKind::Directory => Scope::Tree,
        EntryKind::Other => Scope::Entry,
    };
    DirtyPath { path: path.clone(), scope }
}

/// Transitions between the sets.
impl DirtySet {
    fn take(&mut self, now: Moment) -> Option<Batch> {
        if self.waiting.paths.is_empty() {
            return None;
        }
        let mut pending = mem::take(&mut self.waiting);
        if let Some(since) = self.large.take_within(&pending.paths) {
            pending.span.join(Span::mark(since));
        }
        Some(self.dispatch(pending, None, now))
    }

    fn dispatch(&mut self, pending: PendingSet, large: Option<TreePath>, now: Moment) -> Batch {
        self.failed.clear_backoff(&pending.paths);
        // The batch that split a large file off counts as its run.
        if large.is_none() {
            self.hot.started(&pending.paths, pending.span.first);
        }
        let renames = pending.hints.share();
        let observed = Arc::new(self.observed.take_within(&pending.paths));
        let paths = Arc::new(pending.paths);
        self.batches += 1;
        let number = self.batches;
        self.in_flight.push(InFlight {
            number,
            paths: Arc::clone(&paths),
            observed: Arc::clone(&observed),
            hints: pending.hints,
            span: pending.span,
            started: now,
            deferred: PendingSet::default(),
        });
        let oldest = pending.span.first;
        Batch { number, paths, observed, renames, large, oldest }
    }

    fn next_large(&self) -> Option<&TreePath> {
        let in_flight = self.in_flight.iter().map(|flight| &*flight.paths);
        self.large.iter().find(|path| {
            let mut sets = in_flight.clone().chain([&self.waiting.paths]);
            !sets.any(|set| set.overlaps(path, Scope::Entry))
        })
    }

    /// Lets files wait for jobs of their own. Beyond the limit their directories are marked.
    fn queue_large(&mut self, files: BTreeSet<TreePath>, since: Moment) {
        for path in files {
            match path.parent() {
                Some(path) if self.large.len() >= self.limits.failed => {
                    self.admit(&DirtyPath { path, scope: Scope::Tree }, Span::due_now(since));
                }
                _ => self.large.add(path, since),
            }
        }
    }
}
