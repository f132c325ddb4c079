//! Translation of inotify events.

use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, WriteDetection},
    path::TreePath,
};
use mirror_platform::inotify::{InotifyEvent, InotifyEventKind};

use super::{
    super::{
        backend::{Drained, unmounted_warning},
        limits::KernelLimit,
    },
    EntryAt, InotifyBackend,
    dir_tree::{DirState, LIMBO, Ticket},
    kernel::Kernel,
    mirrors::Modification,
    walk::{DirWalk, Examined, WalkPurpose},
};

/// Number of recently modified files that are remembered.
const MAX_RECENT: usize = 8;

/// First half of a rename whose second half is pending.
///
/// The kernel queues both halves one after the other, but not atomically: a read may end between
/// them, and other events may be queued between them.
#[derive(Debug)]
pub(super) struct PendingMove {
    cookie: u32,
    directory: Ticket,
    name: Box<[u8]>,
    kind: EntryKind,
    /// The directory that was known at the old location, until it is seen elsewhere or there again.
    child: Option<Ticket>,
    /// True if something below it has changed meanwhile and was reported under the old name.
    disturbed: bool,
    drain: u64,
}

impl<K: Kernel> InotifyBackend<K> {
    pub(super) fn handle(&mut self, event: &InotifyEvent<'_>, drained: &mut Drained) {
        drained.kernel_events += 1;
        if event.kind == InotifyEventKind::Overflow {
            drained.overflows.push(KernelLimit::InotifyQueue);
            return self.rescan_everything();
        }
        // An event without a node was queued before its watch was removed.
        let mut next = self.dirs.node_with_watch(event.watch);
        while let Some(node) = next {
            next = self.dirs.next_with_watch(node);
            self.handle_at(node, event, drained);
        }
    }

    fn handle_at(&mut self, node: u32, event: &InotifyEvent<'_>, drained: &mut Drained) {
        let kind = if event.is_directory { EntryKind::Directory } else { EntryKind::Other };
        let entry = EntryAt { directory: node, name: event.name };
        if !self.pending_moves.is_empty() {
            self.update_pending_moves(node, event, drained);
        }
        if !matches!(event.kind, InotifyEventKind::Modify | InotifyEventKind::CloseWrite) {
            self.recently_modified.clear();
        }
        match event.kind {
            InotifyEventKind::Attrib if event.name.is_empty() => {
                self.on_own_attributes(node, drained);
            }
            InotifyEventKind::Attrib => self.on_attributes(entry, kind, drained),
            InotifyEventKind::Modify => {
                self.on_modify(entry, kind, WriteDetection::OnModify, drained);
            }
            InotifyEventKind::CloseWrite => {
                self.on_modify(entry, kind, WriteDetection::OnClose, drained);
            }
            InotifyEventKind::Create => self.on_create(entry, kind, drained),
            InotifyEventKind::Delete => self.on_delete(entry, kind, drained),
            InotifyEventKind::MovedFrom(cookie) => self.on_moved_from(entry, kind, cookie),
            InotifyEventKind::MovedTo(cookie) => self.on_moved_to(entry, kind, cookie, drained),
            InotifyEventKind::Ignored => self.on_ignored(node),
            InotifyEventKind::Unmount => self.on_unmount(node),
            InotifyEventKind::DeleteSelf
            | InotifyEventKind::MoveSelf
            | InotifyEventKind::Overflow => {}
            InotifyEventKind::Unknown => {
                self.walk_appeared(node, WalkPurpose::Rescan, drained);
            }
        }
    }

    fn on_own_attributes(&mut self, node: u32, drained: &mut Drained) {
        // For all other directories the parent reports it.
        for (mirror, path) in self.paths(node).iter().filter(|(_, path)| path.is_root()) {
            let change =
                Change { edit: Edit::Attrib, kind: EntryKind::Directory, path: path.clone() };
            drained.push(*mirror, FsEventKind::Changed(change));
        }
    }

    fn on_attributes(&mut self, entry: EntryAt<'_>, kind: EntryKind, drained: &mut Drained) {
        self.report(entry, Edit::Attrib, kind, drained);
        let child =
            self.dirs.child(entry.directory, entry.name).filter(|_| kind == EntryKind::Directory);
        if let Some(child) = child.filter(|&child| {
            matches!(self.dirs.state(child), DirState::Unreadable | DirState::Polled)
        }) && let Examined::New(child) = self.examine(child, drained)
        {
            self.walk_appeared(child, WalkPurpose::Rescan, drained);
        }
    }

    fn on_modify(
        &mut self,
        entry: EntryAt<'_>,
        kind: EntryKind,
        how: WriteDetection,
        drained: &mut Drained,
    ) {
        let EntryAt { directory, name } = entry;
        let known = self
            .recently_modified
            .iter_mut()
            .find(|(n, known, _)| *n == directory && **known == *name);
        let is_new = known.as_ref().is_none_or(|(_, _, before)| *before != how);
        if let Some((_, _, before)) = known {
            *before = how;
        } else {
            if self.recently_modified.len() == MAX_RECENT {
                self.recently_modified.remove(0);
            }
            self.recently_modified.push((directory, name.into(), how));
        }
        self.report_modified(entry, Modification { kind, how, is_new }, drained);
    }

    fn on_create(&mut self, entry: EntryAt<'_>, kind: EntryKind, drained: &mut Drained) {
        if kind == EntryKind::Other {
            return self.report_created(entry, drained);
        }
        let child = self.dirs.child_or_new(entry.directory, entry.name, DirState::Pending);
        if self.dirs.is_watched(child) {
            // A walk found it before the event was read.
            self.confirm_location(child);
            return self.report_when_watched(entry, child, drained);
        }
        self.on_arrival(entry, child, drained);
    }

    /// Reports a directory that has appeared at a location, once everything below it is watched.
    fn on_arrival(&mut self, entry: EntryAt<'_>, child: u32, drained: &mut Drained) {
        match self.examine(child, drained) {
            Examined::New(child) => {
                self.walk_appeared(child, WalkPurpose::Create, drained);
            }
            Examined::Known(child) => self.report_when_watched(entry, child, drained),
            arrived @ (Examined::Unwatchable | Examined::Absent | Examined::Unreachable) => {
                self.update_location(child, arrived);
                self.report(entry, Edit::Create, EntryKind::Directory, drained);
            }
        }
    }

    /// Updates the location of `node`, where something has appeared that can't be seen now: either
    /// nothing is there, or it is looked up as soon as possible.
    fn update_location(&mut self, node: u32, arrived: Examined) {
        match arrived {
            Examined::Absent if self.dirs.watch(node).is_none() => self.move_to_limbo(node),
            Examined::Unreachable if self.dirs.watch(node).is_some() => {
                let name = self.dirs.name(node).to_vec();
                if let Some(parent) = self.dirs.parent(node) {
                    self.move_to_limbo(node);
                    self.dirs.child_or_new(parent, &name, DirState::Pending);
                }
            }
            Examined::New(_)
            | Examined::Known(_)
            | Examined::Unwatchable
            | Examined::Absent
            | Examined::Unreachable => {}
        }
    }

    /// Reports a directory that is already watched, once everything below it is watched.
    fn report_when_watched(&mut self, entry: EntryAt<'_>, child: u32, drained: &mut Drained) {
        if self.is_fully_watched(child) {
            return self.report(entry, Edit::Create, EntryKind::Directory, drained);
        }
        self.walk_appeared(child, WalkPurpose::Create, drained);
    }

    /// Returns true if no walk has work left below a directory. If one has, and the directory
    /// moves, the end of that walk is not reported at the new location.
    fn is_fully_watched(&self, directory: u32) -> bool {
        let is_pending = |node: &u32| self.dirs.state(*node) == DirState::Pending;
        !self.dirs.subtree(directory).iter().any(is_pending)
    }

    fn on_delete(&mut self, entry: EntryAt<'_>, kind: EntryKind, drained: &mut Drained) {
        if let Some(child) =
            self.dirs.child(entry.directory, entry.name).filter(|_| kind == EntryKind::Directory)
        {
            self.forget_unless_root(child);
        }
        self.report(entry, Edit::Delete, kind, drained);
    }

    fn forget_unless_root(&mut self, node: u32) {
        if self.dirs.subtree(node).iter().any(|&below| self.dirs.is_root(below)) {
            self.stop_watching_below(node);
            self.dirs.set_state(node, DirState::Ancestor);
        } else {
            self.forget(node);
        }
    }

    fn on_ignored(&mut self, node: u32) {
        // The directory was deleted with everything below it. Its parent reports the removal of the
        // name.
        self.watches = self.watches.saturating_sub(usize::from(self.dirs.unbind(node).is_some()));
        if self.dirs.is_watched(node) {
            self.dirs.set_state(node, DirState::Pending);
        }
    }
}

/// Handling of renames.
impl<K: Kernel> InotifyBackend<K> {
    fn on_moved_from(&mut self, entry: EntryAt<'_>, kind: EntryKind, cookie: u32) {
        let child =
            self.dirs.child(entry.directory, entry.name).filter(|_| kind == EntryKind::Directory);
        if let Some(child) = child {
            self.on_departure(child);
        }
        self.pending_moves.push(PendingMove {
            cookie,
            directory: self.dirs.ticket(entry.directory),
            name: entry.name.into(),
            kind,
            child: child.map(|child| self.dirs.ticket(child)),
            disturbed: false,
            drain: self.drain_count,
        });
    }

    fn on_moved_to(
        &mut self,
        entry: EntryAt<'_>,
        kind: EntryKind,
        cookie: u32,
        drained: &mut Drained,
    ) {
        let pending = self.pending_moves.iter().rposition(|pending| pending.cookie == cookie);
        match (pending.map(|at| self.pending_moves.remove(at)), kind) {
            (None, EntryKind::Other) => self.report(entry, Edit::Create, kind, drained),
            (None, EntryKind::Directory) => {
                let child = self.dirs.child_or_new(entry.directory, entry.name, DirState::Pending);
                self.on_arrival(entry, child, drained);
            }
            (Some(pending), EntryKind::Other) => self.report_move(&pending, entry, drained),
            (Some(pending), EntryKind::Directory) => {
                self.on_moved_directory(&pending, entry, drained);
            }
        }
    }

    fn on_moved_directory(
        &mut self,
        pending: &PendingMove,
        entry: EntryAt<'_>,
        drained: &mut Drained,
    ) {
        let location = self.dirs.child_or_new(entry.directory, entry.name, DirState::Pending);
        let arrived = self.examine(location, drained);
        let moved = self.examine_origin(pending, drained);
        if matches!(arrived, Examined::Absent | Examined::Unreachable)
            && !moved.is_some_and(|moved| self.assume_moved(moved, entry))
            && let Some(location) = self.dirs.child(entry.directory, entry.name)
        {
            self.update_location(location, arrived);
        }
        self.report_move(pending, entry, drained);
        match arrived {
            Examined::Known(node) if !pending.disturbed && self.is_fully_watched(node) => {}
            Examined::New(node) | Examined::Known(node) => {
                self.walk_appeared(node, WalkPurpose::Rescan, drained);
            }
            Examined::Unwatchable | Examined::Absent | Examined::Unreachable => {}
        }
    }

    /// Moves a directory to the location reported by an event although it is not visible there now,
    /// so that events below it have a path meanwhile. Returns true if it was moved.
    ///
    /// It may be another directory that was moved there, so the location is verified when no more
    /// events are pending.
    fn assume_moved(&mut self, moved: u32, entry: EntryAt<'_>) -> bool {
        // It may already have been seen as an ancestor of its former destination.
        if self.dirs.ancestors(entry.directory).any(|above| above == moved) {
            return false;
        }
        if let Some(location) = self.dirs.child(entry.directory, entry.name) {
            self.move_to_limbo(location);
        }
        self.dirs.relocate(moved, entry.directory, entry.name);
        self.assumed_moves.push((self.dirs.ticket(moved), self.drain_count));
        true
    }

    /// Verifies the locations that were assumed, and moves directories to limbo that are not there.
    pub(super) fn verify_assumed_moves(&mut self, drained: &mut Drained) {
        let drain_count = self.drain_count;
        let old: Vec<_> =
            self.assumed_moves.extract_if(.., |(_, since)| *since < drain_count).collect();
        for (ticket, _) in old {
            let Some(node) = self.dirs.resolve(ticket) else { continue };
            if self.dirs.parent(node) == Some(LIMBO) {
                continue;
            }
            match self.examine_or_limbo(node, drained) {
                Examined::New(new) => {
                    self.walk_appeared(new, WalkPurpose::Rescan, drained);
                }
                Examined::Known(node) => self.refilter_below(node, drained),
                Examined::Unwatchable | Examined::Absent | Examined::Unreachable => {}
            }
        }
    }

    /// Examines the location of a directory, and moves the directory to limbo if it is not there.
    fn examine_or_limbo(&mut self, node: u32, drained: &mut Drained) -> Examined {
        let seen = self.examine(node, drained);
        if matches!(seen, Examined::Absent | Examined::Unreachable) {
            self.move_to_limbo(node);
        }
        seen
    }

    /// Examines the old location of a rename, where another directory or none may be now. Returns
    /// the moved directory if its location is unknown.
    fn examine_origin(&mut self, pending: &PendingMove, drained: &mut Drained) -> Option<u32> {
        let old = self.dir_at_origin(pending)?;
        let ticket = self.dirs.ticket(old);
        // Later arrivals are reported by events of their own.
        if let Examined::New(node) = self.examine_or_limbo(old, drained) {
            self.walk_appeared(node, WalkPurpose::Rescan, drained);
        }
        let old = self.dirs.resolve(ticket)?;
        (self.dirs.parent(old) == Some(LIMBO)).then_some(old)
    }

    /// Returns the directory that was known at the old location, if it still is.
    fn dir_at_origin(&self, pending: &PendingMove) -> Option<u32> {
        let child = self.dirs.resolve(pending.child?)?;
        let directory = self.dirs.resolve(pending.directory)?;
        let is_there = self.dirs.parent(child) == Some(directory)
            && self.dirs.name(child) == &*pending.name
            && !self.dirs.is_root(child);
        is_there.then_some(child)
    }

    /// Notes that a directory was seen at its location: no pending rename away from there concerns
    /// it.
    pub(super) fn confirm_location(&mut self, node: u32) {
        let ticket = self.dirs.ticket(node);
        for pending in self.pending_moves.iter_mut().filter(|pending| pending.child == Some(ticket))
        {
            pending.child = None;
        }
    }

    fn report_move(&mut self, pending: &PendingMove, entry: EntryAt<'_>, drained: &mut Drained) {
        let directory = self.dirs.resolve(pending.directory);
        let from = directory.map_or_else(Vec::new, |node| self.paths(node).to_vec());
        let to = self.paths(entry.directory).to_vec();
        let kind = pending.kind;
        let path_in = |paths: &[_], mirror, name: &[u8]| -> Option<TreePath> {
            paths
                .iter()
                .find(|(m, _)| *m == mirror)
                .and_then(|(_, dir): &(_, TreePath)| dir.join(name))
        };
        for (mirror, directory) in &from {
            let Some(old) = directory.join(&pending.name) else { continue };
            let event = match path_in(&to, *mirror, entry.name) {
                Some(new) => FsEventKind::Renamed { from: old, to: new, kind },
                None => FsEventKind::Changed(Change { edit: Edit::Delete, kind, path: old }),
            };
            drained.push(*mirror, event);
        }
        for (mirror, directory) in &to {
            if from.iter().any(|(known, _)| known == mirror) {
                continue;
            }
            if let Some(path) = directory.join(entry.name) {
                drained
                    .push(*mirror, FsEventKind::Changed(Change { edit: Edit::Create, kind, path }));
            }
        }
    }

    /// Applies an event to the pending renames.
    fn update_pending_moves(&mut self, node: u32, event: &InotifyEvent<'_>, drained: &mut Drained) {
        let mut pending_moves = std::mem::take(&mut self.pending_moves);
        for pending in &mut pending_moves {
            let child = pending.child.and_then(|child| self.dirs.resolve(child));
            pending.disturbed |= child.is_some_and(|c| self.dirs.ancestors(node).any(|n| n == c));
        }
        // A rename away is reported before the next arrival at that location.
        let here = self.dirs.ticket(node);
        let is_second =
            |pending: &PendingMove| event.kind == InotifyEventKind::MovedTo(pending.cookie);
        let overtaken = |pending: &mut PendingMove| {
            pending.directory == here && *pending.name == *event.name && !is_second(pending)
        };
        for pending in pending_moves.extract_if(.., overtaken) {
            self.report_move_out(&pending, drained);
        }
        self.pending_moves = pending_moves;
    }

    pub(super) fn expire_pending_moves(&mut self, drained: &mut Drained) {
        let drain_count = self.drain_count;
        let old: Vec<PendingMove> =
            self.pending_moves.extract_if(.., |pending| pending.drain < drain_count).collect();
        for pending in old {
            self.report_move_out(&pending, drained);
        }
    }

    /// Reports a rename to an unwatched location as a deletion.
    fn report_move_out(&mut self, pending: &PendingMove, drained: &mut Drained) {
        // Another directory may have replaced it atomically, as with RENAME_EXCHANGE.
        self.examine_origin(pending, drained);
        if let Some(directory) = self.dirs.resolve(pending.directory) {
            let entry = EntryAt { directory, name: &pending.name };
            self.report(entry, Edit::Delete, pending.kind, drained);
        }
    }

    /// Applies the filters below a renamed directory: watches what was not wanted under the old
    /// name, and removes watches of what is not wanted under the new one.
    pub(super) fn refilter_below(&mut self, top: u32, drained: &mut Drained) {
        let below = self.dirs.subtree(top);
        let below: Vec<Ticket> = below.into_iter().map(|node| self.dirs.ticket(node)).collect();
        for ticket in below {
            let Some(node) = self.dirs.resolve(ticket) else { continue };
            match self.dirs.state(node) {
                DirState::Skipped | DirState::Polled => {
                    if let Examined::New(new) = self.examine(node, drained) {
                        self.walk_appeared(new, WalkPurpose::Create, drained);
                    }
                }
                DirState::Watched | DirState::WatchedByName => {
                    self.skip_if_unwanted(node);
                }
                DirState::Ancestor
                | DirState::Pending
                | DirState::Unreadable
                | DirState::Unmounted => {}
            }
        }
    }
}

/// Handling of unmounts.
impl<K: Kernel> InotifyBackend<K> {
    fn on_unmount(&mut self, node: u32) {
        self.watches = self.watches.saturating_sub(usize::from(self.dirs.unbind(node).is_some()));
        self.dirs.set_state(node, DirState::Unmounted);
        self.unmounted.push(self.dirs.ticket(node));
    }

    /// Logs unmounts below a root, and reports no deletion. Unmounts of a root are left to the root
    /// monitor.
    pub(super) fn report_unmounted(&mut self, drained: &mut Drained) {
        for ticket in std::mem::take(&mut self.unmounted) {
            let Some(node) = self.dirs.resolve(ticket) else { continue };
            let parent = self.dirs.parent(node);
            if parent.is_some_and(|parent| self.dirs.state(parent) == DirState::Unmounted) {
                continue;
            }
            let path = self.dirs.path(node).filter(|_| !self.dirs.is_root(node));
            self.stop_watching_below(node);
            if let Some(path) = path {
                drained.warnings.push(unmounted_warning(&[b"/", &*path].concat()));
                // The directory that is visible now is handled like any other.
                self.walks.push_back(DirWalk::new(ticket, WalkPurpose::Rescan(ticket)));
            }
        }
    }
}
