//! What is not where it was expected.
//!
//! The kernel shows a change before it tells it: a walk sees the tree as it is, and events tell,
//! at any time later, how it became so. So a path proves nothing, and that no event is left proves
//! nothing either. But a directory that is known by its watch is itself, and what it holds at a
//! moment it holds; whatever leaves it or comes to it later, it tells. Therefore a name is looked up
//! only in a directory that is known so. Where that can't be reached, as a directory above it has
//! another name by now, this is noted down, and tried again whenever something was told or found.

use super::{
    super::forest::{State, TOP, Ticket},
    Inotify,
    kernel::Kernel,
    walk::{Then, Walk},
};

impl<K: Kernel> Inotify<K> {
    /// Reads all trees again, since events are missing: those that are being covered from their
    /// beginning, the others at once.
    pub(super) fn doubt_everything(&mut self) {
        self.walks.retain(|walk| walk.then != Then::AllLost);
        for walk in &mut self.walks {
            let Then::Cover(mirror) = walk.then else { continue };
            let root = self.mirrors.root(mirror).into_iter().collect();
            let Walk { is_shared, .. } = *walk;
            *walk = Walk { is_shared, ..Walk::verifying(root, Then::Cover(mirror)) };
        }
        // A root within another one, too: that may not be read as far as there.
        let mut tops: Vec<Ticket> = self.mirrors.live().map(|(_, root)| root).collect();
        tops.sort_unstable();
        tops.dedup();
        self.walks.push_back(Walk::verifying(tops, Then::AllLost));
    }

    /// Whether events are missing, and not all has been verified since.
    pub(super) fn is_verifying(&self) -> bool {
        self.verifies || self.walks.iter().any(|walk| walk.verify)
    }

    /// Notes down that a directory is to be read again; with `verify`, all that is below it too, as
    /// events of it may be missing.
    pub(super) fn doubt(&mut self, node: u32, verify: bool) {
        *self.doubts.entry(self.forest.ticket(node)).or_default() |= verify;
    }

    /// Tries again what could not be reached, if anything has changed since.
    pub(super) fn retry_doubts(&mut self) {
        if !std::mem::take(&mut self.stirred) || self.doubts.is_empty() {
            return;
        }
        let forest = &self.forest;
        self.doubts.retain(|&ticket, _| forest.resolve(ticket).is_some());
        // What is in limbo can't be reached.
        let is_placed = |ticket: &Ticket| {
            let node = forest.resolve(*ticket);
            node.is_some_and(|node| forest.way_up(node).last() == Some(TOP))
        };
        let of = |verify: bool| {
            let doubts = self.doubts.iter().filter(move |(_, wanted)| **wanted == verify);
            doubts.map(|(&ticket, _)| ticket).filter(is_placed).collect::<Vec<_>>()
        };
        let (again, verified) = (of(false), of(true));
        if !again.is_empty() {
            let walk = Walk::from(Vec::new(), Then::Verify);
            self.walks.push_back(Walk { again, ..walk });
        }
        if !verified.is_empty() {
            self.walks.push_back(Walk::verifying(verified, Then::Verify));
        }
    }

    /// The directory above holds nothing of the name of `node`. If events are missing, it is gone
    /// from there; else the one above tells how it went.
    pub(super) fn miss(&mut self, node: u32, verify: bool) {
        let is_unknown = self.forest.watch(node).is_none();
        if verify || is_unknown {
            self.put_aside(node);
        } else {
            self.doubt(node, false);
        }
    }

    /// `moved` leaves its place. What was found in it by its name may have been found in another
    /// one, if they changed places meanwhile.
    pub(super) fn depart(&mut self, moved: u32) {
        self.stirred = true;
        if self.forest.state(moved) == State::Asked {
            self.forest.set_state(moved, State::Watched);
            self.doubt(moved, false);
        }
    }
}
