//! Relations between events, as in the original (section "Events" of
//! `docs/original-behaviour.md`).
//!
//! One difference: a name is the same for a directory and a file. Otherwise the delete of a
//! directory could be processed after the create of the file that took its name.

use super::event::{Etype, EventSubject};
use crate::{fs_event::EntryKind, path::TreePath};

/// The relation of a new event to an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// None.
    None,
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

/// The relation of `new` to the earlier `old`.
pub(super) fn relation(old: &EventSubject, new: &EventSubject, coupling: Coupling) -> Relation {
    if old.etype == Etype::Full || new.etype == Etype::Full {
        return Relation::None;
    }
    if old.etype.is_barrier() || new.etype.is_barrier() {
        return Relation::Stack;
    }
    match (&old.to, &new.to) {
        (None, None) => same_or_near(old, new, coupling),
        (Some(to), None) => behind_move(old, EventEnd::new(old, to), new),
        (old_to, Some(to)) => {
            let (from, at) = (EventEnd::new(old, &old.path), EventEnd::new(new, &new.path));
            let to = EventEnd::new(new, to);
            let mut meets = from.meets(at) || from.meets(to);
            if let Some(old_to) = old_to {
                let old_to = EventEnd::new(old, old_to);
                meets |= old_to.meets(at) || old_to.nests(to) || old_to.binds(to, coupling);
            }
            if meets { Relation::Split } else { Relation::None }
        }
    }
}

/// Returns the relation of two events that are no moves.
fn same_or_near(old: &EventSubject, new: &EventSubject, coupling: Coupling) -> Relation {
    let (was, at) = (EventEnd::new(old, &old.path), EventEnd::new(new, &new.path));
    let is_file = old.kind == EntryKind::Other && new.kind == EntryKind::Other;
    if was.is(at) && is_file && (old.etype, new.etype) == (Etype::Delete, Etype::Create) {
        return Relation::Replace;
    }
    if was.nests(at) || was.binds(at, coupling) { Relation::Stack } else { Relation::None }
}

/// Returns the relation of an event that is no move to the earlier move `old`, which leads `to`.
fn behind_move(old: &EventSubject, to: EventEnd<'_>, new: &EventSubject) -> Relation {
    let (from, at) = (EventEnd::new(old, &old.path), EventEnd::new(new, &new.path));
    if from.meets(at) {
        return Relation::Stack;
    }
    let is_other = matches!(new.etype, Etype::Create | Etype::Delete);
    if to.is(at) && is_other {
        Relation::ToDelete
    } else if to.meets(at) {
        Relation::Stack
    } else {
        Relation::None
    }
}
