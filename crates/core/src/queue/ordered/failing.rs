//! Events whose work has failed: when they are tried again, and who waits for them.
//!
//! Each rests by itself, longer from time to time. What depends on it waits: what lies above or below it,
//! and all later events of its name; everything else goes on. When what it would bring is gone again, it is
//! not tried more than twice.
//!
//! Of a list that has failed nobody knows which of its events is to blame. They are tried again, and then in
//! lists half as long each time, until one has failed alone: that one is tried alone from then on. As soon as something
//! succeeds that had failed, the lists grow again.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{
    Ordered,
    entry::{Entry, Etype, EventId, Status, Subject, Trouble},
    index::{Index, Turn},
    relation::Bond,
};
use crate::{path::TreePath, queue::LONGEST_REST, time::Moment};

/// A try that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub now: Moment,
    /// How long an event rests that has failed for the first time. Each further failure doubles that, up to
    /// [`LONGEST_REST`].
    pub pause: Duration,
    /// Which of its events have failed.
    pub blame: Blame,
    /// Why it failed.
    pub why: Arc<str>,
}

/// Which of several events have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Each of them.
    Each,
    /// One at least.
    Some,
}

/// Which events can be in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Those that have not failed.
    Fresh,
    /// Those that were in a list that has failed.
    Suspect,
    /// One that has failed alone.
    Alone,
}

/// What is known of those that have failed.
#[derive(Debug)]
pub(super) struct Failing {
    /// By what they are about.
    pub(super) index: Index,
    count: usize,
    /// The most suspects that one list takes.
    most: usize,
}

impl Default for Failing {
    fn default() -> Self {
        Self { index: Index::default(), count: 0, most: usize::MAX }
    }
}

impl Failing {
    pub(super) fn remove(&mut self, turn: Turn, subject: &Subject) {
        self.index.remove(turn, subject);
        self.count = self.count.saturating_sub(1);
    }

    /// Something has succeeded. If it had failed before, so may others.
    pub(super) const fn count_success(&mut self, had_failed: bool) {
        if had_failed {
            self.most = self.most.saturating_mul(2);
        }
    }

    /// Whether a list that has so many events takes no more.
    pub(super) const fn is_enough(&self, sort: Option<Sort>, count: usize) -> bool {
        match sort {
            None | Some(Sort::Fresh) => false,
            Some(Sort::Suspect) => count >= self.most,
            Some(Sort::Alone) => true,
        }
    }
}

impl Entry {
    pub(super) const fn sort(&self) -> Sort {
        match &self.trouble {
            None => Sort::Fresh,
            Some(Trouble { is_alone: false, .. }) => Sort::Suspect,
            Some(Trouble { is_alone: true, .. }) => Sort::Alone,
        }
    }

    /// Whether it can be in a list of this sort at `now`.
    pub(super) fn fits(&self, sort: Option<Sort>, now: Moment) -> bool {
        let is_ready = self.trouble.is_none() || self.alarm <= now;
        is_ready && sort.is_none_or(|sort| sort == self.sort())
    }

    /// Whether it brings something that is there.
    const fn brings(&self) -> bool {
        matches!(self.etype(), Etype::Create | Etype::Modify | Etype::Attrib)
    }
}

impl Ordered {
    /// Whether the last try of this event has failed.
    pub(super) fn has_failed(&self, id: EventId) -> bool {
        self.get(id).is_some_and(|entry| entry.trouble.is_some())
    }

    /// How many events have failed and are not done.
    #[must_use]
    pub const fn failed_count(&self) -> usize {
        self.failing.count
    }

    /// The events that have failed and are not done, oldest first.
    pub fn failed(&self) -> impl Iterator<Item = (&Entry, &Trouble)> {
        let is_any = self.failing.count > 0;
        let entries = self.iter().take_while(move |_| is_any);
        entries.filter_map(|entry| Some((entry, entry.trouble()?)))
    }

    pub(super) fn fail(&mut self, ids: &[EventId], attempt: &Attempt) {
        let is_alone = attempt.blame == Blame::Each || ids.len() == 1;
        if !is_alone && !ids.is_empty() {
            // The first time it may have been something else than one of them.
            let is_first = !ids.iter().any(|id| self.has_failed(*id));
            let most = if is_first { ids.len() } else { ids.len() / 2 };
            self.failing.most = self.failing.most.min(most).max(1);
        }
        for id in ids {
            self.rest(*id, is_alone, attempt);
        }
    }

    fn rest(&mut self, id: EventId, is_alone: bool, attempt: &Attempt) {
        let Some(&turn) = self.turns.get(&id) else { return };
        if self.has_failed(id) && self.is_over(turn) {
            return self.drop_event(turn, attempt.now);
        }
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        self.clock.remove(turn, slot.entry.alarm);
        self.waiting.remove(&turn);
        let was = slot.entry.trouble.take();
        let tries = was.as_ref().map_or(0, |was| was.tries) + u32::from(is_alone);
        slot.entry.alarm = match was {
            _ if is_alone => attempt.now + rest_of(attempt.pause, tries, turn),
            // It is tried in another way.
            Some(_) => attempt.now,
            None => attempt.now + attempt.pause,
        };
        slot.rests = true;
        slot.entry.trouble = Some(Trouble {
            tries,
            is_alone,
            why: Arc::clone(&attempt.why),
            soonest: attempt.now + attempt.pause,
        });
        let (subject, blocker) = (slot.entry.subject.clone(), slot.blocker);
        if was.is_none() {
            self.failing.index.add(turn, &subject);
            self.failing.count += 1;
        }
        self.rest_behind(turn, &subject, blocker);
        self.let_wait_behind(turn, &subject);
    }

    /// Of these events nobody knows whether the work on them succeeded, since it did not on others: they are
    /// to be worked on again at once.
    pub fn release(&mut self, ids: &[EventId], now: Moment) {
        for id in ids {
            let Some(&turn) = self.turns.get(id) else { continue };
            let Some(slot) = self.slots.get_mut(&turn) else { continue };
            (slot.entry.alarm, slot.rests) = (now, true);
            let (subject, blocker) = (slot.entry.subject.clone(), slot.blocker);
            self.rest_behind(turn, &subject, blocker);
        }
    }

    /// If these fail again, that counts as the first time.
    pub fn forget_tries(&mut self, ids: &[EventId]) {
        for id in ids {
            let turn = self.turns.get(id);
            let slot = turn.and_then(|turn| self.slots.get_mut(turn));
            if let Some(trouble) = slot.and_then(|slot| slot.entry.trouble.as_mut()) {
                trouble.tries = 0;
            }
        }
    }

    /// It goes on waiting for what it waited for, or waits for another one that has failed.
    fn rest_behind(&mut self, turn: Turn, subject: &Subject, blocker: Option<Turn>) {
        if blocker.is_some() {
            if let Some(slot) = self.slots.get_mut(&turn) {
                slot.entry.status = Status::Block;
            }
            return;
        }
        let is_free = subject.etype == Etype::Full || subject.etype.is_barrier();
        let failed =
            (!is_free).then(|| self.failing.index.newest(subject, turn, Bond::Tight)).flatten();
        self.wait_for(turn, failed);
    }

    /// What came later and is about the same name waits, even where events of one name do not otherwise.
    fn let_wait_behind(&mut self, turn: Turn, subject: &Subject) {
        if subject.etype == Etype::Full || subject.etype.is_barrier() {
            return;
        }
        for later in self.index.behind(subject, turn) {
            let is_free = |slot: &super::Slot| slot.entry.status == Status::Wait;
            if self.slots.get(&later).is_some_and(is_free) {
                self.wait_for(later, Some(turn));
            }
        }
    }

    /// Whether what it would bring is gone, as a later event says.
    fn is_over(&self, turn: Turn) -> bool {
        let Some(slot) = self.slots.get(&turn) else { return false };
        let entry = &slot.entry;
        let path = match entry.to() {
            _ if slot.is_last_try => return true,
            Some(to) => to,
            None if entry.brings() => entry.path(),
            None => return false,
        };
        let is_delete = |turn: &Turn| {
            self.slots.get(turn).is_some_and(|slot| slot.entry.etype() == Etype::Delete)
        };
        self.index.may_end(path, turn).iter().any(is_delete)
    }

    /// What it would bring is gone: there is nothing to be done, or the old name to be deleted.
    fn drop_event(&mut self, turn: Turn, now: Moment) {
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        let Entry { id, subject, .. } = slot.entry.clone();
        if subject.etype != Etype::Move {
            return self.finish(&[id]);
        }
        let blocker = slot.blocker;
        self.exchange(turn, Subject { etype: Etype::Delete, to: None, ..subject }, now);
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        self.clock.remove(turn, slot.entry.alarm);
        slot.entry.alarm = now;
        slot.rests = true;
        slot.entry.status = Status::Block;
        if blocker.is_none() {
            self.wait_for(turn, None);
        }
    }

    /// An event does not count as failed any more: another one takes its place, and is due at `alarm`.
    pub(super) fn forgive(&mut self, turn: Turn, alarm: Moment) {
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        if slot.entry.trouble.take().is_none() {
            return;
        }
        self.failing.remove(turn, &slot.entry.subject);
        self.set_alarm(turn, alarm);
    }

    fn set_alarm(&mut self, turn: Turn, alarm: Moment) {
        let Some(slot) = self.slots.get_mut(&turn) else { return };
        self.clock.remove(turn, slot.entry.alarm);
        slot.entry.alarm = alarm;
        if slot.entry.status == Status::Wait {
            self.clock.rest(turn, alarm);
        }
    }

    /// What a new event means for those that have failed: what has been deleted is not brought any more, and
    /// what has changed may succeed now.
    pub(super) fn take_in_news(&mut self, new: &Subject, now: Moment) {
        if self.failing.count == 0 {
            return;
        }
        if new.etype == Etype::Delete {
            self.drop_below(&new.path, |_| true, now);
        }
        for turn in self.failing.index.behind(new, Turn::FIRST) {
            let Some(entry) = self.slots.get(&turn).map(|slot| &slot.entry) else { continue };
            let soonest = entry.trouble.as_ref().map_or(entry.alarm, |trouble| trouble.soonest);
            if entry.status != Status::Active && soonest < entry.alarm {
                self.set_alarm(turn, soonest);
            }
        }
    }

    /// It is known what a directory holds: nothing else is brought that would be in it.
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

    /// Drops what would bring something at or below this path that is gone and has failed more than once, or
    /// waits for such.
    fn drop_below(&mut self, path: &TreePath, is_gone: impl Fn(&TreePath) -> bool, now: Moment) {
        if self.failing.count == 0 {
            return;
        }
        let is_gone = |it: &TreePath| path.contains(it) && is_gone(it);
        let mut over: Vec<_> = self.failing.index.at_and_below(path).into_iter().collect();
        while let Some(turn) = over.pop() {
            let Some(slot) = self.slots.get_mut(&turn) else { continue };
            let entry = &slot.entry;
            let is_over = match entry.to() {
                Some(to) => entry.trouble.is_some() && is_gone(to),
                None => entry.brings() && is_gone(entry.path()),
            };
            let may_be_tried = entry.status == Status::Active
                || entry.trouble.as_ref().is_some_and(|trouble| trouble.tries < 2);
            if is_over && may_be_tried {
                slot.is_last_try = true;
            } else if is_over {
                let blocks = slot.blocks.clone();
                over.extend(blocks.into_iter().filter(|it| self.waits_for(*it, turn)));
                self.drop_event(turn, now);
            }
        }
    }

    fn waits_for(&self, turn: Turn, blocker: Turn) -> bool {
        self.slots
            .get(&turn)
            .is_some_and(|slot| slot.entry.status == Status::Block && slot.blocker == Some(blocker))
    }

    /// Whatever has failed is due at once, in lists as long as they may be.
    pub fn retry_now(&mut self) {
        self.try_all_again();
        self.failing.most = usize::MAX;
        for slot in self.slots.values_mut() {
            if let Some(trouble) = &mut slot.entry.trouble {
                trouble.tries = 0;
            }
        }
    }

    /// What has failed may succeed now: all of it is due at once, and nothing is forgotten.
    pub fn try_all_again(&mut self) {
        for turn in self.clock.take_resting() {
            self.clock.rest(turn, Moment::ORIGIN);
            let Some(slot) = self.slots.get_mut(&turn) else { continue };
            slot.entry.alarm = Moment::ORIGIN;
        }
        for slot in self.slots.values_mut().filter(|slot| slot.entry.status != Status::Active) {
            if let Some(trouble) = &mut slot.entry.trouble {
                trouble.is_alone = false;
                slot.entry.alarm = Moment::ORIGIN;
            }
        }
    }
}

/// How long an event rests after so many failures of its own. What failed together spreads.
pub(super) fn rest_of(pause: Duration, tries: u32, turn: Turn) -> Duration {
    let factor = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let rest = pause.saturating_mul(factor).min(LONGEST_REST.max(pause));
    let percent = turn.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let percent = u32::try_from(percent % 25).unwrap_or(0);
    if tries <= 1 { rest } else { rest.saturating_sub(rest / 100 * percent) }
}
