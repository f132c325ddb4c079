//! The queue of a mirror whose changes are told to a script, one by one and in order.
//!
//! Scripts see what the original shows them: every event, and which one waits for which. So the
//! rules by which events meet are its own (`relation`), while what they cost is ours: a push
//! takes steps in proportion to the depth of its path, wherever in the line the event is that it
//! meets.
//!
//! What goes wrong there does not here:
//!
//! - Whatever is taken out of the middle, the rest stays as it is.
//! - What takes the place of another one takes over what waits for that, what that waits for, and
//!   its time: what is behind it is not held up by a file that comes and goes.
//! - What has waited for one event and meets another one before it goes on waiting, for that.
//! - What is tried again keeps its place, and still waits for what it waited for.
//! - What has failed holds up only what depends on it (`failing`).
//! - The time of the next wake-up is the time at which something can be begun, not the earliest of
//!   all alarms.
//! - With much in the queue nothing waits for its delay, but what has failed still rests.

mod clock;
mod entry;
mod failing;
mod index;
mod relation;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

pub use entry::{Entry, Etype, EventId, Status, Trouble};
pub use failing::{Attempt, Blame};
pub use relation::Bond;

use crate::{
    notice::{Change, Kind},
    path::TreePath,
    time::Moment,
};
use clock::Clock;
use entry::Subject;
use failing::Failing;
use index::{Index, Turn};
use relation::{Relation, relation};

/// Events in the order in which they came.
#[derive(Debug)]
pub struct Ordered {
    pace: OrderedPace,
    slots: BTreeMap<Turn, Slot>,
    turns: BTreeMap<EventId, Turn>,
    /// The turns of all that can be worked on when its time and that of all before it has come.
    waiting: BTreeSet<Turn>,
    index: Index,
    failing: Failing,
    clock: Clock,
    next: u64,
}

/// A place in the line: what came before it, and what came behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(Turn);

/// When events are due, and which wait for which.
#[derive(Clone, Copy, Debug)]
pub struct OrderedPace {
    /// How old an event becomes before it is due.
    pub delay: Duration,
    /// With this many events all are due at once.
    pub max_delays: usize,
    /// How closely events of one name are bound together.
    pub bond: Bond,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// Whether its alarm is its own, and not that of its arrival.
    rests: bool,
    /// Whether it is not tried again if it fails, since what it would bring is gone.
    is_last_try: bool,
    /// What it waits for, or has waited for when it was taken together with that.
    blocker: Option<Turn>,
    /// What waits for it.
    blocks: Vec<Turn>,
}

/// How the work on events ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Done,
    /// It is to be tried again.
    Failed(Attempt),
}

/// Why something cannot be done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such event any more.
    Gone,
    /// It has another status than it would need.
    Is(Status),
}

/// What a script wants of an event that a list could take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It goes into the list.
    Take,
    /// It does not, nor does what waits for it.
    Skip,
    /// Nor does anything behind it.
    Stop,
}

impl Ordered {
    /// An empty queue.
    #[must_use]
    pub fn new(pace: OrderedPace) -> Self {
        Self {
            pace,
            slots: BTreeMap::new(),
            turns: BTreeMap::new(),
            waiting: BTreeSet::new(),
            index: Index::default(),
            failing: Failing::default(),
            clock: Clock::default(),
            next: 1,
        }
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All events, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.slots.values().map(|slot| &slot.entry)
    }

    /// The end of the line as it is now.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark(Turn(self.next))
    }

    /// All events before this place that are not done, oldest first.
    pub fn until(&self, mark: Mark) -> impl Iterator<Item = &Entry> {
        self.slots.range(..mark.0).map(|(_, slot)| &slot.entry)
    }

    /// The event of this name. `None` if it is done, discarded or became another one.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&Entry> {
        Some(&self.slot(id)?.entry)
    }

    /// What this event waits for.
    #[must_use]
    pub fn blocker(&self, id: EventId) -> Option<EventId> {
        let blocker = self.slot(id)?.blocker?;
        self.slots.get(&blocker).map(|slot| slot.entry.id)
    }

    fn slot(&self, id: EventId) -> Option<&Slot> {
        self.slots.get(self.turns.get(&id)?)
    }

    /// Takes in a change of one entry.
    pub fn push(&mut self, change: &Change, now: Moment) {
        let (etype, kind) = (change.edit.into(), change.kind);
        self.place(Subject { etype, path: change.path.clone(), kind, to: None }, now);
    }

    /// Takes in that an entry got another name. Whether that is one event, not a delete and a
    /// create.
    pub fn push_move(&mut self, from: &TreePath, to: &TreePath, kind: Kind, now: Moment) -> bool {
        let (path, to) = (from.clone(), Some(to.clone()));
        self.place(Subject { etype: Etype::Move, path, kind, to }, now)
    }

    /// Adds the event by which a mirror begins. It is due at once.
    pub fn push_init(&mut self) -> EventId {
        self.push_at_once(Etype::Init, TreePath::root())
    }

    /// Adds an event for which all waits that comes later. It waits for nothing itself.
    pub fn push_blanket(&mut self) -> EventId {
        self.push_at_once(Etype::Blanket, TreePath::root())
    }

    /// Adds an event that says that all at and below `path` is to be mirrored.
    pub fn push_full(&mut self, path: TreePath) -> EventId {
        self.push_at_once(Etype::Full, path)
    }

    fn push_at_once(&mut self, etype: Etype, path: TreePath) -> EventId {
        let subject = Subject { etype, path, kind: Kind::Directory, to: None };
        self.append(subject, Moment::ORIGIN, None)
    }

    /// Places a new event by what it has to do with the newest one that it meets. Whether it is
    /// still one.
    fn place(&mut self, new: Subject, now: Moment) -> bool {
        self.take_in_news(&new, now);
        let met = self.newest(&new, Turn::END);
        let Some((turn, old)) = met.and_then(|turn| Some((turn, self.slots.get(&turn)?))) else {
            self.arrive(new, now, None);
            return true;
        };
        let is_active = old.entry.status == Status::Active;
        match relation(&old.entry.subject, &new, self.pace.bond) {
            Relation::Replace if !is_active => self.exchange(turn, new, now),
            Relation::ToDelete if !is_active => {
                let Subject { path, kind, .. } = old.entry.subject.clone();
                self.exchange(turn, Subject { etype: Etype::Delete, path, kind, to: None }, now);
                self.arrive(new, now, Some(turn));
            }
            Relation::Split => {
                let Subject { path, kind, to, .. } = new;
                self.place(Subject { etype: Etype::Delete, path, kind, to: None }, now);
                if let Some(path) = to {
                    self.place(Subject { etype: Etype::Create, path, kind, to: None }, now);
                }
                return false;
            }
            Relation::None | Relation::Stack | Relation::Replace | Relation::ToDelete => {
                self.arrive(new, now, Some(turn));
            }
        }
        true
    }

    fn newest(&self, new: &Subject, before: Turn) -> Option<Turn> {
        let failed = self.failing.index.newest(new, before, Bond::Tight);
        self.index.newest(new, before, self.pace.bond).max(failed)
    }

    fn arrive(&mut self, subject: Subject, now: Moment, blocker: Option<Turn>) {
        let alarm = self.clock.arrive(Turn(self.next), now + self.pace.delay);
        self.append(subject, alarm, blocker);
    }

    fn append(&mut self, subject: Subject, alarm: Moment, blocker: Option<Turn>) -> EventId {
        let (id, turn) = (EventId(self.next), Turn(self.next));
        self.next += 1;
        self.index.add(turn, &subject);
        let entry = Entry { id, subject, status: Status::Wait, alarm, trouble: None };
        let (rests, is_last_try) = (false, false);
        let slot = Slot { entry, rests, is_last_try, blocker: None, blocks: Vec::new() };
        self.slots.insert(turn, slot);
        self.turns.insert(id, turn);
        self.wait_for(turn, blocker);
        id
    }

    /// Lets an event wait for another one, or for none.
    fn wait_for(&mut self, turn: Turn, blocker: Option<Turn>) {
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        slot.blocker = blocker;
        slot.entry.status = if blocker.is_some() { Status::Block } else { Status::Wait };
        let (rests, alarm) = (slot.rests, slot.entry.alarm);
        match blocker.and_then(|blocker| self.slots.get_mut(&blocker)) {
            Some(blocker) => {
                blocker.blocks.push(turn);
                self.waiting.remove(&turn);
                if rests {
                    self.clock.remove(turn, alarm);
                }
            }
            None if rests => self.clock.rest(turn, alarm),
            None => {
                self.waiting.insert(turn);
            }
        }
    }

    /// Puts an event of another name into the place of this one. It has not failed.
    fn exchange(&mut self, turn: Turn, subject: Subject, now: Moment) {
        self.forgive(turn, now + self.pace.delay);
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        self.index.remove(turn, &slot.entry.subject);
        self.index.add(turn, &subject);
        self.turns.remove(&slot.entry.id);
        slot.is_last_try = false;
        slot.entry.id = EventId(self.next);
        slot.entry.subject = subject;
        self.turns.insert(slot.entry.id, turn);
        self.next += 1;
    }

    /// Whether there is a full event that is not done.
    #[must_use]
    pub fn has_full(&self) -> bool {
        self.index.has_full()
    }

    /// When [`first_due`](Self::first_due) will have an answer, if nothing happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        let ready = |turn: &Turn| {
            if self.is_crowded() { Moment::ORIGIN } else { self.clock.ready_at(*turn) }
        };
        let waiting = self.waiting.first().map(ready);
        let resting = self.clock.first_resting().map(|(alarm, _)| alarm);
        waiting.into_iter().chain(resting).min()
    }

    /// The oldest event that is due and waits for nothing.
    #[must_use]
    pub fn first_due(&self, now: Moment) -> Option<&Entry> {
        let end = if self.is_crowded() { Turn::END } else { self.clock.first_early(now) };
        let waiting = self.waiting.first().filter(|turn| **turn < end).copied();
        let resting = self.clock.first_resting().filter(|&(alarm, _)| alarm <= now);
        let turn = waiting.into_iter().chain(resting.map(|(_, turn)| turn)).min()?;
        self.slots.get(&turn).map(|slot| &slot.entry)
    }

    /// Whether there is so much that nothing waits for its delay.
    fn is_crowded(&self) -> bool {
        self.len() >= self.pace.max_delays
    }

    /// Whether nothing can be worked on but what has failed, or has an alarm of its own.
    #[must_use]
    pub fn only_rests(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The events that one list takes, whether their delay is over or not: neither what is being worked
    /// on nor what is not wanted, and nothing that waits for any of that or would have to. What has failed
    /// is not mixed with what has not, nor taken before it is due.
    pub fn select(&self, now: Moment, mut pick: impl FnMut(&Entry) -> Pick) -> Vec<EventId> {
        let mut taken = Vec::new();
        let mut left = BTreeSet::new();
        // What an event waits for may be taken, and not what it met besides.
        let mut met = Index::default();
        let mut sort = None;
        for (&turn, slot) in &self.slots {
            let Entry { id, subject, status, .. } = &slot.entry;
            if self.failing.is_enough(sort, taken.len()) {
                break;
            }
            let waits = slot.blocker.is_some_and(|blocker| left.contains(&blocker));
            let is_held = *status == Status::Active
                || waits
                || !slot.entry.fits(sort, now)
                || met.newest(subject, turn, self.pace.bond).is_some();
            let wanted = if is_held { Pick::Skip } else { pick(&slot.entry) };
            match wanted {
                Pick::Take => {
                    sort.get_or_insert(slot.entry.sort());
                    taken.push(*id);
                }
                Pick::Skip => {
                    left.insert(turn);
                    met.add(turn, subject);
                }
                Pick::Stop => break,
            }
        }
        taken
    }

    /// These events are being worked on from now on, all of them or none.
    ///
    /// # Errors
    ///
    /// If one of them is being worked on already, or waits for one that is not among them.
    pub fn activate(&mut self, ids: &[EventId]) -> Result<(), Refused> {
        for turn in self.ready(ids)? {
            let Some(slot) = self.slots.get_mut(&turn) else { continue };
            slot.entry.status = Status::Active;
            self.clock.remove(turn, slot.entry.alarm);
            self.waiting.remove(&turn);
        }
        Ok(())
    }

    /// Whether these events could be worked on now, all of them.
    ///
    /// # Errors
    ///
    /// If one of them is being worked on already, or waits for one that is not among them.
    pub fn may_activate(&self, ids: &[EventId]) -> Result<(), Refused> {
        self.ready(ids).map(|_| ())
    }

    fn ready(&self, ids: &[EventId]) -> Result<BTreeSet<Turn>, Refused> {
        let mut turns = BTreeSet::new();
        for id in ids {
            turns.insert(*self.turns.get(id).ok_or(Refused::Gone)?);
        }
        for slot in turns.iter().filter_map(|turn| self.slots.get(turn)) {
            let outside = |blocker: Turn| !turns.contains(&blocker);
            if slot.entry.status == Status::Active || slot.blocker.is_some_and(outside) {
                return Err(Refused::Is(slot.entry.status));
            }
        }
        Ok(turns)
    }

    /// Drops an event that waits for nothing.
    ///
    /// # Errors
    ///
    /// If it is being worked on, or waits for another one.
    pub fn discard(&mut self, id: EventId) -> Result<(), Refused> {
        match self.get(id).ok_or(Refused::Gone)?.status {
            Status::Wait => self.settle(&[id], Ended::Done),
            status => return Err(Refused::Is(status)),
        }
        Ok(())
    }

    /// Takes in how the work on these events ended. Those that are not there any more do not
    /// matter.
    pub fn settle(&mut self, ids: &[EventId], ended: Ended) {
        match ended {
            Ended::Done => {
                self.failing.count_success(ids.iter().any(|id| self.has_failed(*id)));
                self.finish(ids);
            }
            Ended::Failed(attempt) => self.fail(ids, &attempt),
        }
    }

    fn finish(&mut self, ids: &[EventId]) {
        let mut freed = Vec::new();
        for id in ids {
            let Some(turn) = self.turns.remove(id) else { continue };
            let Some(slot) = self.slots.remove(&turn) else { continue };
            self.index.remove(turn, &slot.entry.subject);
            if slot.entry.trouble.is_some() {
                self.failing.remove(turn, &slot.entry.subject);
            }
            self.clock.remove(turn, slot.entry.alarm);
            self.waiting.remove(&turn);
            freed.extend(slot.blocks.into_iter().map(|it| (turn, it)));
        }
        for (blocker, turn) in freed {
            self.free(turn, blocker);
        }
    }

    /// What this event waited for is done: it goes on waiting if it meets another one before it.
    fn free(&mut self, turn: Turn, blocker: Turn) {
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        if slot.blocker != Some(blocker) {
            return;
        }
        slot.blocker = None;
        if slot.entry.status == Status::Block {
            let subject = slot.entry.subject.clone();
            let next = self.newest(&subject, turn);
            self.wait_for(turn, next);
        }
    }

    /// Drops everything, also what is being worked on: how that ends does not matter any more.
    pub fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::new(self.pace) };
    }
}
