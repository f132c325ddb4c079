//! Full events, and the older events beside them.
//!
//! A full event is not blocked, so an older event that fails, or is blocked, is processed after it,
//! when the target is newer than that event:
//!
//! - A move would rename what the full event has brought under the old name. It becomes a delete
//!   and a create, which the events of the old name follow.
//! - Where changes were lost, no event follows: a delete would remove what the full event has
//!   brought. So a full event that makes up for them replaces the older events.

use alloc::vec::Vec;
use core::mem;

use super::{
    EventQueue,
    event::{Etype, EventId, EventStatus, EventSubject, QueuedEvent},
    index::QueuePosition,
};
use crate::{fs_event::EntryKind, path::TreePath, time::Moment};

/// The consequence of a failure for an active event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureRule {
    /// It is retried.
    #[default]
    Retry,
    /// If it is a move, it becomes a delete and a create.
    Split,
    /// It is dropped. If it is a move, it becomes the create of its new name.
    Replaced,
}

impl EventQueue {
    /// Adds a full event for everything at and below `path`.
    pub fn push_full(&mut self, path: TreePath) -> EventId {
        let is_first = !self.index.has_full();
        let id = self.push_at_once(Etype::Full, path);
        // Beside a full event there are no moves that wait.
        if is_first {
            let is_move = |slot: &super::EventSlot| slot.event.etype() == Etype::Move;
            let moves = self.slots.iter().filter(|(_, slot)| is_move(slot));
            let moves: Vec<_> = moves.map(|(position, _)| *position).collect();
            for position in moves {
                self.limit_retries(position, FailureRule::Split);
            }
        }
        id
    }

    /// Adds a full event that makes up for lost events. It replaces all older events at and below
    /// `path`.
    pub fn push_full_for_lost(&mut self, path: &TreePath) -> EventId {
        let id = self.push_full(path.clone());
        let mut replaced = Vec::new();
        for position in self.index.at_and_below(path) {
            let Some(slot) = self.slots.get(&position) else { continue };
            let starts_below = path.contains(slot.event.path());
            let rule = if starts_below { FailureRule::Replaced } else { FailureRule::Split };
            match slot.event.status {
                EventStatus::Active => self.limit_retries(position, rule),
                EventStatus::Wait | EventStatus::Block => replaced.push(slot.event.id),
            }
        }
        self.finish(&replaced);
        id
    }

    /// The consequence of a failure for this event.
    pub(crate) fn failure_rule(&self, id: EventId) -> FailureRule {
        self.slot(id).map_or(FailureRule::Retry, |slot| slot.failure_rule)
    }

    /// Removes and returns the directories that a split move created: their entries have no events.
    pub(crate) fn take_unlisted(&mut self) -> Vec<TreePath> {
        mem::take(&mut self.unlisted)
    }

    /// The directories that a split move created.
    pub(crate) fn unlisted(&self) -> &[TreePath] {
        &self.unlisted
    }

    /// Applies the rule at once, or at its failure if the event is active.
    fn limit_retries(&mut self, position: QueuePosition, rule: FailureRule) {
        let Some(slot) = self.slots.get_mut(&position) else { return };
        match slot.event.status {
            EventStatus::Active => slot.failure_rule = slot.failure_rule.max(rule),
            EventStatus::Wait | EventStatus::Block => self.split_move(position, Moment::ORIGIN),
        }
    }

    /// Applies the rule of an event that was active and has failed. Returns true if it is not
    /// retried.
    pub(super) fn apply_failure_rule(&mut self, position: QueuePosition, now: Moment) -> bool {
        let Some(slot) = self.slots.get(&position) else { return false };
        let QueuedEvent { id, subject, .. } = slot.event.clone();
        match slot.failure_rule {
            FailureRule::Split if subject.etype == Etype::Move => self.split_move(position, now),
            FailureRule::Retry | FailureRule::Split => return false,
            FailureRule::Replaced => {
                let is_obsolete = self.is_obsolete(position);
                self.finish(&[id]);
                if !is_obsolete {
                    self.insert_destination(subject, now);
                }
            }
        }
        true
    }

    /// Turns a move into the delete of its old name, in its place, and the create of its new one,
    /// unless that is gone.
    fn split_move(&mut self, position: QueuePosition, now: Moment) {
        let is_obsolete = self.is_obsolete(position);
        let Some(slot) = self.slots.get(&position) else { return };
        let QueuedEvent { subject, status, failure, .. } = slot.event.clone();
        // The create of another move may have replaced it.
        if subject.etype != Etype::Move {
            return;
        }
        if status == EventStatus::Active || failure.is_some() {
            self.drop_event(position, now);
        } else {
            let delete = EventSubject { etype: Etype::Delete, to: None, ..subject.clone() };
            self.replace(position, delete, now);
        }
        if !is_obsolete {
            self.insert_destination(subject, now);
        }
    }

    /// Inserts the create of the new name of a move.
    fn insert_destination(&mut self, subject: EventSubject, now: Moment) {
        let EventSubject { kind, to: Some(path), .. } = subject else { return };
        if kind == EntryKind::Directory {
            self.unlisted.push(path.clone());
        }
        self.insert_related(EventSubject { etype: Etype::Create, path, kind, to: None }, now);
    }
}
