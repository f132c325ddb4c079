//! Timers of queued events.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use super::index::QueuePosition;
use crate::time::Moment;

/// The alarms of all events that are not due at once.
#[derive(Debug, Default)]
pub(super) struct EventTimers {
    /// The alarms of new events. A later event is not due earlier.
    arrivals: BTreeMap<QueuePosition, Moment>,
    /// The same, by their alarms.
    order: BTreeSet<(Moment, QueuePosition)>,
    /// The alarms of events with an alarm of their own, which delay only their dependents. Events
    /// that failed together share one alarm, so there are few.
    retries: BTreeMap<Moment, BTreeSet<QueuePosition>>,
}

impl EventTimers {
    /// Adds a new event, which is due at `alarm`, or with the previous one if that is later.
    /// Returns the alarm.
    pub(super) fn add_arrival(&mut self, position: QueuePosition, alarm: Moment) -> Moment {
        let last = self.order.last().map_or(Moment::ORIGIN, |&(last, _)| last);
        let alarm = alarm.max(last);
        self.arrivals.insert(position, alarm);
        self.order.insert((alarm, position));
        alarm
    }

    /// Adds an event that is due at `alarm`, independently of those before and after it.
    pub(super) fn add_retry(&mut self, position: QueuePosition, alarm: Moment) {
        self.retries.entry(alarm).or_default().insert(position);
    }

    /// Removes an event, which was due at `alarm`.
    pub(super) fn remove(&mut self, position: QueuePosition, alarm: Moment) {
        if let Some(alarm) = self.arrivals.remove(&position) {
            self.order.remove(&(alarm, position));
        }
        if let Some(positions) = self.retries.get_mut(&alarm) {
            positions.remove(&position);
            if positions.is_empty() {
                self.retries.remove(&alarm);
            }
        }
    }

    /// Removes and returns all events with an alarm of their own.
    pub(super) fn take_retries(&mut self) -> impl Iterator<Item = QueuePosition> + use<> {
        mem::take(&mut self.retries).into_values().flatten()
    }

    /// The event with the earliest alarm of its own, and that alarm.
    pub(super) fn first_retry(&self) -> Option<(Moment, QueuePosition)> {
        let (alarm, positions) = self.retries.first_key_value()?;
        Some((*alarm, *positions.first()?))
    }

    /// The first new event that is not due at `now`. All before it are.
    pub(super) fn first_not_due(&self, now: Moment) -> QueuePosition {
        let after_now = (Excluded((now, QueuePosition::END)), Unbounded);
        self.order.range(after_now).next().map_or(QueuePosition::END, |&(_, position)| position)
    }

    /// The time at which this event and all new ones before it are due.
    pub(super) fn ready_at(&self, position: QueuePosition) -> Moment {
        let last = self.arrivals.range(..=position).next_back();
        last.map_or(Moment::ORIGIN, |(_, alarm)| *alarm)
    }
}
