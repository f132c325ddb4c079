//! The places that failed, and when each is tried again.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{PlaceSet, group::Stamp},
    time::Moment,
};

/// How long a place rests after its first failure. Each further one in a row doubles it.
pub const FIRST_REST: Duration = Duration::from_secs(1);

/// How long a place rests at most.
pub const LONGEST_REST: Duration = Duration::from_mins(5);

/// A place that failed when it was last tried.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) scope: Scope,
    /// How often in a row it failed.
    pub(super) tries: u32,
    /// The oldest change that it stands for.
    stamp: Stamp,
    /// Until when it rests. `None`: it is on its way again, with the other places.
    pub(super) until: Option<Moment>,
    /// When news of it may end its rest at the earliest.
    soonest: Moment,
}

/// The places whose last try failed, those that rest and those that are on their way again.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    places: BTreeMap<TreePath, Failed>,
    /// The end of the rest that ends first.
    first_end: Option<Moment>,
}

impl Failures {
    /// Whether this place rests; then the news of it joins it there.
    ///
    /// What happened may have cured it, so its rest is cut down to [`FIRST_REST`] after the
    /// failure; but not further, or a log that cannot be read and grows all the time would be
    /// tried all the time.
    pub(super) fn join(&mut self, path: &TreePath, scope: Scope) -> bool {
        let Some(failed) = self.places.get_mut(path).filter(|failed| failed.scope >= scope) else {
            return false;
        };
        let Some(until) = &mut failed.until else { return false };
        *until = failed.soonest.min(*until);
        self.first_end = self.first_end.min(Some(*until));
        true
    }

    /// When the next rest ends.
    pub(super) const fn first_end(&self) -> Option<Moment> {
        self.first_end
    }

    /// Ends the rests that are over at `now`, and returns their places.
    pub(super) fn wake(&mut self, now: Moment) -> Vec<Place> {
        if self.first_end.is_none_or(|end| end > now) {
            return Vec::new();
        }
        let mut awake = Vec::new();
        for (path, failed) in &mut self.places {
            if failed.until.is_some_and(|until| until <= now) {
                failed.until = None;
                awake.push(Place { path: path.clone(), scope: failed.scope });
            }
        }
        self.find_first_end();
        awake
    }

    /// Ends all rests, and returns their places.
    pub(super) fn wake_all(&mut self) -> Vec<Place> {
        self.wake(Moment::new(Duration::MAX))
    }

    /// Ends the rests of what is about to be tried with `batch` anyway.
    pub(super) fn wake_within(&mut self, batch: &PlaceSet) {
        for (path, failed) in &mut self.places {
            if batch.covers(path, failed.scope) {
                failed.until = None;
            }
        }
        self.find_first_end();
    }

    /// Notes how `batch` went: these places failed at `now`, nothing is known of the large files
    /// that were left out, and the others are well again.
    ///
    /// They may stand for changes since `since`: nobody knows which places are that old.
    pub(super) fn settle(
        &mut self,
        batch: &PlaceSet,
        (large, failed): (&BTreeSet<TreePath>, Vec<Place>),
        since: Stamp,
        now: Moment,
    ) {
        // One that rests within the batch was joined from smaller ones while the batch flew, and
        // may have been marked since.
        let on_their_way = |path: &TreePath, failed: &mut Failed| {
            failed.until.is_none() && batch.covers(path, failed.scope) && !large.contains(path)
        };
        let mut before: BTreeMap<_, _> = self.places.extract_if(.., on_their_way).collect();
        // What failed as a tree and is left out as a large file goes alone as that file: nothing
        // else would ever make it well again.
        for file in large {
            if let Some(failed) = self.places.get_mut(file).filter(|it| it.until.is_none()) {
                failed.scope = Scope::Entry;
            }
        }
        let all: PlaceSet = failed.iter().collect();
        let failed = failed.into_iter().map(|it| (before.remove(&it.path), it));
        let failed: Vec<_> = failed.collect();
        // What failed as a part of a larger place, or now as a larger one, is as old as that was.
        let parts = before.iter().filter(|(path, last)| all.overlaps(path, last.scope));
        let since = parts.map(|(_, last)| last.stamp).fold(since, Stamp::oldest);
        for (last, Place { path, scope }) in failed {
            let (tries, stamp) = last.map_or((0, since), |last| (last.tries, last.stamp));
            let stamp = stamp.oldest(since);
            self.add(path, Failed::new(scope, tries.saturating_add(1), stamp, now));
        }
        self.find_first_end();
    }

    /// Joins places until there are at most half of `limit`, if there are more than `limit`.
    ///
    /// Those that are joined rest anew, together.
    pub(super) fn bound(&mut self, limit: usize, now: Moment) {
        if self.places.len() <= limit {
            return;
        }
        let mut larger: PlaceSet = self.iter().map(|(place, _)| place).collect();
        larger.collapse(limit / 2, usize::MAX);
        for (path, failed) in core::mem::take(&mut self.places) {
            let mut top = path.clone();
            while let Some(parent) = top.parent().filter(|it| larger.covers(it, Scope::Tree)) {
                top = parent;
            }
            let is_itself = failed.scope == Scope::Tree || !larger.covers(&top, Scope::Tree);
            if top == path && is_itself {
                self.add(path, failed);
            } else {
                self.add(top, Failed::new(Scope::Tree, failed.tries, failed.stamp, now));
            }
        }
        self.find_first_end();
    }

    /// The oldest change that these places stand for.
    pub(super) fn oldest(&self) -> Option<Stamp> {
        self.places.values().map(|failed| failed.stamp).reduce(Stamp::oldest)
    }

    /// All places, whether they rest or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Failed)> {
        self.places
            .iter()
            .map(|(path, failed)| (Place { path: path.clone(), scope: failed.scope }, failed))
    }

    fn add(&mut self, path: TreePath, failure: Failed) {
        let failure = match self.places.remove(&path) {
            Some(other) => other.join(&failure),
            None => failure,
        };
        self.places.insert(path, failure);
    }

    fn find_first_end(&mut self) {
        self.first_end = self.places.values().filter_map(|failed| failed.until).min();
    }
}

impl Failed {
    fn new(scope: Scope, tries: u32, stamp: Stamp, now: Moment) -> Self {
        let soonest = now + FIRST_REST;
        Self { scope, tries, stamp, until: Some(now + rest_after(tries)), soonest }
    }

    /// What this and `other`, of the same path, are together.
    fn join(self, other: &Self) -> Self {
        Self {
            scope: self.scope.max(other.scope),
            tries: self.tries.max(other.tries),
            stamp: self.stamp.oldest(other.stamp),
            until: self.until.max(other.until),
            soonest: self.soonest.max(other.soonest),
        }
    }
}

/// How long a place rests that failed `tries` times in a row.
fn rest_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_REST.saturating_mul(factor).min(LONGEST_REST)
}
