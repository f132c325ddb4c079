//! A second queue that follows the same rules and is as unclever as possible: flat lists, each
//! question answered by looking at everything.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::script::{Player, Step, written, written_batch, written_moment};
use crate::{
    job::{Place, Rename, Scope},
    path::TreePath,
    queue::{Limits, Pace, Settled},
    time::Moment,
};

pub(super) fn covers(one: &Place, other: &Place) -> bool {
    match one.scope {
        Scope::Tree => one.path.contains(&other.path),
        Scope::Entry => one == other,
    }
}

fn overlaps(one: &Place, other: &Place) -> bool {
    one.path == other.path || covers(one, other) || covers(other, one)
}

fn sort(places: &mut [Place]) {
    places.sort_by(|one, other| one.path.components().cmp(other.path.components()));
}

/// The first `depth` components.
fn cut(path: &TreePath, depth: usize) -> TreePath {
    let mut top = TreePath::root();
    for name in path.components().take(depth) {
        top.push(name).unwrap();
    }
    top
}

fn insert(places: &mut Vec<Place>, it: &Place) -> bool {
    if places.iter().any(|other| covers(other, it)) {
        return false;
    }
    places.retain(|other| other.path != it.path && !covers(it, other));
    places.push(it.clone());
    true
}

fn crowded(places: &[Place], most: usize) -> Option<TreePath> {
    let mut parents: Vec<_> = places.iter().filter_map(|it| it.path.parent()).collect();
    parents.sort_by_key(|path| (usize::MAX - path.components().count(), path.clone()));
    parents.iter().find(|it| parents.iter().filter(|other| other == it).count() > most).cloned()
}

fn collapse(places: &mut Vec<Place>, at_most: usize, in_directory: usize) {
    let deepest = places.iter().map(|it| it.path.components().count()).max().unwrap_or(0);
    for depth in (0..=deepest).rev() {
        let mut fewer = Vec::new();
        for it in &*places {
            let depth_of_it = it.path.components().count();
            if depth_of_it > depth {
                insert(&mut fewer, &Place { path: cut(&it.path, depth), scope: Scope::Tree });
            } else {
                insert(&mut fewer, it);
            }
        }
        if fewer.len() <= at_most {
            *places = fewer;
            break;
        }
    }
    while let Some(path) = crowded(places, in_directory) {
        insert(places, &Place { path, scope: Scope::Tree });
    }
}

/// A mark: its number and its time.
type Mark = (usize, Moment);

fn older(one: Option<Mark>, other: Option<Mark>) -> Option<Mark> {
    one.into_iter().chain(other).reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
}

#[derive(Clone, Debug, Default)]
struct Gathered {
    places: Vec<Place>,
    hints: Vec<Rename>,
    first: Option<Mark>,
    newest: Option<Moment>,
    ripe: Option<Moment>,
}

/// When something was marked, and when it woke: one of the two.
#[derive(Clone, Copy, Default)]
struct When {
    first: Option<Mark>,
    newest: Option<Moment>,
    ripe: Option<Moment>,
}

impl Gathered {
    fn when(&self) -> When {
        When { first: self.first, newest: self.newest, ripe: self.ripe }
    }

    fn add(&mut self, it: &Place, when: When, limits: &Limits) -> bool {
        self.first = older(self.first, when.first);
        self.newest = self.newest.max(when.newest);
        self.ripe = self.ripe.into_iter().chain(when.ripe).min();
        let mut grown = false;
        insert(&mut self.places, it);
        while let Some(path) = crowded(&self.places, limits.in_directory) {
            insert(&mut self.places, &Place { path, scope: Scope::Tree });
            grown = true;
        }
        if self.places.len() > limits.places {
            collapse(&mut self.places, limits.places / 2, limits.in_directory);
            grown = true;
        }
        grown
    }

    fn hint(&mut self, hint: Rename, limits: &Limits) {
        self.hints.retain(|it| *it != hint);
        if hint.from != hint.to && self.hints.len() < limits.hints {
            self.hints.push(hint);
        }
    }

    fn covers(&self, it: &Place) -> bool {
        self.places.iter().any(|other| covers(other, it))
    }
}

#[derive(Debug)]
struct Flight {
    number: usize,
    taken: Gathered,
    behind: Gathered,
}

#[derive(Clone, Debug)]
struct Failed {
    place: Place,
    tries: u32,
    mark: Mark,
    at: Moment,
    until: Option<Moment>,
}

/// The twin.
#[derive(Debug, Default)]
pub(super) struct Twin {
    pace: Pace,
    limits: Limits,
    marks: usize,
    batches: usize,
    waiting: Gathered,
    flights: Vec<Flight>,
    failed: Vec<Failed>,
    barriers: Vec<usize>,
}

impl Twin {
    pub(super) fn new(pace: Pace, limits: Limits) -> Self {
        Self { pace, limits, ..Self::default() }
    }

    fn when(&mut self, now: Moment) -> When {
        self.marks += 1;
        When { first: Some((self.marks, now)), newest: Some(now), ripe: None }
    }

    /// Whether the place rests; then it rests a second at most.
    fn joins_rest(&mut self, it: &Place) -> bool {
        let mut resting = self.failed.iter_mut().filter(|other| {
            other.until.is_some() && other.place.path == it.path && other.place.scope >= it.scope
        });
        resting.next().is_some_and(|other| {
            other.until = other.until.min(Some(other.at + Duration::from_secs(1)));
            true
        })
    }

    fn blocker(&self, it: &Place) -> Option<usize> {
        let touches = |flight: &Flight| flight.taken.places.iter().any(|other| overlaps(other, it));
        let behind = self.flights.iter().position(|flight| flight.behind.covers(it));
        behind.or_else(|| self.flights.iter().position(touches))
    }

    fn put(&mut self, blocker: Option<usize>, it: &Place, when: When) {
        if let Some(at) = blocker {
            self.flights[at].behind.add(it, when, &self.limits);
        } else if self.waiting.add(it, when, &self.limits) && !self.flights.is_empty() {
            let waiting = core::mem::take(&mut self.waiting);
            self.readmit(waiting);
        }
    }

    fn put_move(&mut self, hint: Rename, scope: Scope, when: When) {
        let from = Place { path: hint.from.clone(), scope };
        let to = Place { path: hint.to.clone(), scope };
        let blocker = self.blocker(&from).or_else(|| self.blocker(&to));
        self.put(blocker, &from, when);
        self.put(blocker, &to, when);
        let group = match blocker {
            Some(at) => &mut self.flights[at].behind,
            None => &mut self.waiting,
        };
        if group.covers(&from) && group.covers(&to) {
            group.hint(hint, &self.limits);
        }
    }

    fn readmit(&mut self, mut group: Gathered) {
        sort(&mut group.places);
        if self.flights.is_empty() {
            let waiting = core::mem::take(&mut self.waiting);
            let (hints, when) = (group.hints, waiting.when());
            let mut joined = Gathered { hints, places: Vec::new(), ..group };
            for hint in waiting.hints {
                joined.hint(hint, &self.limits);
            }
            // The order matters only where the bounds are met: the larger part comes first.
            let (more, fewer) = if waiting.places.len() < group.places.len() {
                (group.places, waiting.places)
            } else {
                (waiting.places, group.places)
            };
            joined.places = more;
            let mut fewer = fewer;
            sort(&mut fewer);
            joined.first = older(joined.first, when.first);
            joined.newest = joined.newest.max(when.newest);
            joined.ripe = joined.ripe.into_iter().chain(when.ripe).min();
            for it in fewer {
                joined.add(&it, When::default(), &self.limits);
            }
            self.waiting = joined;
            return;
        }
        let when = group.when();
        for hint in group.hints.clone() {
            let all = Place { path: hint.from.clone(), scope: Scope::Tree };
            let scope = if group.covers(&all) { Scope::Tree } else { Scope::Entry };
            self.put_move(hint, scope, when);
        }
        for it in &group.places {
            self.put(self.blocker(it), it, when);
        }
    }

    fn due(&self) -> Option<Moment> {
        let Gathered { places, first, newest, ripe, .. } = &self.waiting;
        if places.is_empty() {
            return None;
        }
        let paced = first.map(|(_, oldest)| match self.pace {
            Pace::Fixed { max_waiting, .. } if places.len() >= max_waiting => oldest,
            Pace::Fixed { delay, .. } => oldest + delay,
            Pace::Quiet { quiet, ceiling } => (newest.unwrap() + quiet).min(oldest + ceiling),
        });
        paced.into_iter().chain(*ripe).min()
    }

    fn wake(&mut self, now: Moment, all: bool) {
        self.failed.sort_by(|one, other| one.place.path.cmp(&other.place.path));
        let mut awake = Vec::new();
        for failed in &mut self.failed {
            if failed.until.is_some_and(|until| all || until <= now) {
                failed.until = None;
                awake.push(failed.place.clone());
            }
        }
        for it in awake {
            let when = When { ripe: Some(now), ..When::default() };
            self.put(self.blocker(&it), &it, when);
        }
    }

    fn take(&mut self) -> String {
        if self.waiting.places.is_empty() {
            return String::new();
        }
        let mut taken = core::mem::take(&mut self.waiting);
        sort(&mut taken.places);
        for failed in &mut self.failed {
            if taken.covers(&failed.place) {
                failed.until = None;
            }
        }
        let text = written_batch(&taken.places, &taken.hints);
        self.batches += 1;
        self.flights.push(Flight { number: self.batches, taken, behind: Gathered::default() });
        text
    }

    fn settle(&mut self, number: usize, settled: &Settled, now: Moment) {
        let at = self.flights.iter().position(|flight| flight.number == number).unwrap();
        let Flight { taken, behind, .. } = self.flights.remove(at);
        match settled {
            Settled::Nothing => {
                self.readmit(behind);
                self.readmit(taken);
            }
            Settled::All => {
                self.settle_failures(&taken, &[], now);
                self.readmit(behind);
            }
            Settled::Except(failed) => {
                self.settle_failures(&taken, failed, now);
                self.readmit(behind);
            }
        }
    }

    fn settle_failures(&mut self, taken: &Gathered, failed: &[Place], now: Moment) {
        let (mut before, others): (Vec<_>, Vec<_>) = core::mem::take(&mut self.failed)
            .into_iter()
            .partition(|it| it.until.is_none() && taken.covers(&it.place));
        self.failed = others;
        let mut last = Vec::new();
        for place in failed {
            let at = before.iter().position(|it| it.place.path == place.path);
            last.push(at.map(|at| before.remove(at)));
        }
        before.retain(|it| failed.iter().any(|one| overlaps(one, &it.place)));
        for (place, last) in failed.iter().zip(last) {
            let first = taken.first.unwrap_or((self.marks, now));
            let tries = last.as_ref().map_or(0, |last| last.tries);
            let marks = before.iter().chain(&last).map(|it| Some(it.mark));
            let mark = marks.fold(Some(first), older);
            self.fail(place, tries + 1, mark.unwrap(), now);
        }
        if self.failed.len() > self.limits.failures {
            self.join_failures(now);
        }
    }

    fn fail(&mut self, place: &Place, tries: u32, mark: Mark, now: Moment) {
        let rest = (1_u64 << (tries - 1).min(20)).min(300);
        let until = Some(now + Duration::from_secs(rest));
        self.add_failed(Failed { place: place.clone(), tries, mark, at: now, until });
    }

    fn add_failed(&mut self, it: Failed) {
        match self.failed.iter_mut().find(|other| other.place.path == it.place.path) {
            Some(other) => {
                other.place.scope = other.place.scope.max(it.place.scope);
                other.tries = other.tries.max(it.tries);
                other.mark = older(Some(other.mark), Some(it.mark)).unwrap();
                other.at = other.at.max(it.at);
                other.until = other.until.max(it.until);
            }
            None => self.failed.push(it),
        }
    }

    fn join_failures(&mut self, now: Moment) {
        let all = core::mem::take(&mut self.failed);
        let mut larger = Vec::new();
        for it in &all {
            insert(&mut larger, &it.place);
        }
        collapse(&mut larger, self.limits.failures / 2, usize::MAX);
        for it in all {
            let top = larger.iter().find(|top| covers(top, &it.place)).unwrap();
            if *top == it.place {
                self.add_failed(it);
            } else {
                self.fail(top, it.tries, it.mark, now);
            }
        }
    }

    fn first(&self) -> Option<Mark> {
        let flights = self.flights.iter().flat_map(|it| [it.taken.first, it.behind.first]);
        let failed = self.failed.iter().map(|it| Some(it.mark));
        flights.chain([self.waiting.first]).chain(failed).fold(None, older)
    }

    fn counts(&self) -> String {
        let behind: usize = self.flights.iter().map(|it| it.behind.places.len()).sum();
        let in_flight: usize = self.flights.iter().map(|it| it.taken.places.len()).sum();
        let resting = self.failed.iter().filter(|it| it.until.is_some()).count();
        format!("{} {behind} {in_flight} {resting}", self.waiting.places.len())
    }
}

impl Player for Twin {
    fn play(&mut self, step: &Step, now: Moment) -> String {
        match step {
            Step::Mark(place) | Step::Write(place) | Step::Remove(place) => {
                let when = self.when(now);
                if !self.joins_rest(place) {
                    self.put(self.blocker(place), place, when);
                }
            }
            Step::Hurry(place) => {
                let when = When { ripe: Some(now), ..self.when(now) };
                self.put(self.blocker(place), place, when);
            }
            Step::Move { from, to } => {
                let when = self.when(now);
                let ends = [from.clone(), to.clone()];
                if let Some(at) = ends.iter().position(|end| self.joins_rest(end)) {
                    return self.play(&Step::Mark(ends[1 - at].clone()), now);
                }
                let hint = Rename { from: from.path.clone(), to: to.path.clone() };
                self.put_move(hint, from.scope, when);
            }
            Step::Take => {
                self.wake(now, false);
                if self.due().is_some_and(|due| due <= now) {
                    return self.take();
                }
            }
            Step::Flush => {
                self.wake(now, true);
                return self.take();
            }
            Step::Settle(number, settled) => self.settle(*number, settled, now),
            Step::Due => {
                let rests = self.failed.iter().filter_map(|it| it.until);
                return written_moment(self.due().into_iter().chain(rests).min());
            }
            Step::Counts => return self.counts(),
            Step::Waiting => {
                let mut places = self.waiting.places.clone();
                sort(&mut places);
                return written(&places);
            }
            Step::Oldest => return written_moment(self.first().map(|(_, at)| at)),
            Step::Barrier | Step::Heard(_) => self.barriers.push(self.marks),
            Step::IsSettled(barrier) => {
                let barrier = self.barriers[barrier - 1];
                let settled = self.first().is_none_or(|(mark, _)| mark > barrier);
                return if settled { "yes" } else { "no" }.to_string();
            }
        }
        String::new()
    }
}
