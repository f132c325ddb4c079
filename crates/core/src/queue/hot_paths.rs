//! Paths that change again and again, and the pace of their transfers.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{
        Debounce, PathSet,
        pending::{PendingSet, Span},
    },
    time::Moment,
};

/// The number of runs in a row after which a path is hot.
const HOT_RUNS: u32 = 2;

/// The time after a run within which the next change continues the row.
const ROW: Duration = Duration::from_secs(2);

/// The pause after the first run of a hot path. Each further one in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause after a short run.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The pause after a long run, in times of its duration.
const PAUSE_PER_RUN: u32 = 3;

/// The longest pause after any run.
const MAX_LONG_PAUSE: Duration = Duration::from_mins(1);

/// The most paths whose runs are counted. Many paths that change together are no hot paths.
const MAX_COUNTED: usize = 256;

/// The number of counts below which none is dropped.
const MIN_COUNTED: usize = 32;

/// Counts the runs of each path, and keeps the changes of hot paths apart from the others, which do
/// not wait for them.
///
/// All hot paths are dispatched together, so that many of them cost no more runs than one.
#[derive(Debug, Default)]
pub(super) struct HotPaths {
    /// Of the paths that were dispatched lately, as entries.
    runs: BTreeMap<TreePath, RunCount>,
    /// The number of counts at which those are dropped that no change can continue.
    dropped_at: usize,
    /// The changes of hot paths since their last run.
    pub(super) pending: PendingSet,
    pause: Duration,
    /// The end of the last pause.
    earliest: Moment,
}

/// The runs of a path in a row.
#[derive(Clone, Copy, Debug)]
struct RunCount {
    runs: u32,
    /// The end of the last one. [`Moment::NEVER`]: it is in flight.
    ended: Moment,
}

impl RunCount {
    fn continues(self, mark: Moment) -> bool {
        self.ended == Moment::NEVER || mark <= self.ended + ROW
    }

    /// Returns true if a mark of this span has to wait for the end of the pause.
    fn is_hot(self, span: Span) -> bool {
        self.runs >= HOT_RUNS && self.continues(span.newest())
    }
}

fn is_entry_of(paths: &PathSet, path: &TreePath) -> bool {
    paths.covers(path, Scope::Entry) && !paths.covers(path, Scope::Tree)
}

impl HotPaths {
    /// Returns true if this path waits with the hot ones, or is one.
    pub(super) fn holds(&self, dirty: &DirtyPath, span: Span) -> bool {
        if span.is_urgent() {
            return false;
        }
        let is_hot = |it: &RunCount| it.is_hot(span);
        dirty.scope == Scope::Entry && self.runs.get(&dirty.path).is_some_and(is_hot)
            || self.pending.paths.covers(&dirty.path, dirty.scope)
    }

    /// Returns true if one of these paths waits with the hot ones, or is one.
    pub(super) fn holds_any(&self, pending: &PendingSet) -> bool {
        if pending.span.is_urgent() {
            return false;
        }
        let mut hot = self.runs.iter().filter(|(_, it)| it.is_hot(pending.span));
        hot.any(|(path, _)| is_entry_of(&pending.paths, path))
            || !self.pending.paths.is_empty()
                && pending.paths.iter().any(|it| self.pending.paths.covers(&it.path, it.scope))
    }

    /// The time at which the hot paths are due.
    pub(super) fn due(&self, debounce: Debounce) -> Option<Moment> {
        self.pending.due_after(debounce, self.earliest)
    }

    /// Takes all hot paths that changed.
    pub(super) fn take(&mut self, now: Moment) -> PendingSet {
        self.earliest = now + self.pause;
        let mut taken = core::mem::take(&mut self.pending);
        taken.make_due(now);
        taken
    }

    /// Notes that a batch is dispatched whose oldest mark came at `first`.
    pub(super) fn started(&mut self, paths: &PathSet, first: Option<Moment>) {
        self.each_within(paths, |it| {
            let runs = if first.is_none_or(|first| it.continues(first)) { it.runs } else { 0 };
            *it = RunCount { runs: runs.saturating_add(1), ended: Moment::NEVER };
        });
        if self.runs.len() + paths.len() > self.dropped_at
            && let Some(first) = first
        {
            self.runs.retain(|_, it| it.continues(first));
            self.dropped_at = MAX_COUNTED.min(MIN_COUNTED.max(2 * (self.runs.len() + paths.len())));
        }
        if self.runs.len() + paths.len() <= MAX_COUNTED {
            for dirty in paths.iter().filter(|dirty| dirty.scope == Scope::Entry) {
                let count = RunCount { runs: 1, ended: Moment::NEVER };
                self.runs.entry(dirty.path).or_insert(count);
            }
        }
    }

    /// Notes the end of a batch. If it had a hot path, a pause begins.
    ///
    /// A change waits only for batches that it found in flight: if each later one prolonged its
    /// pause, files that change twice each could let it starve.
    pub(super) fn ended(&mut self, paths: &PathSet, started: Moment, now: Moment) {
        let mut had_hot = false;
        self.each_within(paths, |it| {
            it.ended = now;
            had_hot |= it.runs >= HOT_RUNS;
        });
        let was_waiting = self.pending.span.first.is_some_and(|first| first < started);
        if had_hot && !was_waiting {
            let is_next = now.since(self.earliest) <= ROW && !self.pause.is_zero();
            self.pause = if is_next { MAX_PAUSE.min(self.pause * 2) } else { FIRST_PAUSE };
            let long = MAX_LONG_PAUSE.min(now.since(started).saturating_mul(PAUSE_PER_RUN));
            self.earliest = self.earliest.max(now + self.pause.max(long));
        }
    }

    /// Notes that a batch ended and transferred nothing, which counts as no run: the retry of the
    /// target has a pace of its own.
    pub(super) fn failed(&mut self, paths: &PathSet, now: Moment) {
        self.each_within(paths, |it| {
            *it = RunCount { runs: it.runs.saturating_sub(1), ended: now };
        });
    }

    /// The number of paths whose runs are counted.
    #[cfg(test)]
    pub(super) fn counted(&self) -> usize {
        self.runs.len()
    }

    /// Applies `change` to the count of each entry of `paths`.
    fn each_within(&mut self, paths: &PathSet, mut change: impl FnMut(&mut RunCount)) {
        if paths.len() < self.runs.len() {
            for dirty in paths.iter().filter(|dirty| dirty.scope == Scope::Entry) {
                self.runs.get_mut(&dirty.path).into_iter().for_each(&mut change);
            }
            return;
        }
        for (path, count) in &mut self.runs {
            if is_entry_of(paths, path) {
                change(count);
            }
        }
    }
}
