//! Rereading of directories that were not found where expected.
//!
//! The kernel shows a change before it reports it: a walk sees the current tree, and events report
//! at any later time how it became so. So a path proves nothing, and an empty queue proves nothing
//! either. But a directory that is identified by its watch is itself, and its current entries are
//! its entries; it reports whatever leaves or enters it later. Therefore names are looked up only
//! in directories that are identified by their watch. If such a directory can't be reached, because
//! a directory above it has been renamed, it is scheduled to be read again, and retried whenever
//! something was reported or found.

use super::{
    InotifyBackend,
    dir_tree::{DirState, ROOT, Ticket},
    kernel::Kernel,
    walk::{DirWalk, WalkPurpose},
};

impl<K: Kernel> InotifyBackend<K> {
    /// Rescans all trees because events were lost: those that are being covered from their start,
    /// the others at once.
    ///
    /// A rescan that has begun goes on, and another one follows: otherwise it would never end while
    /// events are lost all the time.
    pub(super) fn rescan_everything(&mut self) {
        for walk in &mut self.walks {
            let WalkPurpose::Cover(mirror) = walk.purpose else { continue };
            let root = self.mirrors.root(mirror).into_iter().collect();
            let DirWalk { is_shared, .. } = *walk;
            *walk = DirWalk { is_shared, ..DirWalk::verifying(root, WalkPurpose::Cover(mirror)) };
        }
        self.is_rescan_outdated =
            self.walks.iter().any(|walk| walk.purpose == WalkPurpose::RescanAll);
        if !self.is_rescan_outdated {
            self.begin_rescan();
        }
    }

    /// Begins to rescan the trees that are covered.
    pub(super) fn begin_rescan(&mut self) {
        // A root within another one is scanned separately, because the scan of the outer one may
        // not reach it.
        let mut tops: Vec<Ticket> = self.mirrors.covered().map(|(_, root)| root).collect();
        tops.sort_unstable();
        tops.dedup();
        self.walks.push_back(DirWalk::verifying(tops, WalkPurpose::RescanAll));
    }

    /// Returns true if events were lost and not everything has been verified since.
    pub(super) fn is_verifying(&self) -> bool {
        self.is_in_verifying_walk || self.walks.iter().any(|walk| walk.verify)
    }

    /// Schedules a directory to be read again; with `verify`, everything below it too, because
    /// events of it may be missing.
    pub(super) fn schedule_reread(&mut self, node: u32, verify: bool) {
        *self.rereads.entry(self.dirs.ticket(node)).or_default() |= verify;
    }

    /// Retries the scheduled directories, if anything has changed since the last time.
    pub(super) fn retry_rereads(&mut self) {
        if !std::mem::take(&mut self.has_changes) || self.rereads.is_empty() {
            return;
        }
        let dirs = &self.dirs;
        self.rereads.retain(|&ticket, _| dirs.resolve(ticket).is_some());
        // Directories in limbo can't be reached.
        let is_placed = |ticket: &Ticket| {
            let node = dirs.resolve(*ticket);
            node.is_some_and(|node| dirs.ancestors(node).last() == Some(ROOT))
        };
        let of = |verify: bool| {
            let rereads = self.rereads.iter().filter(move |(_, wanted)| **wanted == verify);
            rereads.map(|(&ticket, _)| ticket).filter(is_placed).collect::<Vec<_>>()
        };
        let (rereads, verified) = (of(false), of(true));
        if !rereads.is_empty() {
            let walk = DirWalk::from(Vec::new(), WalkPurpose::Verify);
            self.walks.push_back(DirWalk { rereads, ..walk });
        }
        if !verified.is_empty() {
            self.walks.push_back(DirWalk::verifying(verified, WalkPurpose::Verify));
        }
    }

    /// Handles a name that is missing in its parent. If events were lost, the directory is gone
    /// from there; else the parent reports where it went.
    pub(super) fn on_missing(&mut self, node: u32, verify: bool) {
        let is_unknown = self.dirs.watch(node).is_none();
        if verify || is_unknown {
            self.move_to_limbo(node);
        } else {
            self.schedule_reread(node, false);
        }
    }

    /// Handles the departure of `moved` from its location. Entries that were found in it by its
    /// name may be those of another directory, if they were exchanged meanwhile.
    pub(super) fn on_departure(&mut self, moved: u32) {
        self.has_changes = true;
        if self.dirs.state(moved) == DirState::WatchedByName {
            self.dirs.set_state(moved, DirState::Watched);
            self.schedule_reread(moved, false);
        }
    }
}
