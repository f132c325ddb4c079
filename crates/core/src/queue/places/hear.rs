//! What was heard of the places, over their batches.

use alloc::{sync::Arc, vec::Vec};

use super::Places;
use crate::{job::Place, path::TreePath, time::Moment};

impl Places {
    /// Takes over what was heard of places that were not settled in `other`, the queue of another
    /// mirror of the same source and target.
    pub fn inherit(&mut self, other: &Self, now: Moment) {
        let mut heard = other.heard.clone();
        for flight in &other.flights {
            heard.append((*flight.heard).clone());
        }
        for Place { path, scope } in heard.places() {
            self.mark(&path, scope, now);
        }
        self.heard.append(heard);
        self.bound_heard();
    }

    /// Forgets which names were seen to go: the source may not have been whole.
    pub fn forget_deletions(&mut self) {
        self.heard.forget_deletions();
        self.recent.forget_deletions();
        for flight in &mut self.flights {
            Arc::make_mut(&mut flight.heard).forget_deletions();
        }
    }

    /// What was heard under the old name counts under the new one, too.
    pub(super) fn hear_move(&mut self, from: &TreePath, to: &Place) {
        let in_flight = self.flights.iter().map(|flight| &*flight.heard);
        let heard = in_flight.chain([&self.heard]);
        let heard = heard.map(|heard| heard.rebased(from, to));
        let rebased: Vec<_> = heard.chain([self.recent.rebased(from, to)]).collect();
        self.heard.come(to);
        for heard in rebased {
            self.heard.append(heard);
        }
    }

    /// Forgets which of the entries of a large place were heard of, once there are too many: then all
    /// of that place was.
    pub(super) fn bound_heard(&mut self) {
        if self.heard.len() <= self.heard_most.max(self.limits.places) {
            return;
        }
        let Self { heard, waiting, flights, .. } = self;
        let groups = flights.iter().map(|flight| &flight.behind).chain([&*waiting]);
        heard.join(|path| groups.clone().find_map(|group| group.places.tree_of(path)));
        self.heard_most = 2 * self.heard.len();
    }
}
