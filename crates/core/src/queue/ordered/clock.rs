//! When the events of an ordered queue are due.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use super::index::Turn;
use crate::time::Moment;

/// The alarms of all events that are not due at once.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Of those that came by themselves. Who comes later is not due earlier.
    arrivals: BTreeMap<Turn, Moment>,
    /// The same, by their alarms.
    order: BTreeSet<(Moment, Turn)>,
    /// Of those that failed. What failed together has one alarm, so there are few.
    resting: BTreeMap<Moment, BTreeSet<Turn>>,
}

/// Which alarms count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// All.
    All,
    /// Only those of what has failed: so much waits that nobody waits for more.
    Resting,
}

impl Clock {
    /// An event is due at `alarm`, or when the last one is if that is later. Returns when.
    pub(super) fn arrive(&mut self, turn: Turn, alarm: Moment) -> Moment {
        let last = self.order.last().map_or(Moment::ORIGIN, |&(last, _)| last);
        let alarm = alarm.max(last);
        self.arrivals.insert(turn, alarm);
        self.order.insert((alarm, turn));
        alarm
    }

    /// An event has failed, and is not due before `alarm`.
    pub(super) fn rest(&mut self, turn: Turn, alarm: Moment) {
        self.resting.entry(alarm).or_default().insert(turn);
    }

    /// Forgets an event, which was due at `alarm`.
    pub(super) fn remove(&mut self, turn: Turn, alarm: Moment) {
        if let Some(alarm) = self.arrivals.remove(&turn) {
            self.order.remove(&(alarm, turn));
        }
        if let Some(turns) = self.resting.get_mut(&alarm) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.resting.remove(&alarm);
            }
        }
    }

    /// Forgets all that have failed, and returns them.
    pub(super) fn take_resting(&mut self) -> impl Iterator<Item = Turn> + use<> {
        mem::take(&mut self.resting).into_values().flatten()
    }

    /// The first that is not due at `now`. All before it are.
    pub(super) fn first_early(&self, now: Moment, count: Count) -> Turn {
        let after_now = (Excluded(now), Unbounded);
        let resting = self.resting.range(after_now).filter_map(|(_, turns)| turns.first());
        let resting = resting.min().copied().unwrap_or(Turn::END);
        if count == Count::Resting {
            return resting;
        }
        let after_now = (Excluded((now, Turn::END)), Unbounded);
        let arrival = self.order.range(after_now).next().map_or(Turn::END, |&(_, turn)| turn);
        resting.min(arrival)
    }

    /// When this one and all before it are due.
    pub(super) fn ready_at(&self, turn: Turn, count: Count) -> Moment {
        let reaches = |turns: &BTreeSet<Turn>| turns.first().is_some_and(|first| *first <= turn);
        let resting = self.resting.iter().rev().find(|(_, turns)| reaches(turns));
        let resting = resting.map_or(Moment::ORIGIN, |(alarm, _)| *alarm);
        let arrival = match count {
            Count::All => self.arrivals.range(..=turn).next_back(),
            Count::Resting => None,
        };
        arrival.map_or(resting, |(_, alarm)| resting.max(*alarm))
    }
}
