//! Places that wait for the same thing, and since when.

use crate::{
    job::{Place, Rename, Scope},
    path::TreePath,
    queue::{Inserted, Limits, Pace, PlaceSet, Seq, hints::Hints},
    time::Moment,
};

/// When a mark was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) seq: Seq,
    pub(super) at: Moment,
}

impl Stamp {
    /// The earlier of two stamps.
    pub(super) fn oldest(self, other: Self) -> Self {
        Self { seq: self.seq.min(other.seq), at: self.at.min(other.at) }
    }
}

/// The time that a group of marks spans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    /// The first mark. `None` if the group holds only places whose rest is over: their age is
    /// kept with their failure.
    pub(super) first: Option<Stamp>,
    /// When the last mark was made.
    newest: Moment,
    /// Since when the group is due, whatever the pace says.
    ripe: Option<Moment>,
}

impl Span {
    /// The span of one mark.
    pub(super) const fn mark(stamp: Stamp) -> Self {
        Self { first: Some(stamp), newest: stamp.at, ripe: None }
    }

    /// The span of one mark that is due at once.
    pub(super) const fn ripe(stamp: Stamp) -> Self {
        Self { first: Some(stamp), newest: stamp.at, ripe: Some(stamp.at) }
    }

    /// The span of a place whose rest ended at `now`.
    pub(super) const fn woken(now: Moment) -> Self {
        Self { first: None, newest: Moment::ORIGIN, ripe: Some(now) }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.first = self.first.into_iter().chain(other.first).reduce(Stamp::oldest);
        self.newest = self.newest.max(other.newest);
        self.ripe = self.ripe.into_iter().chain(other.ripe).min();
    }
}

/// Whether places were joined into larger ones that nobody had marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Grown {
    No,
    Yes,
}

/// Places that wait for the same thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) places: PlaceSet,
    pub(super) span: Span,
    /// Renames with both ends covered by `places`.
    pub(super) hints: Hints,
}

impl Group {
    /// Adds a place. One place too many in a directory, or in all, makes larger places.
    pub(super) fn add(&mut self, place: &Place, span: Span, limits: &Limits) -> Grown {
        self.span.join(span);
        let mut grown = Grown::No;
        let mut inserted = self.places.insert(&place.path, place.scope);
        let mut path = place.path.parent();
        while let (Inserted::Kept { crowd }, Some(directory)) = (inserted, path)
            && crowd > limits.in_directory
        {
            inserted = self.places.insert(&directory, Scope::Tree);
            path = directory.parent();
            grown = Grown::Yes;
        }
        if self.places.len() > limits.places {
            self.places.collapse(limits.places / 2, limits.in_directory);
            grown = Grown::Yes;
        }
        grown
    }

    /// Adds a hint. Its ends have to be among the places already.
    pub(super) fn hint(&mut self, hint: Rename, limits: &Limits) {
        self.hints.add(hint, limits.hints);
    }

    /// Adds all of `other`, whose marks are the older ones.
    pub(super) fn append_older(&mut self, mut other: Self, limits: &Limits) -> Grown {
        for hint in self.hints.iter() {
            other.hint(hint.clone(), limits);
        }
        self.hints = other.hints;
        if self.places.len() < other.places.len() {
            core::mem::swap(&mut self.places, &mut other.places);
        }
        self.span.join(other.span);
        let mut grown = Grown::No;
        for place in &other.places {
            if self.add(&place, Span::default(), limits) == Grown::Yes {
                grown = Grown::Yes;
            }
        }
        grown
    }

    /// How much of this end of a hint is among the places.
    pub(super) fn scope_of(&self, path: &TreePath) -> Scope {
        if self.places.covers(path, Scope::Tree) { Scope::Tree } else { Scope::Entry }
    }

    /// When the group is due. `None` if it is empty.
    pub(super) fn due(&self, pace: Pace) -> Option<Moment> {
        if self.places.is_empty() {
            return None;
        }
        let span = self.span;
        let paced = span.first.map(|first| pace.due(first.at, span.newest, self.places.len()));
        paced.into_iter().chain(span.ripe).min()
    }
}
