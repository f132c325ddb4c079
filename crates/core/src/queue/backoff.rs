//! Failed paths, and the backoff of their retries.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
    time::Moment,
};

/// The backoff after the first failure of a path. Each further one in a row doubles it.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest backoff of a path.
pub const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// A path that failed when it was last tried.
#[derive(Clone, Debug)]
pub(super) struct FailedPath {
    pub(super) scope: Scope,
    /// The number of failures in a row.
    pub(super) tries: u32,
    /// The time of the oldest change that it stands for.
    oldest: Moment,
    /// The end of its backoff. `None`: it waits or is in flight again, with the other paths.
    pub(super) retry_at: Option<Moment>,
    /// The earliest retry after a new mark.
    earliest_retry: Moment,
}

/// The paths whose last try failed: those that are backing off and those that are being retried.
#[derive(Clone, Debug, Default)]
pub(super) struct FailedPaths {
    paths: BTreeMap<TreePath, FailedPath>,
    /// The earliest end of a backoff.
    next_retry: Option<Moment>,
}

/// The paths of a batch that are not transferred yet.
#[derive(Debug)]
pub(super) struct Unsettled<'a> {
    /// The large files that were split off: their result is unknown.
    pub(super) large: &'a BTreeSet<TreePath>,
    pub(super) failed: Vec<DirtyPath>,
}

impl FailedPaths {
    /// Returns true if this path is backing off, and absorbs the new mark.
    ///
    /// The change may have fixed the problem, so the backoff is cut down to [`FIRST_BACKOFF`] after
    /// the failure; but not further, or an unreadable log file that grows all the time would be
    /// retried all the time.
    pub(super) fn absorb(&mut self, path: &TreePath, scope: Scope) -> bool {
        let Some(failed) = self.paths.get_mut(path).filter(|failed| failed.scope >= scope) else {
            return false;
        };
        let Some(retry_at) = &mut failed.retry_at else { return false };
        *retry_at = failed.earliest_retry.min(*retry_at);
        self.next_retry = self.next_retry.min(Some(*retry_at));
        true
    }

    /// The earliest end of a backoff.
    pub(super) const fn next_retry(&self) -> Option<Moment> {
        self.next_retry
    }

    /// Ends the backoffs that are over at `now`, and returns their paths.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<DirtyPath> {
        if self.next_retry.is_none_or(|end| end > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (path, failed) in &mut self.paths {
            if failed.retry_at.is_some_and(|retry_at| retry_at <= now) {
                failed.retry_at = None;
                due.push(DirtyPath { path: path.clone(), scope: failed.scope });
            }
        }
        self.update_next_retry();
        due
    }

    /// Ends all backoffs, and returns their paths.
    pub(super) fn take_all(&mut self) -> Vec<DirtyPath> {
        self.take_due(Moment::new(Duration::MAX))
    }

    /// Ends the backoffs of paths that are retried with `batch` anyway.
    pub(super) fn clear_backoff(&mut self, batch: &PathSet) {
        for (path, failed) in &mut self.paths {
            if batch.covers(path, failed.scope) {
                failed.retry_at = None;
            }
        }
        self.update_next_retry();
    }

    /// Notes the result of `batch` at `now`: all but the `unsettled` paths have recovered.
    ///
    /// The failures may stand for changes since `since`: it is unknown which paths are that old.
    pub(super) fn settle(
        &mut self,
        batch: &PathSet,
        unsettled: Unsettled<'_>,
        since: Moment,
        now: Moment,
    ) {
        let Unsettled { large, failed } = unsettled;
        // A path of the batch that is backing off was merged from smaller ones during the flight,
        // and may have been marked since.
        let on_their_way = |path: &TreePath, failed: &mut FailedPath| {
            failed.retry_at.is_none() && batch.covers(path, failed.scope) && !large.contains(path)
        };
        let mut before: BTreeMap<_, _> = self.paths.extract_if(.., on_their_way).collect();
        // A path that failed as a tree and was split off as a large file is retried as that file:
        // nothing else would ever clear its failure.
        for file in large {
            if let Some(failed) = self.paths.get_mut(file).filter(|it| it.retry_at.is_none()) {
                failed.scope = Scope::Entry;
            }
        }
        let all: PathSet = failed.iter().collect();
        let failed = failed.into_iter().map(|it| (before.remove(&it.path), it));
        let failed: Vec<_> = failed.collect();
        // A failure that is a part of a former one, or includes it, is as old as that was.
        let parts = before.iter().filter(|(path, last)| all.overlaps(path, last.scope));
        let since = parts.map(|(_, last)| last.oldest).fold(since, Moment::min);
        for (last, DirtyPath { path, scope }) in failed {
            let (tries, oldest) = last.map_or((0, since), |last| (last.tries, last.oldest));
            let oldest = oldest.min(since);
            self.add(path, FailedPath::new(scope, tries.saturating_add(1), oldest, now));
        }
        self.update_next_retry();
    }

    /// Replaces paths by larger ones until there are at most half of `limit`, if there are more
    /// than `limit`.
    ///
    /// The replaced ones start a new backoff, together.
    pub(super) fn bound(&mut self, limit: usize, now: Moment) {
        if self.paths.len() <= limit {
            return;
        }
        let mut larger: PathSet = self.iter().map(|(dirty, _)| dirty).collect();
        larger.collapse(limit / 2, usize::MAX);
        for (path, failed) in core::mem::take(&mut self.paths) {
            let mut top = path.clone();
            while let Some(parent) = top.parent().filter(|it| larger.covers(it, Scope::Tree)) {
                top = parent;
            }
            let is_itself = failed.scope == Scope::Tree || !larger.covers(&top, Scope::Tree);
            if top == path && is_itself {
                self.add(path, failed);
            } else {
                self.add(top, FailedPath::new(Scope::Tree, failed.tries, failed.oldest, now));
            }
        }
        self.update_next_retry();
    }

    /// The time of the oldest change that these paths stand for.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.paths.values().map(|failed| failed.oldest).min()
    }

    /// Like [`oldest`](Self::oldest), of the paths that are not backing off.
    pub(super) fn oldest_retried(&self) -> Option<Moment> {
        let retried = self.paths.values().filter(|failed| failed.retry_at.is_none());
        retried.map(|failed| failed.oldest).min()
    }

    /// All paths, backing off or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (DirtyPath, &FailedPath)> {
        self.paths
            .iter()
            .map(|(path, failed)| (DirtyPath { path: path.clone(), scope: failed.scope }, failed))
    }

    fn add(&mut self, path: TreePath, failure: FailedPath) {
        let failure = match self.paths.remove(&path) {
            Some(other) => other.merge(&failure),
            None => failure,
        };
        self.paths.insert(path, failure);
    }

    fn update_next_retry(&mut self) {
        self.next_retry = self.paths.values().filter_map(|failed| failed.retry_at).min();
    }
}

impl FailedPath {
    fn new(scope: Scope, tries: u32, oldest: Moment, now: Moment) -> Self {
        let earliest_retry = now + FIRST_BACKOFF;
        Self { scope, tries, oldest, retry_at: Some(now + backoff_after(tries)), earliest_retry }
    }

    /// Merges two failures of the same path.
    fn merge(self, other: &Self) -> Self {
        Self {
            scope: self.scope.max(other.scope),
            tries: self.tries.max(other.tries),
            oldest: self.oldest.min(other.oldest),
            retry_at: self.retry_at.max(other.retry_at),
            earliest_retry: self.earliest_retry.max(other.earliest_retry),
        }
    }
}

/// The backoff after `tries` failures in a row.
fn backoff_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF)
}
