//! The set in which a dirty path waits.

use core::mem;

use super::DirtySet;
use crate::{
    job::{DirtyPath, Rename, Scope},
    path::TreePath,
    queue::pending::{Collapsed, PendingSet, Span},
    time::Moment,
};

/// A set of pending paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitingPlace {
    Waiting,
    /// It waits apart from the others, because it changes again and again.
    Hot,
    /// It waits for the settlement of this batch in flight.
    Deferred(usize),
}

impl DirtySet {
    /// The span of a mark at `now`.
    pub(super) fn span_of_mark(&mut self, now: Moment) -> Span {
        Span::mark_due_at(now, self.spell.mark(self.debounce, now))
    }

    /// Marks both names of a rename.
    pub(super) fn put_rename(&mut self, from: &TreePath, to: &TreePath, scope: Scope, now: Moment) {
        self.touch(from, scope);
        self.touch(to, scope);
        if self.failed.absorb(from, scope) {
            return self.mark(to, scope, now);
        }
        if self.failed.absorb(to, scope) {
            return self.mark(from, scope, now);
        }
        let span = self.span_of_mark(now);
        self.admit_rename(Rename { from: from.clone(), to: to.clone() }, scope, span);
    }

    /// The set in which a mark has to wait.
    fn place(&self, dirty: &DirtyPath, span: Span) -> WaitingPlace {
        if let Some(at) = self.blocker(dirty) {
            return WaitingPlace::Deferred(at);
        }
        if self.hot.holds(dirty, span) && !self.waiting.paths.covers(&dirty.path, dirty.scope) {
            WaitingPlace::Hot
        } else {
            WaitingPlace::Waiting
        }
    }

    /// The batch in flight that a path has to wait for.
    fn blocker(&self, dirty: &DirtyPath) -> Option<usize> {
        let DirtyPath { path, scope } = dirty;
        let mut in_flight = self.in_flight.iter();
        // A path that joins a deferred one can't repeatedly get ahead of it.
        in_flight
            .clone()
            .position(|flight| flight.deferred.paths.covers(path, *scope))
            .or_else(|| in_flight.position(|flight| flight.paths.overlaps(path, *scope)))
    }

    /// Lets a path wait, unless it does already.
    pub(super) fn admit(&mut self, dirty: &DirtyPath, span: Span) {
        if !self.large.covers(dirty) {
            self.put(self.place(dirty, span), dirty, span);
        }
    }

    /// Both ends are put into the same set, so that they are dispatched together.
    fn admit_rename(&mut self, hint: Rename, scope: Scope, span: Span) {
        let from = DirtyPath { path: hint.from.clone(), scope };
        let to = DirtyPath { path: hint.to.clone(), scope };
        let place = match (self.place(&from, span), self.place(&to, span)) {
            (WaitingPlace::Waiting, place)
            | (WaitingPlace::Hot, place @ (WaitingPlace::Deferred(_) | WaitingPlace::Hot))
            | (place @ (WaitingPlace::Deferred(_) | WaitingPlace::Hot), _) => place,
        };
        self.put(place, &from, span);
        self.put(place, &to, span);
        let limits = self.limits;
        let pending = self.pending_mut(place);
        if pending.paths.covers(&from.path, scope) && pending.paths.covers(&to.path, scope) {
            pending.add_hint(hint, &limits);
        }
    }

    fn pending_mut(&mut self, place: WaitingPlace) -> &mut PendingSet {
        match place {
            WaitingPlace::Waiting => &mut self.waiting,
            WaitingPlace::Hot => &mut self.hot.pending,
            WaitingPlace::Deferred(at) => match self.in_flight.get_mut(at) {
                Some(flight) => &mut flight.deferred,
                None => &mut self.waiting,
            },
        }
    }

    fn put(&mut self, place: WaitingPlace, dirty: &DirtyPath, span: Span) {
        let limits = self.limits;
        let collapsed = self.pending_mut(place).add(dirty, span, &limits);
        if collapsed == Collapsed::Yes && place == WaitingPlace::Waiting {
            self.defer_overlapping();
        }
    }

    /// Lets the hot paths wait with the others, and makes them due.
    pub(super) fn release_hot(&mut self, now: Moment) {
        let hot = self.hot.take(now);
        self.readmit(hot);
    }

    /// Restores the first invariant after waiting paths were replaced by larger ones, which may
    /// touch a batch in flight.
    fn defer_overlapping(&mut self) {
        if !self.in_flight.is_empty() {
            let waiting = mem::take(&mut self.waiting);
            self.readmit(waiting);
        }
    }

    /// Lets paths wait again.
    pub(super) fn readmit(&mut self, pending: PendingSet) {
        if self.in_flight.is_empty() && !self.hot.holds_any(&pending) {
            self.waiting.append_older(pending, &self.limits);
            return;
        }
        for hint in pending.hints.iter() {
            self.admit_rename(hint.clone(), pending.scope_of(&hint.from), pending.span);
        }
        for dirty in &pending.paths {
            self.admit(&dirty, pending.span);
        }
    }
}
