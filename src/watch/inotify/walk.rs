//! Walks that watch directories: each is first watched, then read, so that no entry is missed.

use std::io;

use mirror_core::{
    fs_event::{Edit, EntryKind, FsEventKind, MirrorId},
    path::{Escaped, TreePath},
};
use mirror_platform::inotify::WatchId;
use rustix::io::Errno;

use super::{
    super::backend::{Drained, Unwatched},
    EntryAt, InotifyBackend,
    dir_tree::{DirState, LIMBO, Ticket},
    kernel::Kernel,
    opening::{OpenFailure, OpenParent},
};

/// Number of directories per step.
const DIRS_PER_STEP: usize = 64;

/// Walk through directories that are to be watched and read.
#[derive(Debug)]
pub(super) struct DirWalk {
    /// Directories to be visited.
    pub(super) remaining: Vec<Ticket>,
    /// Watched directories that are to be read again, without their subdirectories.
    pub(super) rereads: Vec<Ticket>,
    /// The action at the end of the walk.
    pub(super) purpose: WalkPurpose,
    /// If true, watched directories are looked up and read again, because events were lost.
    pub(super) verify: bool,
    /// Number of directories read so far.
    pub(super) read: usize,
    /// If true, other mirrors than the one being covered may want the directories.
    pub(super) is_shared: bool,
    /// Directories that turned out to be unwatched, or to have been elsewhere: they are reported to
    /// be rescanned.
    pub(super) discovered: Vec<Ticket>,
}

/// Action at the end of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WalkPurpose {
    /// Marks the mirror as covered.
    Cover(MirrorId),
    /// Reports the creation of the directory.
    Create(Ticket),
    /// Reports a rescan of the directory.
    Rescan(Ticket),
    /// Reports a rescan of all mirrors.
    RescanAll,
    /// Reports only the discovered directories.
    Verify,
}

impl DirWalk {
    pub(super) fn new(top: Ticket, purpose: WalkPurpose) -> Self {
        Self::from(vec![top], purpose)
    }

    pub(super) fn from(remaining: Vec<Ticket>, purpose: WalkPurpose) -> Self {
        Self {
            remaining,
            rereads: Vec::new(),
            purpose,
            verify: false,
            read: 0,
            is_shared: false,
            discovered: Vec::new(),
        }
    }

    pub(super) fn verifying(remaining: Vec<Ticket>, purpose: WalkPurpose) -> Self {
        Self { verify: true, ..Self::from(remaining, purpose) }
    }

    /// Returns true if discovered directories are to be reported.
    pub(super) fn reports_discovered(&self) -> bool {
        self.is_shared || self.purpose == WalkPurpose::Verify
    }

    /// Handles another directory in the location of `old`: the action applies to `new` from now on.
    fn retarget(&mut self, old: Ticket, new: Ticket) {
        match &mut self.purpose {
            WalkPurpose::Create(meant) | WalkPurpose::Rescan(meant) if *meant == old => {
                *meant = new;
            }
            WalkPurpose::Cover(_)
            | WalkPurpose::Create(_)
            | WalkPurpose::Rescan(_)
            | WalkPurpose::RescanAll
            | WalkPurpose::Verify => {}
        }
    }
}

/// Result of examining the location of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Examined {
    /// A directory that was not watched before, and was not read.
    New(u32),
    /// A directory that was already watched, here or elsewhere.
    Known(u32),
    /// Nothing that can be watched.
    Unwatchable,
    /// No directory at all.
    Absent,
    /// Unknown, because the parent is not at its supposed location.
    Unreachable,
}

impl<K: Kernel> InotifyBackend<K> {
    /// Does one step of a walk. Returns true if the walk is finished.
    pub(super) fn step(&mut self, walk: &mut DirWalk, drained: &mut Drained) -> bool {
        let outer = std::mem::replace(&mut self.is_in_verifying_walk, walk.verify);
        let is_done = self.step_with(walk, drained);
        self.is_in_verifying_walk = outer;
        is_done
    }

    fn step_with(&mut self, walk: &mut DirWalk, drained: &mut Drained) -> bool {
        // Held for one step only: an open directory keeps its file system mounted.
        let mut held = None;
        for _ in 0..DIRS_PER_STEP {
            if let Some(ticket) = walk.rereads.pop() {
                if let Some(node) = self.dirs.resolve(ticket) {
                    self.reread_dir(node, walk, drained);
                }
                continue;
            }
            let Some(ticket) = walk.remaining.pop() else { return true };
            if let Some(node) = self.dirs.resolve(ticket) {
                self.visit(node, walk, &mut held, drained);
            }
        }
        walk.remaining.is_empty() && walk.rereads.is_empty()
    }

    pub(super) fn visit(
        &mut self,
        node: u32,
        walk: &mut DirWalk,
        held: &mut OpenParent<K>,
        drained: &mut Drained,
    ) {
        if self.dirs.is_watched(node) && !walk.verify {
            walk.read += 1;
            let Self { dirs, .. } = self;
            walk.remaining.extend(dirs.children(node).map(|child| dirs.ticket(child)));
            return;
        }
        if self.skip_if_unwanted(node) {
            return;
        }
        let dir = match self.open(node, held, walk.verify) {
            Ok(dir) => dir,
            Err(OpenFailure::Absent) => return self.on_missing(node, walk.verify),
            Err(OpenFailure::Unreachable) => return self.on_unreachable(node),
            Err(OpenFailure::Refused(error)) => return self.cannot_watch(node, &error, drained),
        };
        let location = self.dirs.ticket(node);
        let watched = self.watch(node, &dir, drained);
        match watched {
            Examined::New(new) if walk.reports_discovered() => {
                walk.discovered.push(self.dirs.ticket(new));
            }
            // It was thought to be elsewhere, and its events were reported there.
            Examined::Known(moved) if moved != node => {
                walk.discovered.push(self.dirs.ticket(moved));
            }
            Examined::New(_)
            | Examined::Known(_)
            | Examined::Unwatchable
            | Examined::Absent
            | Examined::Unreachable => {}
        }
        if let Examined::New(here) | Examined::Known(here) = watched {
            walk.retarget(location, self.dirs.ticket(here));
            let before = walk.remaining.len();
            self.read(here, &dir, walk, drained);
            // Its subdirectories are visited next.
            if let Some(watch) = self.dirs.watch(here).filter(|_| walk.remaining.len() > before) {
                *held = Some((watch, dir));
            }
        }
    }

    /// Examines the location of a directory, and watches the directory that is there.
    pub(super) fn examine(&mut self, node: u32, drained: &mut Drained) -> Examined {
        if self.skip_if_unwanted(node) {
            return Examined::Unwatchable;
        }
        match self.open(node, &mut None, false) {
            Ok(dir) => self.watch(node, &dir, drained),
            Err(OpenFailure::Absent) => Examined::Absent,
            Err(OpenFailure::Unreachable) => {
                self.on_unreachable(node);
                Examined::Unreachable
            }
            Err(OpenFailure::Refused(error)) => {
                self.cannot_watch(node, &error, drained);
                Examined::Unwatchable
            }
        }
    }

    /// Handles an unreachable parent. The location of `node` is looked up when the parent is read
    /// again.
    fn on_unreachable(&mut self, node: u32) {
        if self.dirs.watch(node).is_none() {
            self.dirs.set_state(node, DirState::Pending);
        }
    }

    /// Watches the directory that was found at the location of `node`.
    fn watch(&mut self, node: u32, dir: &K::Dir, drained: &mut Drained) -> Examined {
        let watch = match self.add_watch(dir) {
            Ok(watch) => watch,
            Err(error) => {
                self.cannot_watch(node, &error, drained);
                return Examined::Unwatchable;
            }
        };
        if self.dirs.watch(node) == Some(watch) {
            self.confirm_location(node);
            return Examined::Known(node);
        }
        match self.dirs.node_with_watch(watch) {
            Some(other) if !self.is_mounted_twice(other, dir) => {
                self.on_seen_elsewhere(other);
                let arrived = self.move_to_location(other, node);
                if let Examined::Known(moved) = arrived {
                    self.refilter_below(moved, drained);
                }
                arrived
            }
            other => {
                self.watches += usize::from(other.is_none());
                let here = self.bind_new_dir(node, watch);
                // Until it has been read, whatever happens to the walk that found it.
                self.schedule_reread(here, false);
                Examined::New(here)
            }
        }
    }

    fn add_watch(&self, dir: &K::Dir) -> io::Result<WatchId> {
        if self.watches >= self.limits.max_watches {
            return Err(Errno::NOSPC.into());
        }
        self.kernel.watch(dir)
    }

    /// Handles that `moved` was seen elsewhere. If events were lost, or it was never seen at its
    /// location, no event reports what is there now.
    fn on_seen_elsewhere(&mut self, moved: u32) {
        let ticket = self.dirs.ticket(moved);
        let is_unsure =
            self.is_verifying() || self.assumed_moves.iter().any(|(assumed, _)| *assumed == ticket);
        if let Some(parent) = self.dirs.parent(moved).filter(|&parent| is_unsure && parent != LIMBO)
        {
            self.schedule_reread(parent, false);
        }
    }

    /// Moves `moved`, with everything below it, to the location of `node`.
    fn move_to_location(&mut self, moved: u32, node: u32) -> Examined {
        let Some(parent) = self.dirs.parent(node) else { return Examined::Unwatchable };
        if self.dirs.ancestors(parent).any(|above| above == moved) {
            // Outdated names form a cycle, which further events can't resolve.
            self.rescan_everything();
            return Examined::Unwatchable;
        }
        let name = self.dirs.name(node).to_vec();
        self.move_to_limbo(node);
        self.on_departure(moved);
        self.dirs.relocate(moved, parent, &name);
        self.confirm_location(moved);
        Examined::Known(moved)
    }

    /// Assigns the location of `node` to a directory that was not known before.
    pub(super) fn bind_new_dir(&mut self, node: u32, watch: WatchId) -> u32 {
        let mut here = node;
        if self.dirs.watch(node).is_some() {
            let parent = self.dirs.parent(node).unwrap_or(LIMBO);
            let (name, is_root) = (self.dirs.name(node).to_vec(), self.dirs.is_root(node));
            // The node of a replaced root stays: the mirror is notified that its root is gone.
            if is_root {
                self.release_watch(node);
            } else {
                self.move_to_limbo(node);
                here = self.dirs.child_or_new(parent, &name, DirState::Pending);
            }
        }
        self.has_changes = true;
        self.dirs.bind(here, watch);
        self.dirs.set_state(here, DirState::Pending);
        here
    }

    /// Reads a watched directory.
    fn read(&mut self, node: u32, dir: &K::Dir, walk: &mut DirWalk, drained: &mut Drained) {
        let Self { kernel, dirs, entries, .. } = self;
        let mut missing: Vec<u32> =
            if walk.verify { dirs.children(node).collect() } else { Vec::new() };
        let result = kernel.list(dir, entries, |name| {
            let child = dirs.child_or_new(node, name, DirState::Pending);
            walk.remaining.push(dirs.ticket(child));
            if walk.verify {
                missing.retain(|&known| known != child);
            }
        });
        if let Err(error) = result {
            return self.cannot_watch(node, &error, drained);
        }
        self.mark_read(node, walk);
        for child in missing {
            self.on_missing(child, true);
        }
    }

    /// Reads a watched directory, and looks up its new entries.
    fn reread_dir(&mut self, node: u32, walk: &mut DirWalk, drained: &mut Drained) {
        let Some(watch) = self.dirs.watch(node) else {
            self.rereads.remove(&self.dirs.ticket(node));
            return;
        };
        if self.skip_if_unwanted(node) {
            return;
        }
        let Some(dir) = self.open_by_watch(node, watch, false) else { return };
        let Self { kernel, dirs, entries, .. } = self;
        let mut missing: Vec<u32> = dirs.children(node).collect();
        missing.retain(|&child| dirs.state(child) == DirState::Pending);
        let result = kernel.list(&dir, entries, |name| {
            let child = dirs.child_or_new(node, name, DirState::Pending);
            if dirs.state(child) == DirState::Pending {
                walk.remaining.push(dirs.ticket(child));
                missing.retain(|&known| known != child);
            }
        });
        match result {
            Ok(()) => self.mark_read(node, walk),
            Err(error) => return self.cannot_watch(node, &error, drained),
        }
        for child in missing {
            self.on_missing(child, false);
        }
    }

    fn mark_read(&mut self, node: u32, walk: &mut DirWalk) {
        self.dirs.set_state(node, DirState::Watched);
        walk.read += 1;
        let ticket = self.dirs.ticket(node);
        if self.rereads.get(&ticket).is_some_and(|&verify| !verify || walk.verify) {
            self.rereads.remove(&ticket);
        }
    }

    fn cannot_watch(&mut self, node: u32, error: &io::Error, drained: &mut Drained) {
        self.stop_watching_below(node);
        let path = self.dirs.path(node).unwrap_or_default();
        if matches!(error.kind(), io::ErrorKind::PermissionDenied) {
            self.dirs.set_state(node, DirState::Unreadable);
            let path = Escaped(&path);
            drained.warnings.push(format!(
                "cannot watch /{path}: {error}: retrying when its attributes change"
            ));
            return;
        }
        self.dirs.set_state(node, DirState::Polled);
        let code = error.raw_os_error().unwrap_or_default();
        for (mirror, path) in self.all_paths(node) {
            let error = io::Error::from_raw_os_error(code);
            drained.unwatched.push(Unwatched { mirror, path, error });
        }
    }
}

/// Completion of walks.
impl<K: Kernel> InotifyBackend<K> {
    /// Walks a directory that has appeared, for a purpose that concerns it: it is reported when
    /// everything below it is watched.
    pub(super) fn walk_appeared(
        &mut self,
        node: u32,
        purpose: fn(Ticket) -> WalkPurpose,
        drained: &mut Drained,
    ) {
        let ticket = self.dirs.ticket(node);
        let mut walk = DirWalk::new(ticket, purpose(ticket));
        while walk.read < self.limits.eager_dirs {
            if self.step(&mut walk, drained) {
                return self.finish(&walk, drained);
            }
        }
        self.walks.push_back(walk);
    }

    pub(super) fn finish(&mut self, walk: &DirWalk, drained: &mut Drained) {
        for &ticket in &walk.discovered {
            self.report_lost(ticket, drained);
        }
        match &walk.purpose {
            WalkPurpose::Cover(mirror) => self.finish_cover(*mirror, walk.read, drained),
            WalkPurpose::Create(ticket) => {
                let node = self.dirs.resolve(*ticket);
                if let Some((node, parent)) = node.and_then(|n| Some((n, self.dirs.parent(n)?))) {
                    let name = self.dirs.name(node).to_vec();
                    let entry = EntryAt { directory: parent, name: &name };
                    self.report(entry, Edit::Create, EntryKind::Directory, drained);
                }
            }
            WalkPurpose::Rescan(ticket) => self.report_lost(*ticket, drained),
            WalkPurpose::Verify => {}
            WalkPurpose::RescanAll => {
                for (mirror, _) in self.mirrors.covered() {
                    drained.push(mirror, FsEventKind::Lost(TreePath::root()));
                }
                if std::mem::take(&mut self.is_rescan_outdated) {
                    self.begin_rescan();
                }
            }
        }
    }

    fn report_lost(&mut self, directory: Ticket, drained: &mut Drained) {
        let Some(node) = self.dirs.resolve(directory) else { return };
        for (mirror, path) in self.paths(node) {
            drained.push(*mirror, FsEventKind::Lost(path.clone()));
        }
    }

    fn finish_cover(&mut self, mirror: MirrorId, directories: usize, drained: &mut Drained) {
        let root = self.mirrors.root(mirror).and_then(|root| self.dirs.resolve(root));
        let state = root.map(|root| self.dirs.state(root));
        if !matches!(state, Some(DirState::Watched | DirState::WatchedByName | DirState::Polled)) {
            // Not even the root could be read; the reason is among the warnings.
            let error = io::Error::other("its root cannot be watched");
            return drained.failed.push((mirror, error));
        }
        self.mirrors.set_covered(mirror);
        drained.covered.push((mirror, directories));
    }
}
