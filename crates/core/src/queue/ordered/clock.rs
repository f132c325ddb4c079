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
    /// Of those that have an alarm of their own, and hold up nobody who does not depend on them. What
    /// failed together has one alarm, so there are few.
    resting: BTreeMap<Moment, BTreeSet<Turn>>,
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

    /// An event is not due before `alarm`, whatever comes before or behind it.
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

    /// Forgets all that rest, and returns them.
    pub(super) fn take_resting(&mut self) -> impl Iterator<Item = Turn> + use<> {
        mem::take(&mut self.resting).into_values().flatten()
    }

    /// The one that rests no more since the longest time, and since when, or which will be the next.
    pub(super) fn first_resting(&self) -> Option<(Moment, Turn)> {
        let (alarm, turns) = self.resting.first_key_value()?;
        Some((*alarm, *turns.first()?))
    }

    /// The first of those that came by themselves that is not due at `now`. All before it are.
    pub(super) fn first_early(&self, now: Moment) -> Turn {
        let after_now = (Excluded((now, Turn::END)), Unbounded);
        self.order.range(after_now).next().map_or(Turn::END, |&(_, turn)| turn)
    }

    /// When this one and all before it are due that came by themselves.
    pub(super) fn ready_at(&self, turn: Turn) -> Moment {
        let last = self.arrivals.range(..=turn).next_back();
        last.map_or(Moment::ORIGIN, |(_, alarm)| *alarm)
    }
}
