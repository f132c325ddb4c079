//! A reference implementation with the same rules, as simple as possible: flat lists, and every
//! question answered by a complete scan.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use super::script::{QueueStep, StepRunner, at, written, written_batch, written_moment};
use crate::{
    job::{DirtyPath, Rename, Scope},
    path::TreePath,
    queue::{Debounce, QueueLimits, Settled},
    time::Moment,
};

pub(super) fn covers(one: &DirtyPath, other: &DirtyPath) -> bool {
    match one.scope {
        Scope::Tree => one.path.contains(&other.path),
        Scope::Entry => one == other,
    }
}

fn overlaps(one: &DirtyPath, other: &DirtyPath) -> bool {
    one.path == other.path || covers(one, other) || covers(other, one)
}

fn sort(paths: &mut [DirtyPath]) {
    paths.sort_by(|one, other| one.path.components().cmp(other.path.components()));
}

/// The first `depth` components.
fn cut(path: &TreePath, depth: usize) -> TreePath {
    let mut top = TreePath::root();
    for name in path.components().take(depth) {
        top.push(name).unwrap();
    }
    top
}

fn insert(paths: &mut Vec<DirtyPath>, it: &DirtyPath) -> bool {
    if paths.iter().any(|other| covers(other, it)) {
        return false;
    }
    paths.retain(|other| other.path != it.path && !covers(it, other));
    paths.push(it.clone());
    true
}

fn crowded(paths: &[DirtyPath], most: usize) -> Option<TreePath> {
    let mut parents: Vec<_> = paths.iter().filter_map(|it| it.path.parent()).collect();
    parents.sort_by_key(|path| (usize::MAX - path.components().count(), path.clone()));
    parents.iter().find(|it| parents.iter().filter(|other| other == it).count() > most).cloned()
}

fn collapse(paths: &mut Vec<DirtyPath>, at_most: usize, per_directory: usize) {
    let deepest = paths.iter().map(|it| it.path.components().count()).max().unwrap_or(0);
    for depth in (0..=deepest).rev() {
        let mut fewer = Vec::new();
        for it in &*paths {
            let depth_of_it = it.path.components().count();
            if depth_of_it > depth {
                insert(&mut fewer, &DirtyPath { path: cut(&it.path, depth), scope: Scope::Tree });
            } else {
                insert(&mut fewer, it);
            }
        }
        if fewer.len() <= at_most {
            *paths = fewer;
            break;
        }
    }
    while let Some(path) = crowded(paths, per_directory) {
        insert(paths, &DirtyPath { path, scope: Scope::Tree });
    }
}

fn older(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).min()
}

#[derive(Clone, Debug, Default)]
struct ReferencePending {
    paths: Vec<DirtyPath>,
    hints: Vec<Rename>,
    first: Option<Moment>,
    newest: Option<Moment>,
    early_due: Option<Moment>,
    due_since: Option<Moment>,
    started: Moment,
}

/// The time span of marks, and the end of a backoff.
#[derive(Clone, Copy, Default)]
struct ReferenceSpan {
    first: Option<Moment>,
    newest: Option<Moment>,
    early_due: Option<Moment>,
    due_since: Option<Moment>,
}

impl ReferenceSpan {
    fn mark(now: Moment) -> Self {
        Self { first: Some(now), newest: Some(now), ..Self::default() }
    }
}

/// The verdict of the later of two spans on when they are due early.
fn early_due(earlier: ReferenceSpan, later: ReferenceSpan) -> Option<Moment> {
    let is_later = later.newest.is_some() && later.newest >= earlier.newest;
    if is_later { later.early_due } else { earlier.early_due }
}

impl ReferencePending {
    fn when(&self) -> ReferenceSpan {
        let Self { first, newest, early_due, due_since, .. } = *self;
        ReferenceSpan { first, newest, early_due, due_since }
    }

    fn add(&mut self, it: &DirtyPath, when: ReferenceSpan, limits: &QueueLimits) -> bool {
        self.early_due = early_due(self.when(), when);
        self.first = older(self.first, when.first);
        self.newest = self.newest.max(when.newest);
        self.due_since = older(self.due_since, when.due_since);
        let mut collapsed = false;
        insert(&mut self.paths, it);
        while let Some(path) = crowded(&self.paths, limits.per_directory) {
            insert(&mut self.paths, &DirtyPath { path, scope: Scope::Tree });
            collapsed = true;
        }
        if self.paths.len() > limits.paths {
            collapse(&mut self.paths, limits.paths / 2, limits.per_directory);
            collapsed = true;
        }
        collapsed
    }

    fn hint(&mut self, hint: Rename, limits: &QueueLimits) {
        self.hints.retain(|it| *it != hint);
        if hint.from != hint.to && self.hints.len() < limits.hints {
            self.hints.push(hint);
        }
    }

    fn covers(&self, it: &DirtyPath) -> bool {
        self.paths.iter().any(|other| covers(other, it))
    }
}

/// The paths that change again and again.
#[derive(Debug, Default)]
struct ReferenceHot {
    /// Each with its runs in a row, and the end of the last one if it is not in flight.
    runs: Vec<(TreePath, u32, Option<Moment>)>,
    pending: ReferencePending,
    pause: u64,
    earliest: Moment,
}

/// The time for which a lone change waits.
const LONE: Duration = Duration::from_millis(5);

/// The time after which a spell is expected to be over, if it is dense.
fn dense_quiet(spell: &[Moment]) -> Option<Duration> {
    let pauses = spell.windows(2).map(|pair| pair[1].since(pair[0]));
    let quiet = (4 * pauses.max().unwrap_or_default()).max(Duration::from_millis(20));
    (spell.len() >= 32).then_some(quiet)
}

/// The time after a run in which a change continues the row.
const ROW: Duration = Duration::from_secs(2);

impl ReferenceHot {
    fn holds(&self, it: &DirtyPath, when: ReferenceSpan) -> bool {
        let is_hot = |(path, runs, ended): &(TreePath, u32, Option<Moment>)| {
            it.scope == Scope::Entry
                && *path == it.path
                && *runs >= 2
                && ended.is_none_or(|ended| when.newest.unwrap() <= ended + ROW)
        };
        when.due_since.is_none() && (self.runs.iter().any(is_hot) || self.pending.covers(it))
    }

    fn start(&mut self, taken: &ReferencePending) {
        for it in taken.paths.iter().filter(|it| it.scope == Scope::Entry) {
            let (mut runs, at) = (1, self.runs.iter().position(|(path, ..)| *path == it.path));
            if let Some((_, last, ended)) = at.map(|at| self.runs.remove(at))
                && taken.first.is_none_or(|first| ended.is_none_or(|ended| first <= ended + ROW))
            {
                runs += last;
            }
            self.runs.push((it.path.clone(), runs, None));
        }
    }

    fn fail(&mut self, taken: &ReferencePending, now: Moment) {
        for (path, runs, ended) in &mut self.runs {
            let it = DirtyPath { path: path.clone(), scope: Scope::Entry };
            if taken.paths.contains(&it) {
                *ended = Some(now);
                *runs = runs.saturating_sub(1);
            }
        }
    }

    fn end(&mut self, taken: &ReferencePending, now: Moment) {
        let mut had_hot = false;
        for (path, runs, ended) in &mut self.runs {
            let it = DirtyPath { path: path.clone(), scope: Scope::Entry };
            if taken.paths.contains(&it) {
                *ended = Some(now);
                had_hot |= *runs >= 2;
            }
        }
        let was_waiting = self.pending.first.is_some_and(|first| first < taken.started);
        if had_hot && !was_waiting {
            let is_next = self.pause > 0 && now <= self.earliest + ROW;
            self.pause = if is_next { 1_000.min(2 * self.pause) } else { 250 };
            let long = 60_000.min(3 * u64::try_from((now - taken.started).as_millis()).unwrap());
            let pause = Duration::from_millis(self.pause.max(long));
            self.earliest = self.earliest.max(now + pause);
        }
    }
}

#[derive(Debug)]
struct ReferenceInFlight {
    number: usize,
    taken: ReferencePending,
    deferred: ReferencePending,
}

#[derive(Clone, Debug)]
struct ReferenceFailed {
    dirty: DirtyPath,
    tries: u32,
    mark: Moment,
    at: Moment,
    retry_at: Option<Moment>,
}

/// The reference implementation.
#[derive(Debug, Default)]
pub(super) struct ReferenceQueue {
    debounce: Debounce,
    limits: QueueLimits,
    batches: usize,
    waiting: ReferencePending,
    hot: ReferenceHot,
    /// The marks of the spell.
    spell: Vec<Moment>,
    /// True if the spell was expected to be a lone change.
    expects_lone: bool,
    /// True if the last dense spell went on after its expected end.
    last_went_on: bool,
    in_flight: Vec<ReferenceInFlight>,
    failed: Vec<ReferenceFailed>,
}

impl ReferenceQueue {
    pub(super) fn new(debounce: Debounce, limits: QueueLimits) -> Self {
        Self { debounce, limits, ..Self::default() }
    }

    /// Returns true if the path is backing off; then the backoff is cut down to a second.
    fn absorbs_mark(&mut self, it: &DirtyPath) -> bool {
        let mut backing_off = self.failed.iter_mut().filter(|other| {
            other.retry_at.is_some() && other.dirty.path == it.path && other.dirty.scope >= it.scope
        });
        backing_off.next().is_some_and(|other| {
            other.retry_at = other.retry_at.min(Some(other.at + Duration::from_secs(1)));
            true
        })
    }

    fn blocker(&self, it: &DirtyPath) -> Option<usize> {
        let touches =
            |flight: &ReferenceInFlight| flight.taken.paths.iter().any(|other| overlaps(other, it));
        let deferred = self.in_flight.iter().position(|flight| flight.deferred.covers(it));
        deferred.or_else(|| self.in_flight.iter().position(touches))
    }

    /// The span of a mark.
    fn mark(&mut self, now: Moment) -> ReferenceSpan {
        let mut when = ReferenceSpan::mark(now);
        if let Debounce::Quiet { quiet, .. } = self.debounce {
            let is_burst = |spell: &[Moment]| {
                spell.first().is_none_or(|first| spell.last().unwrap().since(*first) > LONE)
            };
            let went_on = |spell: &[Moment]| {
                let mut pairs = spell.windows(2).zip(1..);
                pairs.any(|(pair, before)| {
                    dense_quiet(&spell[..before]).is_some_and(|it| pair[1].since(pair[0]) >= it)
                })
            };
            let pause = now.since(self.spell.last().copied().unwrap_or(at(0)));
            if pause >= quiet || self.spell.is_empty() {
                let is_calm = pause >= Duration::from_mins(1);
                self.expects_lone = !is_burst(&self.spell) || is_calm;
                if self.spell.len() >= 32 {
                    self.last_went_on = went_on(&self.spell);
                }
                self.last_went_on &= !is_calm;
                self.spell.clear();
            }
            self.spell.push(now);
            if self.expects_lone && !is_burst(&self.spell) {
                when.early_due = Some(now + LONE);
            } else if !self.last_went_on && !went_on(&self.spell) {
                when.early_due =
                    dense_quiet(&self.spell).filter(|it| *it < quiet).map(|it| now + it);
            }
        }
        when
    }

    /// The place of a path: among the deferred ones of a batch, or else among the hot ones if true.
    fn place(&self, it: &DirtyPath, when: ReferenceSpan) -> (Option<usize>, bool) {
        let is_hot = !self.waiting.covers(it) && self.hot.holds(it, when);
        match self.blocker(it) {
            Some(at) => (Some(at), false),
            None => (None, is_hot),
        }
    }

    fn put(&mut self, place: (Option<usize>, bool), it: &DirtyPath, when: ReferenceSpan) {
        if let (Some(at), _) = place {
            self.in_flight[at].deferred.add(it, when, &self.limits);
        } else if place.1 {
            self.hot.pending.add(it, when, &self.limits);
        } else if self.waiting.add(it, when, &self.limits) && !self.in_flight.is_empty() {
            let waiting = core::mem::take(&mut self.waiting);
            self.readmit(waiting);
        }
    }

    fn put_move(&mut self, hint: Rename, scope: Scope, when: ReferenceSpan) {
        let from = DirtyPath { path: hint.from.clone(), scope };
        let to = DirtyPath { path: hint.to.clone(), scope };
        let [one, other] = [&from, &to].map(|it| self.place(it, when));
        let place = (one.0.or(other.0), one.1 || other.1);
        self.put(place, &from, when);
        self.put(place, &to, when);
        let group = match place {
            (Some(at), _) => &mut self.in_flight[at].deferred,
            (None, true) => &mut self.hot.pending,
            (None, false) => &mut self.waiting,
        };
        if group.covers(&from) && group.covers(&to) {
            group.hint(hint, &self.limits);
        }
    }

    fn readmit(&mut self, mut group: ReferencePending) {
        sort(&mut group.paths);
        let when = group.when();
        let is_hot = group.paths.iter().any(|it| self.hot.holds(it, when));
        if self.in_flight.is_empty() && !is_hot {
            let waiting = core::mem::take(&mut self.waiting);
            let (hints, when) = (group.hints, waiting.when());
            let mut joined = ReferencePending { hints, paths: Vec::new(), ..group };
            for hint in waiting.hints {
                joined.hint(hint, &self.limits);
            }
            // The order matters only where the limits are reached: the larger part comes first.
            let (more, fewer) = if waiting.paths.len() < group.paths.len() {
                (group.paths, waiting.paths)
            } else {
                (waiting.paths, group.paths)
            };
            joined.paths = more;
            let mut fewer = fewer;
            sort(&mut fewer);
            joined.early_due = early_due(joined.when(), when);
            joined.first = older(joined.first, when.first);
            joined.newest = joined.newest.max(when.newest);
            joined.due_since = older(joined.due_since, when.due_since);
            for it in fewer {
                joined.add(&it, ReferenceSpan::default(), &self.limits);
            }
            self.waiting = joined;
            return;
        }
        for hint in group.hints.clone() {
            let all = DirtyPath { path: hint.from.clone(), scope: Scope::Tree };
            let scope = if group.covers(&all) { Scope::Tree } else { Scope::Entry };
            self.put_move(hint, scope, when);
        }
        for it in &group.paths {
            self.put(self.place(it, when), it, when);
        }
    }

    fn due(&self) -> Option<Moment> {
        self.due_of(&self.waiting, at(0))
    }

    fn hot_due(&self) -> Option<Moment> {
        self.due_of(&self.hot.pending, self.hot.earliest)
    }

    fn make_due(&mut self, now: Moment) {
        let deferred = self.in_flight.iter_mut().map(|flight| &mut flight.deferred);
        for pending in deferred.chain([&mut self.waiting, &mut self.hot.pending]) {
            if !pending.paths.is_empty() {
                pending.due_since = older(pending.due_since, Some(now));
            }
        }
    }

    fn release_hot(&mut self, now: Moment) {
        self.hot.earliest = now + Duration::from_millis(self.hot.pause);
        let mut hot = core::mem::take(&mut self.hot.pending);
        if !hot.paths.is_empty() {
            hot.due_since = older(hot.due_since, Some(now));
        }
        self.readmit(hot);
    }

    fn due_of(&self, pending: &ReferencePending, earliest: Moment) -> Option<Moment> {
        let ReferencePending { paths, first, newest, early_due, due_since, .. } = pending;
        if paths.is_empty() {
            return None;
        }
        let paced = first.map(|oldest| match self.debounce {
            Debounce::FixedDelay { max_waiting, .. } if paths.len() >= max_waiting => oldest,
            Debounce::FixedDelay { delay, .. } => oldest + delay,
            Debounce::Quiet { quiet, max_wait } => (newest.unwrap() + quiet).min(oldest + max_wait),
        });
        older(paced, *early_due).map(|due| due.max(earliest)).into_iter().chain(*due_since).min()
    }

    fn take_retries(&mut self, now: Moment, all: bool) {
        self.failed.sort_by(|one, other| one.dirty.path.cmp(&other.dirty.path));
        let mut awake = Vec::new();
        for failed in &mut self.failed {
            if failed.retry_at.is_some_and(|retry_at| all || retry_at <= now) {
                failed.retry_at = None;
                awake.push(failed.dirty.clone());
            }
        }
        for it in awake {
            let when = ReferenceSpan { due_since: Some(now), ..ReferenceSpan::default() };
            self.put(self.place(&it, when), &it, when);
        }
    }

    fn take(&mut self, now: Moment) -> String {
        if self.waiting.paths.is_empty() {
            return String::new();
        }
        let mut taken = core::mem::take(&mut self.waiting);
        sort(&mut taken.paths);
        for failed in &mut self.failed {
            if taken.covers(&failed.dirty) {
                failed.retry_at = None;
            }
        }
        let text = written_batch(&taken.paths, &taken.hints);
        taken.started = now;
        self.hot.start(&taken);
        self.batches += 1;
        self.in_flight.push(ReferenceInFlight {
            number: self.batches,
            taken,
            deferred: ReferencePending::default(),
        });
        text
    }

    fn settle(&mut self, number: usize, settled: &Settled, now: Moment) {
        let at = self.in_flight.iter().position(|flight| flight.number == number).unwrap();
        let ReferenceInFlight { taken, deferred, .. } = self.in_flight.remove(at);
        match settled {
            Settled::Nothing => self.hot.fail(&taken, now),
            Settled::All | Settled::Except(_) => self.hot.end(&taken, now),
        }
        match settled {
            Settled::Nothing => {
                self.readmit(deferred);
                self.readmit(taken);
            }
            Settled::All => {
                self.settle_failures(&taken, &[], now);
                self.readmit(deferred);
            }
            Settled::Except(failed) => {
                self.settle_failures(&taken, failed, now);
                self.readmit(deferred);
            }
        }
    }

    fn settle_failures(&mut self, taken: &ReferencePending, failed: &[DirtyPath], now: Moment) {
        let (mut before, others): (Vec<_>, Vec<_>) = core::mem::take(&mut self.failed)
            .into_iter()
            .partition(|it| it.retry_at.is_none() && taken.covers(&it.dirty));
        self.failed = others;
        let mut last = Vec::new();
        for dirty in failed {
            let at = before.iter().position(|it| it.dirty.path == dirty.path);
            last.push(at.map(|at| before.remove(at)));
        }
        before.retain(|it| failed.iter().any(|one| overlaps(one, &it.dirty)));
        for (dirty, last) in failed.iter().zip(last) {
            let first = taken.first.unwrap_or(now);
            let tries = last.as_ref().map_or(0, |last| last.tries);
            let marks = before.iter().chain(&last).map(|it| Some(it.mark));
            let mark = marks.fold(Some(first), older);
            self.fail(dirty, tries + 1, mark.unwrap(), now);
        }
        if self.failed.len() > self.limits.failed {
            self.join_failures(now);
        }
    }

    fn fail(&mut self, dirty: &DirtyPath, tries: u32, mark: Moment, now: Moment) {
        let rest = (1_u64 << (tries - 1).min(20)).min(300);
        let retry_at = Some(now + Duration::from_secs(rest));
        self.add_failed(ReferenceFailed { dirty: dirty.clone(), tries, mark, at: now, retry_at });
    }

    fn add_failed(&mut self, it: ReferenceFailed) {
        match self.failed.iter_mut().find(|other| other.dirty.path == it.dirty.path) {
            Some(other) => {
                other.dirty.scope = other.dirty.scope.max(it.dirty.scope);
                other.tries = other.tries.max(it.tries);
                other.mark = older(Some(other.mark), Some(it.mark)).unwrap();
                other.at = other.at.max(it.at);
                other.retry_at = other.retry_at.max(it.retry_at);
            }
            None => self.failed.push(it),
        }
    }

    fn join_failures(&mut self, now: Moment) {
        let all = core::mem::take(&mut self.failed);
        let mut larger = Vec::new();
        for it in &all {
            insert(&mut larger, &it.dirty);
        }
        collapse(&mut larger, self.limits.failed / 2, usize::MAX);
        for it in all {
            let top = larger.iter().find(|top| covers(top, &it.dirty)).unwrap();
            if *top == it.dirty {
                self.add_failed(it);
            } else {
                self.fail(top, it.tries, it.mark, now);
            }
        }
    }

    fn first(&self) -> Option<Moment> {
        let in_flight = self.in_flight.iter().flat_map(|it| [it.taken.first, it.deferred.first]);
        let failed = self.failed.iter().map(|it| Some(it.mark));
        let waiting = [self.waiting.first, self.hot.pending.first];
        in_flight.chain(waiting).chain(failed).fold(None, older)
    }

    fn waiting_paths(&self) -> Vec<DirtyPath> {
        let mut paths = Vec::new();
        for it in self.waiting.paths.iter().chain(&self.hot.pending.paths) {
            insert(&mut paths, it);
        }
        sort(&mut paths);
        paths
    }

    fn counts(&self) -> String {
        let deferred: usize = self.in_flight.iter().map(|it| it.deferred.paths.len()).sum();
        let in_flight: usize = self.in_flight.iter().map(|it| it.taken.paths.len()).sum();
        let backing_off = self.failed.iter().filter(|it| it.retry_at.is_some()).count();
        let waiting = self.waiting.paths.len() + self.hot.pending.paths.len();
        format!("{waiting} {deferred} {in_flight} {backing_off}")
    }
}

impl StepRunner for ReferenceQueue {
    fn play(&mut self, step: &QueueStep, now: Moment) -> String {
        match step {
            QueueStep::Mark(dirty) | QueueStep::Write(dirty) | QueueStep::Remove(dirty) => {
                let when = self.mark(now);
                if !self.absorbs_mark(dirty) {
                    self.put(self.place(dirty, when), dirty, when);
                }
            }
            QueueStep::Urgent(dirty) => {
                let when = ReferenceSpan { due_since: Some(now), ..ReferenceSpan::mark(now) };
                self.put(self.place(dirty, when), dirty, when);
            }
            QueueStep::Move { from, to } => {
                let ends = [from.clone(), to.clone()];
                if let Some(at) = ends.iter().position(|end| self.absorbs_mark(end)) {
                    return self.play(&QueueStep::Mark(ends[1 - at].clone()), now);
                }
                let when = self.mark(now);
                let hint = Rename { from: from.path.clone(), to: to.path.clone() };
                self.put_move(hint, from.scope, when);
            }
            QueueStep::Take => {
                self.take_retries(now, false);
                let is_due = |due: Option<Moment>| due.is_some_and(|due| due <= now);
                if is_due(self.hot_due()) {
                    self.release_hot(now);
                }
                if is_due(self.due()) {
                    return self.take(now);
                }
            }
            QueueStep::Flush => {
                self.take_retries(now, true);
                self.release_hot(now);
                return self.take(now);
            }
            QueueStep::MakeDue => self.make_due(now),
            QueueStep::Settle(number, settled) => self.settle(*number, settled, now),
            QueueStep::Due => {
                let backoffs = self.failed.iter().filter_map(|it| it.retry_at);
                let due = self.due().into_iter().chain(self.hot_due());
                return written_moment(due.chain(backoffs).min());
            }
            QueueStep::QueueCounts => return self.counts(),
            QueueStep::Waiting => return written(&self.waiting_paths()),
            QueueStep::Oldest => return written_moment(self.first()),
            QueueStep::Observed(_) => {}
        }
        String::new()
    }
}
