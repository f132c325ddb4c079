//! Relations between events, as in the original (section "Events" of
//! `docs/original-behaviour.md`).
//!
//! One difference: a name is the same for a directory and a file. Otherwise the delete of a
//! directory could be processed after the create of the file that took its name.

use super::event::{Etype, EventSubject};
use crate::{fs_event::EntryKind, path::TreePath};

/// The consequence of a new event for the newest old one that is related to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is blocked by the old one.
    Stack,
    /// It replaces the old one.
    Replace,
    /// The destination of the old move is gone: the move becomes a delete, which blocks the new
    /// event.
    ToDelete,
    /// The new move becomes a delete and a create.
    Split,
}

/// The coupling of events of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// As by the original: events of one file are independent. That suffices if they are processed
    /// one after the other.
    Loose,
    /// Events of one file block one another, so that several can be active without a conflict.
    Tight,
}

/// One name of an event.
#[derive(Clone, Copy)]
struct EventEnd<'a> {
    path: &'a TreePath,
    kind: EntryKind,
}

impl<'a> EventEnd<'a> {
    const fn new(subject: &EventSubject, path: &'a TreePath) -> Self {
        Self { path, kind: subject.kind }
    }

    fn is(self, other: Self) -> bool {
        self.path == other.path
    }

    /// Returns true if two events of this one name block one another.
    fn binds(self, other: Self, coupling: Coupling) -> bool {
        self.is(other) && (coupling == Coupling::Tight || self.kind != other.kind)
    }

    /// Returns true if one of them is a directory that contains the other.
    fn nests(self, other: Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    fn holds(self, other: Self) -> bool {
        self.kind == EntryKind::Directory
            && self.path.contains(other.path)
            && (self.path != other.path || other.kind == EntryKind::Directory)
    }

    fn meets(self, other: Self) -> bool {
        self.is(other) || self.nests(other)
    }
}

/// The relation of `new` to `old`, which the index found as the newest related one.
pub(super) fn relation(old: &EventSubject, new: &EventSubject, coupling: Coupling) -> Relation {
    if old.etype.is_barrier() {
        return Relation::Stack;
    }
    let (from, at) = (EventEnd::new(old, &old.path), EventEnd::new(new, &new.path));
    match (&old.to, &new.to) {
        (None, None) => {
            let is_file = old.kind == EntryKind::Other && new.kind == EntryKind::Other;
            let is_recreated = (old.etype, new.etype) == (Etype::Delete, Etype::Create);
            if from.is(at) && is_file && is_recreated { Relation::Replace } else { Relation::Stack }
        }
        (Some(to), None) => {
            let is_other = matches!(new.etype, Etype::Create | Etype::Delete);
            let is_end_only = EventEnd::new(old, to).is(at) && !from.meets(at);
            if is_end_only && is_other { Relation::ToDelete } else { Relation::Stack }
        }
        (old_to, Some(to)) => {
            let to = EventEnd::new(new, to);
            let mut meets = from.meets(at) || from.meets(to);
            if let Some(old_to) = old_to {
                let old_to = EventEnd::new(old, old_to);
                meets |= old_to.meets(at) || old_to.nests(to) || old_to.binds(to, coupling);
            }
            // A failed move to the same name blocks the new one, even if they are independent.
            if meets { Relation::Split } else { Relation::Stack }
        }
    }
}
