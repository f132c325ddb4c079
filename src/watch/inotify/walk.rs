//! Watching directories: a directory is first watched, then read, so that no entry is missed.

use std::io;

use mirror_core::{
    notice::{Edit, Kind, MirrorId, News},
    path::{Escaped, TreePath},
};
use mirror_platform::inotify::WatchId;
use rustix::io::Errno;

use super::{
    super::{
        forest::{LIMBO, State, Ticket},
        source::{Findings, Unwatched},
    },
    Inotify,
    kernel::Kernel,
};

/// How many directories a step looks at.
const STEP: usize = 64;

/// Directories that are still to be watched and read.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) rest: Vec<Ticket>,
    /// Directories that are watched, and are to be read again by themselves.
    pub(super) again: Vec<Ticket>,
    /// What is to be done when all is watched.
    pub(super) then: Then,
    /// Whether directories that are watched are looked up and read again, as events are missing.
    pub(super) verify: bool,
    /// How many directories were read.
    pub(super) read: usize,
    /// Whether others than the mirror that is being covered may want what is found.
    pub(super) is_shared: bool,
    /// Directories that turned out not to have been watched, or to have been elsewhere: they are
    /// told to be read again.
    pub(super) new: Vec<Ticket>,
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
    /// No more than that the new ones are told.
    Verify,
}

impl Walk {
    pub(super) fn new(top: Ticket, then: Then) -> Self {
        Self::from(vec![top], then)
    }

    pub(super) fn from(rest: Vec<Ticket>, then: Then) -> Self {
        Self {
            rest,
            again: Vec::new(),
            then,
            verify: false,
            read: 0,
            is_shared: false,
            new: Vec::new(),
        }
    }

    pub(super) fn verifying(rest: Vec<Ticket>, then: Then) -> Self {
        Self { verify: true, ..Self::from(rest, then) }
    }

    /// Whether somebody is to be told of what is new.
    pub(super) fn tells_new(&self) -> bool {
        self.is_shared || self.then == Then::Verify
    }

    /// Another directory stands at the place of the first one, and is meant from now on.
    fn is_replaced(&mut self, old: Ticket, new: Ticket) {
        match &mut self.then {
            Then::Create(meant) | Then::Lost(meant) if *meant == old => *meant = new,
            _ => {}
        }
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
    /// It can't be told at the moment, as the directory above is not where it is thought to be.
    Hidden,
}

/// A directory that is held open to look its entries up, and its watch, by which it is known.
pub(super) type Held<K> = Option<(WatchId, <K as Kernel>::Dir)>;

/// Why a directory could not be opened.
enum Miss {
    /// The directory above holds none of that name.
    Gone,
    /// The directory above is not where it is thought to be.
    Hidden,
    /// The kernel refused it.
    Refused(io::Error),
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Self::Gone,
            _ => Self::Refused(error),
        }
    }
}

impl<K: Kernel> Inotify<K> {
    /// Does a piece of a walk. Returns whether it is at its end.
    pub(super) fn step(&mut self, walk: &mut Walk, found: &mut Findings) -> bool {
        let outer = std::mem::replace(&mut self.verifies, walk.verify);
        let is_done = self.step_with(walk, found);
        self.verifies = outer;
        is_done
    }

    fn step_with(&mut self, walk: &mut Walk, found: &mut Findings) -> bool {
        // Held for a piece only: a directory that is open keeps its file system mounted.
        let mut held = None;
        for _ in 0..STEP {
            if let Some(ticket) = walk.again.pop() {
                if let Some(node) = self.forest.resolve(ticket) {
                    self.read_again(node, walk, found);
                }
                continue;
            }
            let Some(ticket) = walk.rest.pop() else { return true };
            if let Some(node) = self.forest.resolve(ticket) {
                self.visit(node, walk, &mut held, found);
            }
        }
        walk.rest.is_empty() && walk.again.is_empty()
    }

    pub(super) fn visit(
        &mut self,
        node: u32,
        walk: &mut Walk,
        held: &mut Held<K>,
        found: &mut Findings,
    ) {
        if self.forest.is_watched(node) && !walk.verify {
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
        let dir = match self.open(node, held, walk.verify) {
            Ok(dir) => dir,
            Err(Miss::Gone) => return self.miss(node, walk.verify),
            Err(Miss::Hidden) => return self.is_hidden(node),
            Err(Miss::Refused(error)) => return self.cannot_watch(node, &error, found),
        };
        let place = self.forest.ticket(node);
        let watched = self.watch(node, &dir, found);
        match watched {
            Found::New(new) if walk.tells_new() => walk.new.push(self.forest.ticket(new)),
            // It was thought to be elsewhere, and that is where its events were told.
            Found::Known(moved) if moved != node => walk.new.push(self.forest.ticket(moved)),
            _ => {}
        }
        if let Found::New(here) | Found::Known(here) = watched {
            walk.is_replaced(place, self.forest.ticket(here));
            let before = walk.rest.len();
            self.read(here, &dir, walk, found);
            // What is in it comes next.
            if let Some(watch) = self.forest.watch(here).filter(|_| walk.rest.len() > before) {
                *held = Some((watch, dir));
            }
        }
    }

    /// Looks at the place of a directory, and sees to it that what is there is watched.
    pub(super) fn examine(&mut self, node: u32, found: &mut Findings) -> Found {
        if !self.wanted(node) {
            self.stop_watching_below(node);
            self.forest.set_state(node, State::Skipped);
            return Found::Nothing;
        }
        match self.open(node, &mut None, false) {
            Ok(dir) => self.watch(node, &dir, found),
            Err(Miss::Gone) => Found::Gone,
            Err(Miss::Hidden) => {
                self.is_hidden(node);
                Found::Hidden
            }
            Err(Miss::Refused(error)) => {
                self.cannot_watch(node, &error, found);
                Found::Nothing
            }
        }
    }

    /// What is at the place of `node` is looked up when the one above is read again.
    fn is_hidden(&mut self, node: u32) {
        if self.forest.watch(node).is_none() {
            self.forest.set_state(node, State::Pending);
        }
    }

    /// Opens a directory by its name in the one above, which is known by its watch. So what is
    /// found is there, whatever the paths have become; and when it leaves, the one above tells so.
    ///
    /// Only roots are opened by their paths, which is what they stand for.
    fn open(&mut self, node: u32, held: &mut Held<K>, verify: bool) -> Result<K::Dir, Miss> {
        let parent = self.forest.parent(node).filter(|_| !self.forest.is_root(node));
        let Some(parent) = parent else {
            let path = self.forest.path(node).ok_or(Miss::Hidden)?;
            return Ok(self.kernel.open(&path)?);
        };
        // Whoever watches the one above reads it.
        let Some(watch) = self.forest.watch(parent) else { return Err(Miss::Hidden) };
        if held.as_ref().is_none_or(|(known, _)| *known != watch) {
            *held = None;
            *held = self.reach(parent, watch, verify).map(|dir| (watch, dir));
        }
        let (_, dir) = held.as_ref().ok_or(Miss::Hidden)?;
        Ok(self.kernel.open_in(dir, self.forest.name(node))?)
    }

    /// Opens a directory that has this watch. If it is not where it is thought to be, that is
    /// noted down, until it is seen elsewhere or goes.
    pub(super) fn reach(&mut self, node: u32, watch: WatchId, verify: bool) -> Option<K::Dir> {
        let path = self.forest.path(node);
        let dir = path.and_then(|path| self.kernel.open(&path).ok());
        let found = dir.as_ref().and_then(|dir| self.kernel.watch(dir).ok());
        if found == Some(watch) {
            return dir;
        }
        found.inspect(|&other| self.let_go(other));
        self.doubt(node, verify);
        None
    }

    /// Watches what was found at the place of `node`.
    fn watch(&mut self, node: u32, dir: &K::Dir, found: &mut Findings) -> Found {
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
            Some(other) if !self.is_mounted_twice(other, dir) => {
                self.leave(other);
                let arrived = self.arrive(other, node);
                if let Found::Known(moved) = arrived {
                    self.look_for_wanted(moved, found);
                }
                arrived
            }
            other => {
                self.watches += usize::from(other.is_none());
                let here = self.occupy(node, watch);
                // Until it has been read, whatever becomes of the walk that came by.
                self.doubt(here, false);
                Found::New(here)
            }
        }
    }

    fn add_watch(&self, dir: &K::Dir) -> io::Result<WatchId> {
        if self.watches >= self.limits.watches {
            return Err(Errno::NOSPC.into());
        }
        self.kernel.watch(dir)
    }

    /// Whether the directory at the place of `other` is the same as `dir` on another mount. On the
    /// same one it has only one place: then it has left the other.
    fn is_mounted_twice(&mut self, other: u32, dir: &K::Dir) -> bool {
        let Ok(here) = self.kernel.identity(dir) else { return false };
        let Ok(there) = self.open(other, &mut None, false) else { return false };
        self.kernel.identity(&there).is_ok_and(|there| {
            (there.device, there.inode) == (here.device, here.inode) && there.mount != here.mount
        })
    }

    /// `moved` was seen elsewhere. If events are missing, or it was never seen at its place, nobody
    /// tells what stands there.
    fn leave(&mut self, moved: u32) {
        let ticket = self.forest.ticket(moved);
        let is_unsure =
            self.is_verifying() || self.followed.iter().any(|(followed, _)| *followed == ticket);
        if let Some(parent) =
            self.forest.parent(moved).filter(|&parent| is_unsure && parent != LIMBO)
        {
            self.doubt(parent, false);
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
        self.stirred = true;
        self.forest.bind(here, watch);
        self.forest.set_state(here, State::Pending);
        here
    }

    /// Reads a directory that is watched.
    fn read(&mut self, node: u32, dir: &K::Dir, walk: &mut Walk, found: &mut Findings) {
        let Self { kernel, forest, entries, .. } = self;
        let mut missing: Vec<u32> =
            if walk.verify { forest.children(node).collect() } else { Vec::new() };
        let result = kernel.list(dir, entries, |name| {
            let child = forest.child_or_new(node, name, State::Pending);
            walk.rest.push(forest.ticket(child));
            if walk.verify {
                missing.retain(|&known| known != child);
            }
        });
        if let Err(error) = result {
            return self.cannot_watch(node, &error, found);
        }
        self.has_been_read(node, walk);
        for child in missing {
            self.miss(child, true);
        }
    }

    /// Reads a directory that is watched, and looks up what is new in it.
    fn read_again(&mut self, node: u32, walk: &mut Walk, found: &mut Findings) {
        let Some(watch) = self.forest.watch(node) else {
            self.doubts.remove(&self.forest.ticket(node));
            return;
        };
        if !self.wanted(node) {
            self.stop_watching_below(node);
            return self.forest.set_state(node, State::Skipped);
        }
        let Some(dir) = self.reach(node, watch, false) else { return };
        let Self { kernel, forest, entries, .. } = self;
        let mut missing: Vec<u32> = forest.children(node).collect();
        missing.retain(|&child| forest.state(child) == State::Pending);
        let result = kernel.list(&dir, entries, |name| {
            let child = forest.child_or_new(node, name, State::Pending);
            if forest.state(child) == State::Pending {
                walk.rest.push(forest.ticket(child));
                missing.retain(|&known| known != child);
            }
        });
        match result {
            Ok(()) => self.has_been_read(node, walk),
            Err(error) => return self.cannot_watch(node, &error, found),
        }
        for child in missing {
            self.miss(child, false);
        }
    }

    fn has_been_read(&mut self, node: u32, walk: &mut Walk) {
        self.forest.set_state(node, State::Watched);
        walk.read += 1;
        let ticket = self.forest.ticket(node);
        if self.doubts.get(&ticket).is_some_and(|&verify| !verify || walk.verify) {
            self.doubts.remove(&ticket);
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
impl<K: Kernel> Inotify<K> {
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
        for &ticket in &walk.new {
            self.tell_lost(ticket, found);
        }
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
            Then::Verify => {}
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
        if !matches!(state, Some(State::Watched | State::Asked | State::Polled)) {
            // Even the root could not be read; why, stands among the warnings.
            let error = io::Error::other("its root can't be watched");
            return found.failed.push((mirror, error));
        }
        self.mirrors.enliven(mirror);
        found.covered.push((mirror, directories));
    }
}
