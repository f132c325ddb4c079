//! The queue of a scripted mirror: events in order, as the original has them.
//!
//! Scripts see what the original shows them: every event, and which one blocks which. So the rules
//! of relation are those of the original (`relation`), but the costs are not: a push takes a number
//! of steps proportional to the depth of its path, wherever the related event is in the queue.
//!
//! Errors of the original that are fixed here:
//!
//! - The removal of an event in the middle does not affect the others.
//! - A replacement takes over the blocked events, the blocker and the time of the replaced event,
//!   so later events are not delayed by a file that is created and deleted all the time.
//! - An unblocked event that is related to another one before it is blocked by that.
//! - A retried event keeps its position and its blocker.
//! - A failed event blocks only its dependents (`failed`).
//! - The next wake-up is the time at which an event can be started, not the earliest of all alarms.
//! - In a long queue no event waits for its delay, but failed ones still back off.
//! - An event that is processed after a newer full event does not undo that (`full`).

mod event;
mod failed;
mod full;
mod index;
mod relation;
mod selection;
mod timers;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

pub use event::{Etype, EventFailure, EventId, EventStatus, QueuedEvent};
pub use failed::{Blame, FailedAttempt};
pub(crate) use full::FailureRule;
pub use relation::Coupling;
pub use selection::Pick;

use crate::{
    fs_event::{Change, EntryKind},
    path::TreePath,
    time::Moment,
};
use event::EventSubject;
use failed::FailedEvents;
use index::{EventIndex, QueuePosition};
use relation::{Relation, relation};
use timers::EventTimers;

/// Events in the order of their arrival.
#[derive(Debug)]
pub struct EventQueue {
    settings: EventQueueSettings,
    slots: BTreeMap<QueuePosition, EventSlot>,
    positions: BTreeMap<EventId, QueuePosition>,
    /// The positions of all events that can be activated once they and all before them are due.
    waiting: BTreeSet<QueuePosition>,
    index: EventIndex,
    failed_events: FailedEvents,
    timers: EventTimers,
    next: u64,
    /// All events before this position are due.
    due_until: QueuePosition,
    /// Directories that a split move created.
    unlisted: Vec<TreePath>,
}

/// A position in the queue, between earlier and later events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueMark(QueuePosition);

/// The delays and the relation of events.
#[derive(Clone, Copy, Debug)]
pub struct EventQueueSettings {
    /// The age at which an event is due.
    pub delay: Duration,
    /// With this many events all are due at once.
    pub max_delays: usize,
    /// The coupling of events of one name.
    pub coupling: Coupling,
}

/// Times of a new event.
#[derive(Clone, Copy, Debug)]
struct EventTimes {
    alarm: Moment,
    queued: Moment,
}

impl EventTimes {
    /// Due at once, and no change that was reported.
    const DUE: Self = Self { alarm: Moment::ORIGIN, queued: Moment::ORIGIN };
}

#[derive(Debug)]
struct EventSlot {
    event: QueuedEvent,
    /// True if its alarm is its own, and not that of its arrival.
    has_own_alarm: bool,
    /// True if it is not retried after a failure, because its entry is gone.
    is_last_try: bool,
    /// The consequence of its failure while it is active.
    failure_rule: FailureRule,
    /// The event that blocks it, or blocked it when both were activated together.
    blocker: Option<QueuePosition>,
    /// The events that it blocks.
    blocked: Vec<QueuePosition>,
}

/// The outcome of the work on events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// They are done.
    Done,
    /// They are retried.
    Failed(FailedAttempt),
}

/// Reasons to refuse an operation on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRefusal {
    /// The event does not exist any more.
    Gone,
    /// The event has the wrong status.
    InStatus(EventStatus),
}

impl EventQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(settings: EventQueueSettings) -> Self {
        Self {
            settings,
            slots: BTreeMap::new(),
            positions: BTreeMap::new(),
            waiting: BTreeSet::new(),
            index: EventIndex::default(),
            failed_events: FailedEvents::default(),
            timers: EventTimers::default(),
            next: 1,
            due_until: QueuePosition(0),
            unlisted: Vec::new(),
        }
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All events, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &QueuedEvent> {
        self.slots.values().map(|slot| &slot.event)
    }

    /// The time at which the oldest change was reported.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.iter().map(QueuedEvent::queued).find(|queued| *queued != Moment::ORIGIN)
    }

    /// The current end of the queue.
    #[must_use]
    pub const fn mark(&self) -> QueueMark {
        QueueMark(QueuePosition(self.next))
    }

    /// All events before this mark, oldest first.
    pub fn before(&self, mark: QueueMark) -> impl Iterator<Item = &QueuedEvent> {
        self.slots.range(..mark.0).map(|(_, slot)| &slot.event)
    }

    /// The event of this id. `None` if it is done, discarded or replaced.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&QueuedEvent> {
        Some(&self.slot(id)?.event)
    }

    /// The event that blocks this one.
    #[must_use]
    pub fn blocker(&self, id: EventId) -> Option<EventId> {
        let blocker = self.slot(id)?.blocker?;
        self.slots.get(&blocker).map(|slot| slot.event.id)
    }

    fn slot(&self, id: EventId) -> Option<&EventSlot> {
        self.slots.get(self.positions.get(&id)?)
    }

    /// Makes all new events due at once, up to the present end of the queue.
    pub fn make_due(&mut self) {
        self.due_until = QueuePosition(self.next);
    }

    /// Adds a change of one entry.
    pub fn push(&mut self, change: &Change, now: Moment) {
        let (etype, kind) = (change.edit.into(), change.kind);
        self.insert_related(EventSubject { etype, path: change.path.clone(), kind, to: None }, now);
    }

    /// Adds a rename. Returns true if it is one event, not a delete and a create.
    pub fn push_move(
        &mut self,
        from: &TreePath,
        to: &TreePath,
        kind: EntryKind,
        now: Moment,
    ) -> bool {
        let (path, to) = (from.clone(), Some(to.clone()));
        self.insert_related(EventSubject { etype: Etype::Move, path, kind, to }, now)
    }

    /// Adds the init event. It is due at once.
    pub fn push_init(&mut self) -> EventId {
        self.push_at_once(Etype::Init, TreePath::root())
    }

    /// Adds a blanket event, which blocks all later events. It is not blocked itself.
    pub fn push_blanket(&mut self) -> EventId {
        self.push_at_once(Etype::Blanket, TreePath::root())
    }

    fn push_at_once(&mut self, etype: Etype, path: TreePath) -> EventId {
        let subject = EventSubject { etype, path, kind: EntryKind::Directory, to: None };
        self.append(subject, EventTimes::DUE, None)
    }

    /// Inserts a new event according to its relation to the newest related one. Returns true if it
    /// is still one event.
    fn insert_related(&mut self, new: EventSubject, now: Moment) -> bool {
        self.on_new_event(&new, now);
        let met = self.newest(&new, QueuePosition::END);
        let Some((position, old)) =
            met.and_then(|position| Some((position, self.slots.get(&position)?)))
        else {
            self.append_delayed(new, now, None);
            return true;
        };
        let is_active = old.event.status == EventStatus::Active;
        match relation(&old.event.subject, &new, self.settings.coupling) {
            Relation::Replace if !is_active => self.replace(position, new, now),
            Relation::ToDelete if !is_active => {
                let EventSubject { path, kind, .. } = old.event.subject.clone();
                self.replace(
                    position,
                    EventSubject { etype: Etype::Delete, path, kind, to: None },
                    now,
                );
                self.append_delayed(new, now, Some(position));
            }
            Relation::Split => {
                let EventSubject { path, kind, to, .. } = new;
                self.insert_related(
                    EventSubject { etype: Etype::Delete, path, kind, to: None },
                    now,
                );
                if let Some(path) = to {
                    self.insert_related(
                        EventSubject { etype: Etype::Create, path, kind, to: None },
                        now,
                    );
                }
                return false;
            }
            Relation::Stack | Relation::Replace | Relation::ToDelete => {
                self.append_delayed(new, now, Some(position));
            }
        }
        true
    }

    fn newest(&self, new: &EventSubject, before: QueuePosition) -> Option<QueuePosition> {
        let failed = self.failed_events.index.newest(new, before, Coupling::Tight);
        self.index.newest(new, before, self.settings.coupling).max(failed)
    }

    fn append_delayed(
        &mut self,
        subject: EventSubject,
        now: Moment,
        blocker: Option<QueuePosition>,
    ) {
        let alarm = self.timers.add_arrival(QueuePosition(self.next), now + self.settings.delay);
        self.append(subject, EventTimes { alarm, queued: now }, blocker);
    }

    fn append(
        &mut self,
        subject: EventSubject,
        times: EventTimes,
        blocker: Option<QueuePosition>,
    ) -> EventId {
        let (id, position) = (EventId(self.next), QueuePosition(self.next));
        self.next += 1;
        self.index.add(position, &subject);
        let (status, EventTimes { alarm, queued }) = (EventStatus::Wait, times);
        let event = QueuedEvent { id, subject, status, alarm, queued, failure: None };
        let slot = EventSlot {
            event,
            has_own_alarm: false,
            is_last_try: false,
            failure_rule: FailureRule::Retry,
            blocker: None,
            blocked: Vec::new(),
        };
        self.slots.insert(position, slot);
        self.positions.insert(id, position);
        self.wait_for(position, blocker);
        id
    }

    /// Sets or clears the blocker of an event.
    fn wait_for(&mut self, position: QueuePosition, blocker: Option<QueuePosition>) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        slot.blocker = blocker;
        slot.event.status = if blocker.is_some() { EventStatus::Block } else { EventStatus::Wait };
        let (has_own_alarm, alarm) = (slot.has_own_alarm, slot.event.alarm);
        match blocker.and_then(|blocker| self.slots.get_mut(&blocker)) {
            Some(blocker) => {
                blocker.blocked.push(position);
                self.waiting.remove(&position);
                if has_own_alarm {
                    self.timers.remove(position, alarm);
                }
            }
            None if has_own_alarm => self.timers.add_retry(position, alarm),
            None => {
                self.waiting.insert(position);
            }
        }
    }

    /// Replaces an event, under a new id. The new one has not failed.
    fn replace(&mut self, position: QueuePosition, subject: EventSubject, now: Moment) {
        self.clear_failure(position, now + self.settings.delay);
        let Some(slot) = self.slots.get_mut(&position) else { return };
        self.index.remove(position, &slot.event.subject);
        self.index.add(position, &subject);
        self.positions.remove(&slot.event.id);
        slot.is_last_try = false;
        slot.failure_rule = FailureRule::Retry;
        slot.event.id = EventId(self.next);
        slot.event.subject = subject;
        self.positions.insert(slot.event.id, position);
        self.next += 1;
    }

    /// Returns true if there is a full event.
    #[must_use]
    pub fn has_full(&self) -> bool {
        self.index.has_full()
    }

    /// Activates these events, all of them or none.
    ///
    /// # Errors
    ///
    /// If one of them is active already, or blocked by an event that is not among them.
    pub fn activate(&mut self, ids: &[EventId]) -> Result<(), EventRefusal> {
        for position in self.ready(ids)? {
            let Some(slot) = self.slots.get_mut(&position) else { continue };
            slot.event.status = EventStatus::Active;
            self.timers.remove(position, slot.event.alarm);
            self.waiting.remove(&position);
        }
        Ok(())
    }

    /// Checks that these events can be activated.
    ///
    /// # Errors
    ///
    /// If one of them is active already, or blocked by an event that is not among them.
    pub fn can_activate(&self, ids: &[EventId]) -> Result<(), EventRefusal> {
        self.ready(ids).map(|_| ())
    }

    fn ready(&self, ids: &[EventId]) -> Result<BTreeSet<QueuePosition>, EventRefusal> {
        let mut positions = BTreeSet::new();
        for id in ids {
            positions.insert(*self.positions.get(id).ok_or(EventRefusal::Gone)?);
        }
        for slot in positions.iter().filter_map(|position| self.slots.get(position)) {
            let outside = |blocker: QueuePosition| !positions.contains(&blocker);
            if slot.event.status == EventStatus::Active || slot.blocker.is_some_and(outside) {
                return Err(EventRefusal::InStatus(slot.event.status));
            }
        }
        Ok(positions)
    }

    /// Drops an event.
    ///
    /// # Errors
    ///
    /// If it is active or blocked.
    pub fn discard(&mut self, id: EventId) -> Result<(), EventRefusal> {
        match self.get(id).ok_or(EventRefusal::Gone)?.status {
            EventStatus::Wait => self.settle(&[id], EventOutcome::Done),
            status @ (EventStatus::Block | EventStatus::Active) => {
                return Err(EventRefusal::InStatus(status));
            }
        }
        Ok(())
    }

    /// Handles the outcome of the work on these events. Unknown ids are ignored.
    pub fn settle(&mut self, ids: &[EventId], ended: EventOutcome) {
        match ended {
            EventOutcome::Done => {
                self.failed_events.count_success(ids.iter().any(|id| self.has_failed(*id)));
                self.finish(ids);
            }
            EventOutcome::Failed(attempt) => self.fail(ids, &attempt),
        }
    }

    fn finish(&mut self, ids: &[EventId]) {
        let mut freed = Vec::new();
        for id in ids {
            let Some(position) = self.positions.remove(id) else { continue };
            let Some(slot) = self.slots.remove(&position) else { continue };
            self.index.remove(position, &slot.event.subject);
            if slot.event.failure.is_some() {
                self.failed_events.remove(position, &slot.event.subject);
            }
            self.timers.remove(position, slot.event.alarm);
            self.waiting.remove(&position);
            freed.extend(slot.blocked.into_iter().map(|it| (position, it)));
        }
        for (blocker, position) in freed {
            self.unblock(position, blocker);
        }
    }

    /// Unblocks an event, unless another related one is before it.
    fn unblock(&mut self, position: QueuePosition, blocker: QueuePosition) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        if slot.blocker != Some(blocker) {
            return;
        }
        slot.blocker = None;
        if slot.event.status == EventStatus::Block {
            let subject = slot.event.subject.clone();
            let next = self.newest(&subject, position);
            self.wait_for(position, next);
        }
    }

    /// Drops all events. The outcome of active ones is ignored.
    pub fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::new(self.settings) };
    }
}
