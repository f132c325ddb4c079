//! Watching directories: a directory is first watched, then read, so that no entry is missed.

use std::io;

use mirror_core::{
    notice::{Edit, Kind, MirrorId, News},
    path::{Escaped, TreePath},
};
use mirror_linux::{
    dir::Dir,
    inotify::{Subject, WatchId},
};
use rustix::{fs::FileType, io::Errno};

use super::{
    super::{
        forest::{LIMBO, State, Ticket},
        source::{Findings, Unwatched},
    },
    Inotify,
};

/// How many directories a step looks at.
const STEP: usize = 64;

/// Directories that are still to be watched and read.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) rest: Vec<Ticket>,
    /// What is to be done when all is watched.
    pub(super) then: Then,
    /// Whether directories that are watched are read again.
    pub(super) verify: bool,
    /// How many directories were read.
    pub(super) read: usize,
}

/// What the end of a walk means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The mirror is covered.
    Cover(MirrorId),
    /// The directory is told to have come into being.
    Create(Ticket),
    /// The directory is told to be read again.
    Lost(Ticket),
    /// All mirrors are told to be read again.
    AllLost,
    /// Directories that turn out not to have been watched are told to be read again.
    Verify(Vec<Ticket>),
}

impl Walk {
    pub(super) fn new(top: Ticket, then: Then) -> Self {
        Self { rest: vec![top], then, verify: false, read: 0 }
    }
}

/// What was found at the place of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A directory that was not watched so far, and was not read.
    New(u32),
    /// A directory that was watched, here or elsewhere.
    Known(u32),
    /// None that could be watched.
    Nothing,
    /// None at all.
    Gone,
}

impl Inotify {
    /// Does a piece of a walk. Returns whether it is at its end.
    pub(super) fn step(&mut self, walk: &mut Walk, found: &mut Findings) -> bool {
        for _ in 0..STEP {
            let Some(ticket) = walk.rest.pop() else { return true };
            if let Some(node) = self.forest.resolve(ticket) {
                self.visit(node, walk, found);
            }
        }
        walk.rest.is_empty()
    }

    pub(super) fn visit(&mut self, node: u32, walk: &mut Walk, found: &mut Findings) {
        if self.forest.state(node) == State::Watched && !walk.verify {
            walk.read += 1;
            let Self { forest, .. } = self;
            walk.rest.extend(forest.children(node).map(|child| forest.ticket(child)));
            return;
        }
        if !self.wanted(node) {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Skipped);
            return;
        }
        let dir = match self.open(node) {
            Ok(dir) => dir,
            Err(error) if !is_gone(&error) => return self.cannot_watch(node, &error, found),
            Err(_) if matches!(walk.then, Then::Verify(_)) => return self.put_aside(node),
            Err(_) => return self.vanish(node),
        };
        let watched = self.watch(node, &dir, found);
        match (watched, &mut walk.then) {
            (Found::New(new), Then::Verify(found)) => found.push(self.forest.ticket(new)),
            // It was thought to be elsewhere, and that is where its events were told.
            (Found::Known(moved), Then::Verify(found)) if moved != node => {
                found.push(self.forest.ticket(moved));
            }
            (Found::Known(moved), Then::Cover(_)) if moved != node => {
                let ticket = self.forest.ticket(moved);
                self.walks.push_back(Walk::new(ticket, Then::Lost(ticket)));
            }
            _ => {}
        }
        if let Found::New(node) | Found::Known(node) = watched {
            self.read(node, &dir, walk, found);
        }
    }

    /// Looks at the place of a directory, and sees to it that what is there is watched.
    pub(super) fn examine(&mut self, node: u32, found: &mut Findings) -> Found {
        if !self.wanted(node) {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Skipped);
            return Found::Nothing;
        }
        match self.open(node) {
            Ok(dir) => self.watch(node, &dir, found),
            Err(error) if is_gone(&error) => {
                self.vanish(node);
                Found::Gone
            }
            Err(error) => {
                self.cannot_watch(node, &error, found);
                Found::Nothing
            }
        }
    }

    fn open(&self, node: u32) -> io::Result<Dir> {
        let path = self.forest.path(node).ok_or(io::ErrorKind::NotFound)?;
        self.base.open_below(&path)
    }

    /// Watches what was found at the place of `node`.
    fn watch(&mut self, node: u32, dir: &Dir, found: &mut Findings) -> Found {
        let watch = match self.add_watch(dir) {
            Ok(watch) => watch,
            Err(error) => {
                self.cannot_watch(node, &error, found);
                return Found::Nothing;
            }
        };
        if self.forest.watch(node) == Some(watch) {
            self.confirm(node);
            return Found::Known(node);
        }
        match self.forest.watched_by(watch) {
            Some(other) if self.has_left(other, dir) => self.arrive(other, node),
            Some(_) => Found::New(self.occupy(node, watch)),
            None => {
                self.watches += 1;
                Found::New(self.occupy(node, watch))
            }
        }
    }

    fn add_watch(&self, dir: &Dir) -> io::Result<WatchId> {
        if self.watches >= self.limits.watches {
            return Err(Errno::NOSPC.into());
        }
        self.kernel.watch(dir, Subject::Entries)
    }

    /// Whether `other`, which has the watch of `dir`, is not at its place any more. If it is, the
    /// directory is mounted at both places.
    fn has_left(&self, other: u32, dir: &Dir) -> bool {
        let identity = |dir: &Dir| {
            let stat = dir.stat(b"").ok()?;
            Some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
        };
        match self.open(other) {
            Ok(there) => identity(&there) != identity(dir),
            Err(_) => true,
        }
    }

    /// Puts `moved`, with all that is below it, at the place of `node`.
    fn arrive(&mut self, moved: u32, node: u32) -> Found {
        let Some(parent) = self.forest.parent(node) else { return Found::Nothing };
        if self.forest.way_up(parent).any(|above| above == moved) {
            // Names that are out of date make a ring. The events to come could not straighten it.
            self.doubt_everything();
            return Found::Nothing;
        }
        let name = self.forest.name(node).to_vec();
        self.put_aside(node);
        self.depart(moved);
        self.forest.relocate(moved, parent, &name);
        self.confirm(moved);
        Found::Known(moved)
    }

    /// Gives the place of `node` to a directory that has not been known.
    pub(super) fn occupy(&mut self, node: u32, watch: WatchId) -> u32 {
        let mut here = node;
        if self.forest.watch(node).is_some() {
            let parent = self.forest.parent(node).unwrap_or(LIMBO);
            let (name, is_root) = (self.forest.name(node).to_vec(), self.forest.is_root(node));
            // A root that was replaced stays as it was: the mirror is told that it is gone.
            if is_root {
                self.release_watch(node);
            } else {
                self.put_aside(node);
                here = self.forest.child_or_new(parent, &name, State::Pending);
            }
        }
        self.unsure = true;
        self.forest.bind(here, watch);
        self.forest.set_state(here, State::Pending);
        here
    }

    /// Reads a directory that is watched.
    fn read(&mut self, node: u32, dir: &Dir, walk: &mut Walk, found: &mut Findings) {
        let Self { forest, entries, .. } = self;
        let mut missing: Vec<u32> =
            if walk.verify { forest.children(node).collect() } else { Vec::new() };
        let result = dir.read(entries, |entry| {
            if entry.file_type == FileType::Directory {
                let child = forest.child_or_new(node, entry.name, State::Pending);
                walk.rest.push(forest.ticket(child));
                if walk.verify {
                    missing.retain(|&known| known != child);
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            return self.cannot_watch(node, &error, found);
        }
        self.forest.set_state(node, State::Watched);
        walk.read += 1;
        for child in missing {
            self.put_aside(child);
        }
    }

    fn cannot_watch(&mut self, node: u32, error: &io::Error, found: &mut Findings) {
        self.stop_watching_below(node);
        let path = self.forest.path(node).unwrap_or_default();
        if matches!(error.kind(), io::ErrorKind::PermissionDenied) {
            self.forest.set_state(node, State::Unreadable);
            let path = Escaped(&path);
            found.warnings.push(format!(
                "cannot watch /{path}: {error}: it is tried again when its attributes change"
            ));
            return;
        }
        self.forest.set_state(node, State::Polled);
        let code = error.raw_os_error().unwrap_or_default();
        for (mirror, path) in self.all_places(node) {
            let error = io::Error::from_raw_os_error(code);
            found.unwatched.push(Unwatched { mirror, path, error });
        }
    }
}

/// The ends of walks.
impl Inotify {
    /// Reads a directory that came into being, and tells it when all below it is watched.
    pub(super) fn walk_new(&mut self, node: u32, then: Then, found: &mut Findings) {
        let mut walk = Walk::new(self.forest.ticket(node), then);
        while walk.read < self.limits.at_once {
            if self.step(&mut walk, found) {
                return self.finish(&walk, found);
            }
        }
        self.walks.push_back(walk);
    }

    pub(super) fn finish(&mut self, walk: &Walk, found: &mut Findings) {
        match &walk.then {
            Then::Cover(mirror) => self.finish_cover(*mirror, walk.read, found),
            Then::Create(ticket) => {
                let node = self.forest.resolve(*ticket);
                if let Some((node, parent)) = node.and_then(|n| Some((n, self.forest.parent(n)?))) {
                    let name = self.forest.name(node).to_vec();
                    self.tell((parent, &name), Edit::Create, Kind::Directory, found);
                }
            }
            Then::Lost(ticket) => self.tell_lost(*ticket, found),
            Then::Verify(new) => {
                for &ticket in new {
                    self.tell_lost(ticket, found);
                }
            }
            Then::AllLost => {
                for (mirror, _) in self.mirrors.live() {
                    found.tell(mirror, News::Lost(TreePath::root()));
                }
            }
        }
    }

    fn tell_lost(&mut self, directory: Ticket, found: &mut Findings) {
        let Some(node) = self.forest.resolve(directory) else { return };
        for (mirror, path) in self.places(node) {
            found.tell(*mirror, News::Lost(path.clone()));
        }
    }

    fn finish_cover(&mut self, mirror: MirrorId, directories: usize, found: &mut Findings) {
        let root = self.mirrors.root(mirror).and_then(|root| self.forest.resolve(root));
        let state = root.map(|root| self.forest.state(root));
        if !matches!(state, Some(State::Watched | State::Polled)) {
            // Even the root could not be read; why, stands among the warnings.
            let error = io::Error::other("its root can't be watched");
            return found.failed.push((mirror, error));
        }
        self.mirrors.enliven(mirror);
        found.covered.push((mirror, directories));
    }

    /// Reads all trees again, since events are missing.
    pub(super) fn doubt_everything(&mut self) {
        self.walks.retain(|walk| walk.then != Then::AllLost);
        let roots: Vec<Ticket> = self.mirrors.live().map(|(_, root)| root).collect();
        let mut tops: Vec<Ticket> = Vec::new();
        for &root in &roots {
            let Some(node) = self.forest.resolve(root) else { continue };
            let mut above = self.forest.way_up(node).skip(1);
            let is_covered = above.any(|node| roots.contains(&self.forest.ticket(node)));
            if !is_covered && !tops.contains(&root) {
                tops.push(root);
            }
        }
        self.walks.push_back(Walk { rest: tops, then: Then::AllLost, verify: true, read: 0 });
    }
}

/// What is not where it was expected.
///
/// A walk sees the tree as it is, and events tell how it became so. Between a walk and the events
/// that were queued before it, names may be out of date, and then a directory is looked for at
/// the wrong place, or another one is taken for it. So whatever was looked for in vain, and
/// whatever was moved, is a suspect, and is verified when no event is left.
impl Inotify {
    /// There is nothing at the place of `node`, or its place has another name by now.
    pub(super) fn vanish(&mut self, node: u32) {
        self.unsure = true;
        let Some(parent) = self.forest.parent(node) else { return };
        let name = self.forest.name(node).to_vec();
        self.put_aside(node);
        self.suspect(parent, &name);
    }

    /// `moved` is about to leave its place.
    pub(super) fn depart(&mut self, moved: u32) {
        self.suspects.push(self.forest.ticket(moved));
        let Some(parent) = self.forest.parent(moved).filter(|&parent| parent != LIMBO) else {
            return;
        };
        let name = self.forest.name(moved).to_vec();
        self.forest.put_aside(moved);
        self.suspect(parent, &name);
    }

    fn suspect(&mut self, parent: u32, name: &[u8]) {
        if parent != LIMBO {
            let place = self.forest.child_or_new(parent, name, State::Pending);
            self.suspects.push(self.forest.ticket(place));
        }
    }

    /// Verifies the suspects, when no event is left.
    pub(super) fn verify_suspects(&mut self) {
        let mut suspects = std::mem::take(&mut self.suspects);
        let unsure = std::mem::take(&mut self.unsure);
        // A rename alone, in quiet times, is believed.
        suspects.retain(|&suspect| {
            let node = self.forest.resolve(suspect);
            node.is_some_and(|node| unsure || self.forest.state(node) != State::Watched)
        });
        suspects.dedup();
        if !suspects.is_empty() {
            let then = Then::Verify(Vec::new());
            self.walks.push_back(Walk { rest: suspects, then, verify: true, read: 0 });
        }
    }
}

/// Directories that go.
impl Inotify {
    /// Takes a directory out of which it is not known where it is, if it is anywhere.
    pub(super) fn put_aside(&mut self, node: u32) {
        if self.forest.is_root(node) {
            return;
        }
        if self.forest.watch(node).is_none() && self.forest.children(node).next().is_none() {
            return self.forest.remove(node);
        }
        self.forest.put_aside(node);
        self.aside.push((self.forest.ticket(node), self.drains));
    }

    pub(super) fn forget_if_aside(&mut self, ticket: Ticket) {
        let node = self.forest.resolve(ticket);
        if let Some(node) = node.filter(|&node| self.forest.parent(node) == Some(LIMBO)) {
            self.forget(node);
        }
    }

    /// Forgets a directory and all that is below it.
    pub(super) fn forget(&mut self, node: u32) {
        for gone in self.forest.subtree(node).into_iter().rev() {
            self.release_watch(gone);
            self.forest.remove(gone);
        }
    }

    /// Forgets what is below a directory, and watches the directory itself no more.
    pub(super) fn stop_watching_below(&mut self, node: u32) {
        let children: Vec<u32> = self.forest.children(node).collect();
        for child in children {
            if self.forest.subtree(child).iter().any(|&n| self.forest.is_root(n)) {
                self.prune(child);
            } else {
                self.forget(child);
            }
        }
        self.release_watch(node);
    }

    /// Forgets what is at and below `top` and wanted no more, and what only led there.
    pub(super) fn prune(&mut self, top: u32) {
        let mut above = self.forest.parent(top);
        for node in self.forest.subtree(top).into_iter().rev() {
            self.prune_one(node);
        }
        while let Some(node) = above {
            above = self.forest.parent(node);
            if above.is_some() && self.forest.state(node) == State::Way {
                self.prune_one(node);
            }
        }
    }

    fn prune_one(&mut self, node: u32) {
        if self.forest.is_root(node) || self.wanted(node) {
            return;
        }
        self.release_watch(node);
        let is_leaf = self.forest.children(node).next().is_none();
        if is_leaf && self.forest.parent(node).is_some() {
            self.forest.remove(node);
        } else {
            self.forest.set_state(node, State::Way);
        }
    }

    pub(super) fn release_watch(&mut self, node: u32) {
        if let Some(watch) = self.forest.unbind(node) {
            self.watches = self.watches.saturating_sub(1);
            // It fails if the directory was deleted: then the kernel has ended the watch.
            let _ = self.kernel.unwatch(watch);
        }
    }
}

/// Whether there is no directory at that place.
fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
