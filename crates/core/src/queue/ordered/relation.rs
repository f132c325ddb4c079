//! Which events have to do with one another, as the original sees it (lsyncd-behaviour.md 7.5).
//!
//! In one thing it differs: a name is the same whether a directory bears it or a file. Else the
//! delete of a directory could come after the create of the file that took its name.

use super::entry::{Etype, Subject};
use crate::{notice::Kind, path::TreePath};

/// What a new event has to do with one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Nothing.
    None,
    /// It waits for the old one.
    Stack,
    /// It takes the place of the old one.
    Replace,
    /// What was moved is gone from its new name: the move becomes a delete, for which it waits.
    ToDelete,
    /// The new one, a move, becomes a delete and a create.
    Split,
}

/// How closely events of one name are bound together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// As by the original: events of one file do not wait for one another. That is enough where
    /// they are worked on one after the other.
    Loose,
    /// They do, so that several can be worked on at once and no two meet at one name.
    Tight,
}

/// One name that an event is about.
#[derive(Clone, Copy)]
struct End<'a> {
    path: &'a TreePath,
    kind: Kind,
}

impl End<'_> {
    fn is(self, other: Self) -> bool {
        self.path == other.path
    }

    /// Whether two events of this one name wait for one another.
    fn binds(self, other: Self, bond: Bond) -> bool {
        self.is(other) && (bond == Bond::Tight || self.kind != other.kind)
    }

    /// Whether one of them is a directory that holds the other.
    fn nests(self, other: Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    fn holds(self, other: Self) -> bool {
        self.kind == Kind::Directory
            && self.path.contains(other.path)
            && (self.path != other.path || other.kind == Kind::Directory)
    }

    fn meets(self, other: Self) -> bool {
        self.is(other) || self.nests(other)
    }
}

/// What `new` has to do with `old`, which came before.
pub(super) fn relation(old: &Subject, new: &Subject, bond: Bond) -> Relation {
    if old.etype == Etype::Full || new.etype == Etype::Full {
        return Relation::None;
    }
    if old.etype.is_barrier() || new.etype.is_barrier() {
        return Relation::Stack;
    }
    let end = |subject: &Subject, path| End { path, kind: subject.kind };
    let (from, at) = (end(old, &old.path), end(new, &new.path));
    match (&old.to, &new.to) {
        (None, None) => same_or_near(from, at, (old.etype, new.etype), bond),
        (Some(to), None) => behind_move((from, end(old, to)), at, new.etype),
        (old_to, Some(to)) => {
            let to = end(new, to);
            let mut meets = from.meets(at) || from.meets(to);
            if let Some(old_to) = old_to {
                let old_to = end(old, old_to);
                meets |= old_to.meets(at) || old_to.nests(to) || old_to.binds(to, bond);
            }
            if meets { Relation::Split } else { Relation::None }
        }
    }
}

fn same_or_near(old: End<'_>, new: End<'_>, etypes: (Etype, Etype), bond: Bond) -> Relation {
    let is_file = old.kind == Kind::Other && new.kind == Kind::Other;
    if old.is(new) && is_file && etypes == (Etype::Delete, Etype::Create) {
        return Relation::Replace;
    }
    if old.nests(new) || old.binds(new, bond) { Relation::Stack } else { Relation::None }
}

fn behind_move((from, to): (End<'_>, End<'_>), new: End<'_>, etype: Etype) -> Relation {
    if from.meets(new) {
        return Relation::Stack;
    }
    let is_other = matches!(etype, Etype::Create | Etype::Delete);
    if to.is(new) && is_other {
        Relation::ToDelete
    } else if to.meets(new) {
        Relation::Stack
    } else {
        Relation::None
    }
}
