//! Failed events: their retries, and the events that they block.
//!
//! Each is retried by itself, with growing backoff. It blocks its dependents: events above or below
//! its path, and all later events of its name. Everything else continues. If the entry that it
//! would create disappears again, it is not tried more than twice.
//!
//! Of a failed list it is unknown which of its events is to blame. They are retried, and then in
//! lists half as long each time, until one has failed alone: that one is tried alone from then on.
//! After a success of events that had failed, the lists grow again.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{
    EventQueue,
    event::{Etype, EventFailure, EventId, EventStatus, EventSubject, QueuedEvent},
    index::{EventIndex, QueuePosition},
    relation::Coupling,
};
use crate::{path::TreePath, queue::MAX_BACKOFF, time::Moment};

/// A failed try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The time at which it ended.
    pub now: Moment,
    /// The backoff after the first failure of an event. Each further failure doubles it, up to
    /// [`MAX_BACKOFF`].
    pub pause: Duration,
    /// The events that are to blame.
    pub blame: Blame,
    /// The error.
    pub message: Arc<str>,
}

/// The events of a list that are to blame for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Each of them.
    Each,
    /// At least one.
    Some,
}

/// Classes of events that can be in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListClass {
    /// Events that have not failed.
    Fresh,
    /// Events that were in a list that failed.
    Suspect,
    /// An event that failed alone.
    Alone,
}

/// The failed events of a queue.
#[derive(Debug)]
pub(super) struct FailedEvents {
    pub(super) index: EventIndex,
    count: usize,
    /// The most suspects in one list.
    max_suspects: usize,
}

impl Default for FailedEvents {
    fn default() -> Self {
        Self { index: EventIndex::default(), count: 0, max_suspects: usize::MAX }
    }
}

impl FailedEvents {
    pub(super) fn remove(&mut self, position: QueuePosition, subject: &EventSubject) {
        self.index.remove(position, subject);
        self.count = self.count.saturating_sub(1);
    }

    /// Notes a success. If the events had failed before, others may succeed, too.
    pub(super) const fn count_success(&mut self, had_failed: bool) {
        if had_failed {
            self.max_suspects = self.max_suspects.saturating_mul(2);
        }
    }

    /// Returns true if a list of this class is full with `count` events.
    pub(super) const fn is_list_full(&self, list_class: Option<ListClass>, count: usize) -> bool {
        match list_class {
            None | Some(ListClass::Fresh) => false,
            Some(ListClass::Suspect) => count >= self.max_suspects,
            Some(ListClass::Alone) => true,
        }
    }
}

impl QueuedEvent {
    pub(super) const fn list_class(&self) -> ListClass {
        match &self.failure {
            None => ListClass::Fresh,
            Some(EventFailure { is_alone: false, .. }) => ListClass::Suspect,
            Some(EventFailure { is_alone: true, .. }) => ListClass::Alone,
        }
    }

    /// Returns true if it can be in a list of this class at `now`.
    pub(super) fn fits(&self, list_class: Option<ListClass>, now: Moment) -> bool {
        let is_ready = self.failure.is_none() || self.alarm <= now;
        is_ready && list_class.is_none_or(|list_class| list_class == self.list_class())
    }

    /// Returns true if the event transfers an existing entry.
    const fn creates(&self) -> bool {
        matches!(self.etype(), Etype::Create | Etype::Modify | Etype::Attrib)
    }
}

impl EventQueue {
    /// Returns true if the last try of this event failed.
    pub(super) fn has_failed(&self, id: EventId) -> bool {
        self.get(id).is_some_and(|event| event.failure.is_some())
    }

    /// The number of failed events.
    #[must_use]
    pub const fn failed_count(&self) -> usize {
        self.failed_events.count
    }

    /// The failed events, oldest first.
    pub fn failed(&self) -> impl Iterator<Item = (&QueuedEvent, &EventFailure)> {
        let is_any = self.failed_events.count > 0;
        let entries = self.iter().take_while(move |_| is_any);
        entries.filter_map(|event| Some((event, event.failure()?)))
    }

    pub(super) fn fail(&mut self, ids: &[EventId], attempt: &FailedAttempt) {
        let is_alone = attempt.blame == Blame::Each || ids.len() == 1;
        if !is_alone && !ids.is_empty() {
            // The first time the cause may lie outside of these events.
            let is_first = !ids.iter().any(|id| self.has_failed(*id));
            let max_suspects = if is_first { ids.len() } else { ids.len() / 2 };
            self.failed_events.max_suspects =
                self.failed_events.max_suspects.min(max_suspects).max(1);
        }
        for id in ids {
            self.back_off(*id, is_alone, attempt);
        }
    }

    fn back_off(&mut self, id: EventId, is_alone: bool, attempt: &FailedAttempt) {
        let Some(&position) = self.positions.get(&id) else { return };
        if self.apply_failure_rule(position, attempt.now) {
            return;
        }
        if self.has_failed(id) && self.is_obsolete(position) {
            return self.drop_event(position, attempt.now);
        }
        let Some(slot) = self.slots.get_mut(&position) else { return };
        self.timers.remove(position, slot.event.alarm);
        self.waiting.remove(&position);
        let was = slot.event.failure.take();
        let tries = was.as_ref().map_or(0, |was| was.tries) + u32::from(is_alone);
        slot.event.alarm = match was {
            _ if is_alone => attempt.now + backoff_after(attempt.pause, tries, position),
            // It is retried in another combination.
            Some(_) => attempt.now,
            None => attempt.now + attempt.pause,
        };
        slot.has_own_alarm = true;
        slot.event.failure = Some(EventFailure {
            tries,
            is_alone,
            message: Arc::clone(&attempt.message),
            earliest_retry: attempt.now + attempt.pause,
        });
        let (subject, blocker) = (slot.event.subject.clone(), slot.blocker);
        if was.is_none() {
            self.failed_events.index.add(position, &subject);
            self.failed_events.count += 1;
        }
        self.block_again(position, &subject, blocker);
        self.block_later(position, &subject);
    }

    /// Retries events at once whose result is unknown because others of the same list failed.
    pub fn release(&mut self, ids: &[EventId], now: Moment) {
        for id in ids {
            let Some(&position) = self.positions.get(id) else { continue };
            if self.apply_failure_rule(position, now) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(&position) else { continue };
            (slot.event.alarm, slot.has_own_alarm) = (now, true);
            let (subject, blocker) = (slot.event.subject.clone(), slot.blocker);
            self.block_again(position, &subject, blocker);
        }
    }

    /// Resets the failure counts of these events.
    pub fn reset_tries(&mut self, ids: &[EventId]) {
        for id in ids {
            let position = self.positions.get(id);
            let slot = position.and_then(|position| self.slots.get_mut(position));
            if let Some(failure) = slot.and_then(|slot| slot.event.failure.as_mut()) {
                failure.tries = 0;
            }
        }
    }

    /// Keeps the event blocked as before, or lets another failed one block it.
    fn block_again(
        &mut self,
        position: QueuePosition,
        subject: &EventSubject,
        blocker: Option<QueuePosition>,
    ) {
        if blocker.is_some() {
            if let Some(slot) = self.slots.get_mut(&position) {
                slot.event.status = EventStatus::Block;
            }
            return;
        }
        let is_free = subject.etype == Etype::Full || subject.etype.is_barrier();
        let failed = (!is_free)
            .then(|| self.failed_events.index.newest(subject, position, Coupling::Tight))
            .flatten();
        self.wait_for(position, failed);
    }

    /// Blocks later events of the same name, even where events of one name are independent.
    fn block_later(&mut self, position: QueuePosition, subject: &EventSubject) {
        if subject.etype == Etype::Full || subject.etype.is_barrier() {
            return;
        }
        for later in self.index.later_at(subject, position) {
            let is_free = |slot: &super::EventSlot| slot.event.status == EventStatus::Wait;
            if self.slots.get(&later).is_some_and(is_free) {
                self.wait_for(later, Some(position));
            }
        }
    }

    /// Returns true if a later event says that the entry it would transfer is gone.
    pub(super) fn is_obsolete(&self, position: QueuePosition) -> bool {
        let Some(slot) = self.slots.get(&position) else { return false };
        let event = &slot.event;
        let path = match event.to() {
            _ if slot.is_last_try => return true,
            Some(to) => to,
            None if event.creates() => event.path(),
            None => return false,
        };
        let is_delete = |position: &QueuePosition| {
            self.slots.get(position).is_some_and(|slot| slot.event.etype() == Etype::Delete)
        };
        self.index.possible_removals(path, position).iter().any(is_delete)
    }

    /// Drops an event whose entry is gone; a move becomes the delete of its old name.
    pub(super) fn drop_event(&mut self, position: QueuePosition, now: Moment) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        let QueuedEvent { id, subject, .. } = slot.event.clone();
        if subject.etype != Etype::Move {
            return self.finish(&[id]);
        }
        let blocker = slot.blocker;
        self.replace(position, EventSubject { etype: Etype::Delete, to: None, ..subject }, now);
        let Some(slot) = self.slots.get_mut(&position) else { return };
        self.timers.remove(position, slot.event.alarm);
        slot.event.alarm = now;
        slot.has_own_alarm = true;
        slot.event.status = EventStatus::Block;
        if blocker.is_none() {
            self.wait_for(position, None);
        }
    }

    /// Clears the failure of an event that is replaced by another one, which is due at `alarm`.
    pub(super) fn clear_failure(&mut self, position: QueuePosition, alarm: Moment) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        if slot.event.failure.take().is_none() {
            return;
        }
        self.failed_events.remove(position, &slot.event.subject);
        self.set_alarm(position, alarm);
    }

    fn set_alarm(&mut self, position: QueuePosition, alarm: Moment) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        self.timers.remove(position, slot.event.alarm);
        slot.event.alarm = alarm;
        if slot.event.status == EventStatus::Wait {
            self.timers.add_retry(position, alarm);
        }
    }

    /// Updates failed events for a new event: those of a deleted entry are dropped, those of a
    /// changed entry may succeed now.
    pub(super) fn on_new_event(&mut self, new: &EventSubject, now: Moment) {
        if self.failed_events.count == 0 {
            return;
        }
        if new.etype == Etype::Delete {
            self.drop_below(&new.path, |_| true, now);
        }
        for position in self.failed_events.index.later_at(new, QueuePosition::FIRST) {
            let Some(event) = self.slots.get(&position).map(|slot| &slot.event) else { continue };
            let earliest_retry =
                event.failure.as_ref().map_or(event.alarm, |failure| failure.earliest_retry);
            if event.status != EventStatus::Active && earliest_retry < event.alarm {
                self.set_alarm(position, earliest_retry);
            }
        }
    }

    /// Drops failed events of entries that are missing in the complete listing of a directory.
    pub fn drop_missing(
        &mut self,
        directory: &TreePath,
        holds: impl Fn(&[u8]) -> bool,
        now: Moment,
    ) {
        let depth = directory.components().count();
        let is_gone = |path: &TreePath| path.components().nth(depth).is_some_and(|it| !holds(it));
        self.drop_below(directory, is_gone, now);
    }

    /// Drops events that would transfer a missing entry at or below this path and have failed more
    /// than once, and their dependents.
    fn drop_below(&mut self, path: &TreePath, is_gone: impl Fn(&TreePath) -> bool, now: Moment) {
        if self.failed_events.count == 0 {
            return;
        }
        let is_gone = |it: &TreePath| path.contains(it) && is_gone(it);
        let mut over: Vec<_> = self.failed_events.index.at_and_below(path).into_iter().collect();
        while let Some(position) = over.pop() {
            let Some(slot) = self.slots.get_mut(&position) else { continue };
            let event = &slot.event;
            let is_obsolete = match event.to() {
                Some(to) => event.failure.is_some() && is_gone(to),
                None => event.creates() && is_gone(event.path()),
            };
            let may_be_tried = event.status == EventStatus::Active
                || event.failure.as_ref().is_some_and(|failure| failure.tries < 2);
            if is_obsolete && may_be_tried {
                slot.is_last_try = true;
            } else if is_obsolete {
                let blocked = slot.blocked.clone();
                over.extend(blocked.into_iter().filter(|it| self.waits_for(*it, position)));
                self.drop_event(position, now);
            }
        }
    }

    fn waits_for(&self, position: QueuePosition, blocker: QueuePosition) -> bool {
        self.slots.get(&position).is_some_and(|slot| {
            slot.event.status == EventStatus::Block && slot.blocker == Some(blocker)
        })
    }

    /// Makes all failed events due at once, in lists of any length.
    pub fn retry_now(&mut self) {
        self.retry_all();
        self.failed_events.max_suspects = usize::MAX;
        for slot in self.slots.values_mut() {
            if let Some(failure) = &mut slot.event.failure {
                failure.tries = 0;
            }
        }
    }

    /// Makes all failed events due at once without resetting their failure counts.
    pub fn retry_all(&mut self) {
        for position in self.timers.take_retries() {
            self.timers.add_retry(position, Moment::ORIGIN);
            let Some(slot) = self.slots.get_mut(&position) else { continue };
            slot.event.alarm = Moment::ORIGIN;
        }
        for slot in self.slots.values_mut().filter(|slot| slot.event.status != EventStatus::Active)
        {
            if let Some(failure) = &mut slot.event.failure {
                failure.is_alone = false;
                slot.event.alarm = Moment::ORIGIN;
            }
        }
    }
}

/// The backoff after so many failures of its own. Events that failed together are spread.
pub(super) fn backoff_after(pause: Duration, tries: u32, position: QueuePosition) -> Duration {
    let factor = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let rest = pause.saturating_mul(factor).min(MAX_BACKOFF.max(pause));
    let percent = position.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let percent = u32::try_from(percent % 25).unwrap_or(0);
    if tries <= 1 { rest } else { rest.saturating_sub(rest / 100 * percent) }
}
