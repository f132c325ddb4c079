//! The queue of a mirror with a built-in target: the set of places that have to be looked at.
//!
//! What is in it is no list of events, so nothing has an order, nothing blocks anything else for
//! longer than a batch takes, and a storm in one directory is one place in the end (law 3 of
//! `docs/architecture.md`).

mod hear;

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::mem;

use crate::{
    job::{Place, Rename, Scope},
    notice::Kind,
    path::TreePath,
    queue::{
        Batch, Limits, Pace, PlaceSet, Settled,
        group::{Group, Grown, Span, Stamp},
        heard::{Heard, Recent},
        hints::Hints,
        large::Large,
        rest::Failures,
        status::{Counts, Stage},
    },
    time::Moment,
};

/// The number of a mark: how many were made up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub(super) u64);

/// The places of one mirror that have to be looked at.
///
/// Pure: time comes in as an argument and does not run backwards.
///
/// **Invariants.**
/// 1. No two batches in flight touch the same place, and no place that waits touches one in
///    flight: what does is kept behind that flight until it is settled.
/// 2. A mark is not absorbed by what is in flight.
/// 3. What was marked leaves only by being settled, or by joining a place that covers it.
/// 4. Nothing starves: what would touch a place that is kept behind a flight joins it there.
///
/// A mark costs O(depth of its path) for each batch in flight, and one more for the set that it
/// joins. Memory is bounded by [`Limits`], for what waits and for what is behind each flight.
#[derive(Debug, Default)]
pub struct Places {
    pace: Pace,
    limits: Limits,
    /// The last mark.
    seq: Seq,
    /// How many batches were taken.
    batches: u64,
    waiting: Group,
    /// What was heard of the places that are not in flight.
    ///
    /// **Invariant.** Each place of it is covered by one that waits, is behind a flight, failed or is
    /// a large file: it leaves with that.
    heard: Heard,
    /// How many names of it there may be, if that is more than the limit.
    heard_most: usize,
    recent: Recent,
    flights: Vec<Flight>,
    failures: Failures,
    large: Large,
}

/// A batch that was taken and is not settled yet.
#[derive(Debug)]
struct Flight {
    number: u64,
    places: Arc<PlaceSet>,
    heard: Arc<Heard>,
    hints: Hints,
    span: Span,
    /// What was marked since, and has to wait for this batch.
    behind: Group,
}

impl Places {
    /// An empty queue.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self::with_limits(pace, Limits::default())
    }

    /// An empty queue with bounds of its own.
    #[must_use]
    pub fn with_limits(pace: Pace, limits: Limits) -> Self {
        Self { pace, limits, ..Self::default() }
    }

    /// From now on this says when what waits is due.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Notes that something was written, made or moved in here at `now`, so that equal size and time
    /// prove nothing.
    pub fn mark_written(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        self.heard.write(&Place { path: path.clone(), scope });
        self.mark(path, scope, now);
        self.bound_heard();
    }

    /// Notes that this name was seen to go at `now`.
    pub fn mark_gone(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        self.heard.go(&Place { path: path.clone(), scope });
        self.mark(path, scope, now);
        self.bound_heard();
    }

    /// Notes that a place may have changed at `now`.
    pub fn mark(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let span = Span::mark(self.stamp(now));
        if !self.failures.join(path, scope) {
            self.admit(&Place { path: path.clone(), scope }, span);
        }
    }

    /// Notes that a place is to be looked at, and makes all that waits due at once. If it rests
    /// after a failure, its rest is over.
    pub fn mark_due(&mut self, path: &TreePath, scope: Scope, now: Moment) {
        let span = Span::ripe(self.stamp(now));
        self.admit(&Place { path: path.clone(), scope }, span);
    }

    /// Notes that an entry got another name at `now`.
    ///
    /// Both names are marked, and the rename is kept as a hint.
    pub fn mark_move(&mut self, from: &TreePath, to: &TreePath, kind: Kind, now: Moment) {
        self.mark_counted_move(from, to, kind, now);
        self.heard.leave(&place_of(from, kind));
        self.bound_heard();
    }

    /// As [`mark_move`](Self::mark_move), but what the target has under the old name it may have for
    /// another reason: where the rename is not repeated there, its deletion has to be counted.
    pub fn mark_counted_move(&mut self, from: &TreePath, to: &TreePath, kind: Kind, now: Moment) {
        let place = place_of(to, kind);
        self.hear_move(from, &place);
        self.put_move(from, to, place.scope, now);
        self.bound_heard();
    }

    /// When [`take_due`](Self::take_due) may next have something. `None`: not before the next
    /// mark or settlement.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.waiting.due(self.pace).into_iter().chain(self.failures.first_end()).min()
    }

    /// Takes all that waits, if it is due at `now`. What is behind a flight does not wait.
    pub fn take_due(&mut self, now: Moment) -> Option<Batch> {
        for place in self.failures.wake(now) {
            self.admit(&place, Span::woken(now));
        }
        self.waiting.due(self.pace).filter(|&due| due <= now)?;
        self.take()
    }

    /// Whether a large file can be taken. One that goes with what waits anyway can't.
    #[must_use]
    pub fn has_large(&self) -> bool {
        self.next_large().is_some()
    }

    /// Takes a large file.
    pub fn take_large(&mut self) -> Option<Batch> {
        let path = self.next_large()?.clone();
        let since = self.large.take(&path)?;
        let mut group = Group::default();
        let place = Place { path: path.clone(), scope: Scope::Entry };
        let _ = group.add(&place, Span::mark(since), &self.limits);
        Some(self.depart(group, Some(path)))
    }

    /// Takes all that waits or rests, due or not.
    pub fn take_all(&mut self, now: Moment) -> Option<Batch> {
        self.retry_now(now);
        self.take()
    }

    /// Ends the rest of all that failed: it waits with the others.
    pub fn retry_now(&mut self, now: Moment) {
        for place in self.failures.wake_all() {
            self.admit(&place, Span::woken(now));
        }
    }

    /// Takes a batch back, and lets go of what was kept behind it.
    pub fn settle(&mut self, batch: Batch, settled: Settled, now: Moment) {
        self.settle_but(batch, settled, BTreeSet::new(), now);
    }

    /// Takes a batch back but for these of its files, which are too large to go with others and
    /// wait to go alone.
    pub fn settle_but(
        &mut self,
        batch: Batch,
        settled: Settled,
        large: BTreeSet<TreePath>,
        now: Moment,
    ) {
        let Some(at) = self.flights.iter().position(|flight| flight.number == batch.number) else {
            debug_assert!(false, "a batch of another queue");
            return;
        };
        drop(batch);
        let Flight { places, heard, hints, span, behind, .. } = self.flights.remove(at);
        let heard = Arc::unwrap_or_clone(heard);
        let failed = match settled {
            Settled::All => Vec::new(),
            Settled::Except(failed) => failed,
            Settled::Nothing => {
                self.heard.append(heard);
                self.readmit(behind);
                self.readmit(Group { places: Arc::unwrap_or_clone(places), hints, span });
                return;
            }
        };
        let is_whole = failed.is_empty() && large.is_empty();
        if !is_whole && !heard.is_empty() {
            let file = |path: &TreePath| Place { path: path.clone(), scope: Scope::Entry };
            let left = failed.iter().cloned().chain(large.iter().map(file));
            self.heard.append(heard.restricted(&left.collect()));
        }
        self.recent.add(heard, now);
        let since = span.first.unwrap_or(Stamp { seq: self.seq, at: now });
        self.failures.settle(&places, (&large, failed), since, now);
        self.failures.bound(self.limits.failures, now);
        self.set_apart(large, since);
        self.readmit(behind);
    }

    /// A barrier behind all marks so far.
    #[must_use]
    pub const fn mark_of_now(&self) -> Seq {
        self.seq
    }

    /// Whether all that was marked up to this barrier is on the target.
    ///
    /// It may say no for somewhat longer than needed where batches overlap, never for less.
    #[must_use]
    pub fn is_settled(&self, barrier: Seq) -> bool {
        self.first().is_none_or(|first| first.seq > barrier)
    }

    /// When the oldest change was marked that is not known to be on the target. `None`: the target
    /// has all.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.first().map(|first| first.at)
    }

    /// How many places could be taken now, if they were due.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting.places.len()
    }

    /// Whether nothing waits, rests or is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// How many places are at which stage.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            waiting: self.waiting() + self.large.len(),
            behind: self.flights.iter().map(|flight| flight.behind.places.len()).sum(),
            in_flight: self.flights.iter().map(|flight| flight.places.len()).sum(),
            resting: self.resting().count(),
        }
    }

    /// About how many bytes of memory the places take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let flights = self.flights.iter();
        let flights = flights.map(|it| it.places.memory() + it.behind.places.memory());
        self.waiting.places.memory() + self.heard.memory() + flights.sum::<usize>()
    }

    /// Whether all of the mirror waits or is in flight, as one place.
    #[must_use]
    pub fn holds_all(&self) -> bool {
        let flights = self.flights.iter().map(|flight| &*flight.places);
        let mut sets = flights.chain([&self.waiting.places]);
        sets.any(|set| set.covers(&TreePath::root(), Scope::Tree))
    }

    /// All places, for `status`: those in flight and behind them first, then those that wait, then
    /// those that rest. One that was marked while it was in flight comes twice.
    pub fn iter(&self) -> impl Iterator<Item = (Place, Stage)> {
        let large = self.large.iter().map(|path| Place { path: path.clone(), scope: Scope::Entry });
        let waiting = self.waiting.places.iter().chain(large).map(|place| (place, Stage::Waiting));
        let flights = self.flights.iter().flat_map(|flight| {
            let behind = flight.behind.places.iter().map(|place| (place, Stage::Behind));
            flight.places.iter().map(|place| (place, Stage::InFlight)).chain(behind)
        });
        flights.chain(waiting).chain(self.resting())
    }

    /// The places that failed and rest, with [`Stage::Resting`].
    pub fn resting(&self) -> impl Iterator<Item = (Place, Stage)> {
        self.failures.iter().filter_map(|(place, failed)| {
            let tries = failed.tries;
            failed.until.map(|until| (place, Stage::Resting { until, tries }))
        })
    }
}

/// An entry of this kind, with all that it holds.
fn place_of(path: &TreePath, kind: Kind) -> Place {
    let scope = match kind {
        Kind::Directory => Scope::Tree,
        Kind::Other => Scope::Entry,
    };
    Place { path: path.clone(), scope }
}

/// Ways from one group to another.
impl Places {
    fn put_move(&mut self, from: &TreePath, to: &TreePath, scope: Scope, now: Moment) {
        if self.failures.join(from, scope) {
            return self.mark(to, scope, now);
        }
        if self.failures.join(to, scope) {
            return self.mark(from, scope, now);
        }
        let span = Span::mark(self.stamp(now));
        self.admit_move(Rename { from: from.clone(), to: to.clone() }, scope, span);
    }

    fn stamp(&mut self, now: Moment) -> Stamp {
        self.seq.0 += 1;
        Stamp { seq: self.seq, at: now }
    }

    /// The flight that a place has to wait for.
    fn blocker(&self, place: &Place) -> Option<usize> {
        let Place { path, scope } = place;
        let mut flights = self.flights.iter();
        // Who joins what is kept behind a flight cannot get ahead of it again and again.
        flights
            .clone()
            .position(|flight| flight.behind.places.covers(path, *scope))
            .or_else(|| flights.position(|flight| flight.places.overlaps(path, *scope)))
    }

    fn admit(&mut self, place: &Place, span: Span) {
        if !self.large.covers(place) {
            self.put(self.blocker(place), place, span);
        }
    }

    /// Both ends go the same way, so that they leave together.
    fn admit_move(&mut self, hint: Rename, scope: Scope, span: Span) {
        let from = Place { path: hint.from.clone(), scope };
        let to = Place { path: hint.to.clone(), scope };
        let blocker = self.blocker(&from).or_else(|| self.blocker(&to));
        self.put(blocker, &from, span);
        self.put(blocker, &to, span);
        let limits = self.limits;
        let group = self.group(blocker);
        if group.places.covers(&from.path, scope) && group.places.covers(&to.path, scope) {
            group.hint(hint, &limits);
        }
    }

    fn group(&mut self, blocker: Option<usize>) -> &mut Group {
        let flight = blocker.and_then(|at| self.flights.get_mut(at));
        flight.map_or(&mut self.waiting, |flight| &mut flight.behind)
    }

    fn put(&mut self, blocker: Option<usize>, place: &Place, span: Span) {
        let limits = self.limits;
        let grown = self.group(blocker).add(place, span, &limits);
        if grown == Grown::Yes && blocker.is_none() {
            self.sort_out();
        }
    }

    /// Keeps the first invariant when what waits has grown: it may touch a flight now.
    fn sort_out(&mut self) {
        if !self.flights.is_empty() {
            let waiting = mem::take(&mut self.waiting);
            self.readmit(waiting);
        }
    }

    fn readmit(&mut self, group: Group) {
        if self.flights.is_empty() {
            let _ = self.waiting.append_older(group, &self.limits);
            return;
        }
        for hint in group.hints.iter() {
            self.admit_move(hint.clone(), group.scope_of(&hint.from), group.span);
        }
        for place in &group.places {
            self.admit(&place, group.span);
        }
    }

    fn take(&mut self) -> Option<Batch> {
        if self.waiting.places.is_empty() {
            return None;
        }
        let mut group = mem::take(&mut self.waiting);
        if let Some(since) = self.large.take_within(&group.places) {
            group.span.join(Span::mark(since));
        }
        Some(self.depart(group, None))
    }

    fn depart(&mut self, group: Group, large: Option<TreePath>) -> Batch {
        self.failures.wake_within(&group.places);
        let moves = group.hints.share();
        let heard = Arc::new(self.heard.take_within(&group.places));
        let places = Arc::new(group.places);
        self.batches += 1;
        let number = self.batches;
        self.flights.push(Flight {
            number,
            places: Arc::clone(&places),
            heard: Arc::clone(&heard),
            hints: group.hints,
            span: group.span,
            behind: Group::default(),
        });
        Batch { number, places, heard, moves, large }
    }

    fn next_large(&self) -> Option<&TreePath> {
        let flights = self.flights.iter().map(|flight| &*flight.places);
        self.large.iter().find(|path| {
            let mut sets = flights.clone().chain([&self.waiting.places]);
            !sets.any(|set| set.overlaps(path, Scope::Entry))
        })
    }

    /// Has files wait to go alone. Those past the limit go with all of their directory.
    fn set_apart(&mut self, files: BTreeSet<TreePath>, since: Stamp) {
        for path in files {
            match path.parent() {
                Some(path) if self.large.len() >= self.limits.failures => {
                    self.admit(&Place { path, scope: Scope::Tree }, Span::ripe(since));
                }
                _ => self.large.add(path, since),
            }
        }
    }

    /// The oldest change that is not known to be on the target.
    fn first(&self) -> Option<Stamp> {
        let flights = self.flights.iter();
        let flights = flights.flat_map(|flight| [flight.span.first, flight.behind.span.first]);
        let groups = flights.chain([self.waiting.span.first]).flatten();
        groups.chain(self.failures.oldest()).chain(self.large.oldest()).reduce(Stamp::oldest)
    }
}
