//! Selection of the events to be activated: the next one that is due, and the events of a list.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    EventQueue,
    event::{EventId, EventStatus, QueuedEvent},
    index::{EventIndex, QueuePosition},
};
use crate::time::Moment;

/// The decision of a script about an event for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Adds it to the list.
    Take,
    /// Leaves it out, and those that it blocks.
    Skip,
    /// Leaves it out, and all later ones.
    Stop,
}

impl EventQueue {
    /// The next time at which [`first_due`](Self::first_due) returns an event, without further
    /// changes.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        let ready = |position: &QueuePosition| {
            let is_due = self.is_over_limit() || *position < self.due_until;
            if is_due { Moment::ORIGIN } else { self.timers.ready_at(*position) }
        };
        let waiting = self.waiting.first().map(ready);
        let retries = self.timers.first_retry().map(|(alarm, _)| alarm);
        waiting.into_iter().chain(retries).min()
    }

    /// The oldest event that is due and not blocked.
    #[must_use]
    pub fn first_due(&self, now: Moment) -> Option<&QueuedEvent> {
        let end = if self.is_over_limit() { QueuePosition::END } else { self.first_not_due(now) };
        let waiting = self.waiting.first().filter(|position| **position < end).copied();
        let retries = self.timers.first_retry().filter(|&(alarm, _)| alarm <= now);
        let position = waiting.into_iter().chain(retries.map(|(_, position)| position)).min()?;
        self.slots.get(&position).map(|slot| &slot.event)
    }

    fn first_not_due(&self, now: Moment) -> QueuePosition {
        self.timers.first_not_due(now).max(self.due_until)
    }

    /// Returns true if the queue is so long that no event waits for its delay.
    fn is_over_limit(&self) -> bool {
        self.len() >= self.settings.max_delays
    }

    /// Returns true if only events with an alarm of their own, such as failed ones, can be
    /// activated.
    #[must_use]
    pub fn has_only_retries(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The events for one list, whether they are due or not. Active and skipped events are left
    /// out, and so are those that they block or would block. Failed events are not mixed with
    /// others, nor taken before they are due.
    pub fn select(&self, now: Moment, mut pick: impl FnMut(&QueuedEvent) -> Pick) -> Vec<EventId> {
        let mut taken = Vec::new();
        let mut left = BTreeSet::new();
        // The blocker of an event may be taken, and another related event not.
        let mut met = EventIndex::default();
        let mut list_class = None;
        for (&position, slot) in &self.slots {
            let QueuedEvent { id, subject, status, .. } = &slot.event;
            if self.failed_events.is_list_full(list_class, taken.len()) {
                break;
            }
            let waits = slot.blocker.is_some_and(|blocker| left.contains(&blocker));
            let is_held = *status == EventStatus::Active
                || waits
                || !slot.event.fits(list_class, now)
                || met.newest(subject, position, self.settings.coupling).is_some();
            let wanted = if is_held { Pick::Skip } else { pick(&slot.event) };
            match wanted {
                Pick::Take => {
                    list_class.get_or_insert(slot.event.list_class());
                    taken.push(*id);
                }
                Pick::Skip => {
                    left.insert(position);
                    met.add(position, subject);
                }
                Pick::Stop => break,
            }
        }
        taken
    }
}
