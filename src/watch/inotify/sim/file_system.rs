//! A simulated file system, the processes that change it, and the kernel's event queue.
//!
//! As in the kernel, a change is first visible and then reported: a lookup between the two sees a
//! state that no event has reported yet. Until all its events are queued, the changed directories
//! are locked, so the events of one directory keep the order of its changes; events of different
//! directories are queued in any order. An event is queued only if the directory is watched at that
//! moment.

use std::collections::{BTreeMap, VecDeque};

use crate::watch::tests::backend_contract::WatchRng;

pub(super) const ATTRIB: u32 = 0x4;
pub(super) const MODIFY: u32 = 0x2;
pub(super) const CLOSE_WRITE: u32 = 0x8;
pub(super) const MOVED_FROM: u32 = 0x40;
pub(super) const MOVED_TO: u32 = 0x80;
pub(super) const CREATE: u32 = 0x100;
pub(super) const DELETE: u32 = 0x200;
pub(super) const OVERFLOW: u32 = 0x4000;
pub(super) const IGNORED: u32 = 0x8000;
const IS_DIRECTORY: u32 = 0x4000_0000;

/// Number of the root directory.
pub(super) const ROOT: usize = 0;

pub(super) type SimName = &'static str;

/// File or directory.
#[derive(Debug)]
pub(super) struct SimInode {
    pub(super) is_directory: bool,
    pub(super) children: BTreeMap<SimName, usize>,
    location: (usize, SimName),
    /// Number of changes of its content or its attributes.
    pub(super) version: u64,
    pub(super) is_readable: bool,
    pub(super) watch: Option<i32>,
    /// True if it has no name any more.
    pub(super) is_removed: bool,
    /// Number of changes that hold its lock.
    locks: usize,
}

/// Event in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimEvent {
    pub(super) watch: i32,
    pub(super) mask: u32,
    pub(super) cookie: u32,
    pub(super) name: SimName,
}

/// Event of a change that is not queued yet.
#[derive(Debug)]
enum UnqueuedEvent {
    /// For an entry of a directory.
    Entry { directory: usize, name: SimName, mask: u32, cookie: u32 },
    /// For an entry wherever it is when the event is queued.
    CurrentName { inode: usize, mask: u32 },
    /// For a directory itself.
    Itself { directory: usize, mask: u32 },
}

/// A change that was made, and whose events are not all queued.
#[derive(Debug)]
struct ChangeInProgress {
    locked: Vec<usize>,
    unqueued: VecDeque<UnqueuedEvent>,
}

#[derive(Debug)]
pub(super) struct SimFileSystem {
    pub(super) rng: WatchRng,
    pub(super) inodes: Vec<SimInode>,
    pub(super) queue: VecDeque<SimEvent>,
    pub(super) max_queued: usize,
    pub(super) max_watches: usize,
    /// If true, directories may become unreadable.
    pub(super) has_modes: bool,
    /// Number of changes that are left.
    pub(super) changes: usize,
    /// If true, changes may happen during each system call.
    pub(super) is_busy: bool,
    /// Number of system calls out of twelve in which something is changed, and in which an event is
    /// queued.
    pub(super) rates: (usize, usize),
    /// Log of everything that happened, if requested.
    pub(super) log: Option<Vec<String>>,
    /// Two entries of a directory that are exchanged as soon as the first one is watched.
    pub(super) exchange_on_watch: Option<(&'static str, SimName, SimName)>,
    /// True if an event was lost.
    pub(super) has_overflowed: bool,
    in_progress: Vec<ChangeInProgress>,
    /// Removed directories whose watches still exist.
    removed: Vec<usize>,
    watches: BTreeMap<i32, usize>,
    last_watch: i32,
    cookie: u32,
}

impl SimFileSystem {
    pub(super) fn new(seed: u64) -> Self {
        let mut fs = Self {
            rng: WatchRng(seed),
            inodes: Vec::new(),
            queue: VecDeque::new(),
            max_queued: usize::MAX,
            max_watches: usize::MAX,
            has_modes: false,
            changes: 0,
            is_busy: false,
            rates: (2, 2),
            has_overflowed: false,
            log: None,
            exchange_on_watch: None,
            in_progress: Vec::new(),
            removed: Vec::new(),
            watches: BTreeMap::new(),
            last_watch: 0,
            cookie: 0,
        };
        fs.inode((ROOT, ""), true);
        for name in ["in", "out", "other"] {
            fs.make(ROOT, name, true);
            fs.queue_all();
        }
        let inside = fs.inodes[ROOT].children["in"];
        fs.make(inside, "nest", true);
        fs.queue_all();
        fs
    }

    fn inode(&mut self, location: (usize, SimName), is_directory: bool) -> usize {
        self.inodes.push(SimInode {
            is_directory,
            children: BTreeMap::new(),
            location,
            version: 0,
            is_readable: true,
            watch: None,
            is_removed: false,
            locks: 0,
        });
        self.inodes.len() - 1
    }

    pub(super) fn child(&self, directory: usize, name: &[u8]) -> Option<usize> {
        let children = &self.inodes[directory].children;
        children.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, &inode)| inode)
    }

    /// Returns the inode at a path without a leading slash.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        names.try_fold(ROOT, |directory, name| self.child(directory, name))
    }

    /// Appends to the log.
    pub(super) fn note(&mut self, entry: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(entry());
        }
    }

    fn is_in(&self, mut inode: usize, directory: usize) -> bool {
        while inode != directory {
            if inode == ROOT {
                return false;
            }
            inode = self.inodes[inode].location.0;
        }
        true
    }
}

/// Changes of the tree.
impl SimFileSystem {
    /// Makes a random change, if it is possible.
    pub(super) fn change(&mut self) {
        if self.changes == 0 {
            return;
        }
        self.changes -= 1;
        let ((a, x), (b, y)) = (self.random_location(), self.random_location());
        if !self.inodes[a].is_directory {
            return;
        }
        match self.rng.roll(16) {
            0..=4 => self.make(a, x, true),
            5 => self.make(a, x, false),
            6 => self.touch(a, x),
            7..=11 => self.rename((a, x), (b, y)),
            12 => self.exchange((a, x), (b, y)),
            13 => self.set_mode(a, x),
            14 => self.remove(a, x),
            _ => self.remove_all(a, x),
        }
    }

    /// Returns a random location, usually one where something exists.
    fn random_location(&mut self) -> (usize, SimName) {
        const NAMES: [SimName; 4] = ["a", "b", "c", "skip"];
        let tops = ["in", "in", "in", "in/nest", "out", "other"];
        let top = tops[self.rng.roll(tops.len())];
        let mut here = self.find(top.as_bytes()).expect("a directory that stays");
        for _ in 0..self.rng.roll(4) {
            let children: Vec<usize> = self.inodes[here].children.values().copied().collect();
            let children: Vec<usize> =
                children.into_iter().filter(|&it| self.inodes[it].is_directory).collect();
            if children.is_empty() {
                break;
            }
            here = children[self.rng.roll(children.len())];
        }
        (here, NAMES[self.rng.roll(NAMES.len())])
    }

    /// Returns true if these directories are not locked; sometimes waits until they are not.
    fn may_lock(&mut self, directories: &[usize]) -> bool {
        let is_locked = |fs: &Self| directories.iter().any(|&d| fs.inodes[d].locks > 0);
        if is_locked(self) && self.rng.roll(2) == 0 {
            self.queue_of(directories);
        }
        !is_locked(self) && directories.iter().all(|&d| !self.inodes[d].is_removed)
    }

    fn start_change(
        &mut self,
        locked: Vec<usize>,
        unqueued: impl IntoIterator<Item = UnqueuedEvent>,
    ) {
        for &directory in &locked {
            self.inodes[directory].locks += 1;
        }
        self.in_progress
            .push(ChangeInProgress { locked, unqueued: unqueued.into_iter().collect() });
    }

    pub(super) fn make(&mut self, directory: usize, name: SimName, is_directory: bool) {
        let here = &self.inodes[directory];
        if !here.is_directory || here.children.contains_key(name) || !self.may_lock(&[directory]) {
            return;
        }
        let inode = self.inode((directory, name), is_directory);
        self.note(|| format!("make {inode}: {directory}/{name} {is_directory}"));
        self.inodes[directory].children.insert(name, inode);
        let kind = if is_directory { IS_DIRECTORY } else { 0 };
        let create = UnqueuedEvent::Entry { directory, name, mask: CREATE | kind, cookie: 0 };
        let write = [MODIFY, CLOSE_WRITE].map(|mask| UnqueuedEvent::CurrentName { inode, mask });
        self.start_change(
            vec![directory],
            [create].into_iter().chain(write).take(3 - 2 * usize::from(is_directory)),
        );
    }

    fn touch(&mut self, directory: usize, name: SimName) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        let is_directory = self.inodes[inode].is_directory;
        self.inodes[inode].version += 1;
        let masks = if is_directory { vec![ATTRIB] } else { vec![MODIFY, CLOSE_WRITE] };
        self.start_change(
            Vec::new(),
            masks.into_iter().map(|mask| UnqueuedEvent::CurrentName { inode, mask }),
        );
    }

    fn set_mode(&mut self, directory: usize, name: SimName) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        if self.has_modes && self.inodes[inode].is_directory && name != "nest" {
            self.inodes[inode].is_readable = !self.inodes[inode].is_readable;
        }
        self.change_attributes(inode);
    }

    fn change_attributes(&mut self, inode: usize) {
        self.inodes[inode].version += 1;
        let itself = UnqueuedEvent::Itself { directory: inode, mask: ATTRIB };
        self.start_change(Vec::new(), [UnqueuedEvent::CurrentName { inode, mask: ATTRIB }, itself]);
    }

    /// Makes the last changes: everything becomes readable.
    pub(super) fn end_changes(&mut self) {
        self.changes = 0;
        self.is_busy = false;
        for inode in 0..self.inodes.len() {
            if !std::mem::replace(&mut self.inodes[inode].is_readable, true) {
                self.change_attributes(inode);
            }
        }
    }

    pub(super) fn rename(&mut self, (a, x): (usize, SimName), (b, y): (usize, SimName)) {
        let Some(moved) = self.child(a, x.as_bytes()) else { return };
        let is_directory = self.inodes[moved].is_directory;
        if !self.inodes[b].is_directory || (a, x) == (b, y) || self.is_in(b, moved) {
            return;
        }
        let target = self.child(b, y.as_bytes());
        let mut locked = vec![a, b];
        locked.dedup();
        let mut others: Vec<usize> = target.into_iter().collect();
        others.extend((is_directory && a != b).then_some(moved));
        if let Some(target) = target {
            let target = &self.inodes[target];
            if target.is_directory != is_directory || !target.children.is_empty() {
                return;
            }
        }
        if !self.may_lock(&[&*locked, &*others].concat()) {
            return;
        }
        self.note(|| format!("rename {moved}: {a}/{x} to {b}/{y} over {target:?}"));
        if let Some(target) = target {
            self.drop_name(target);
        }
        self.inodes[a].children.remove(x);
        self.inodes[b].children.insert(y, moved);
        self.inodes[moved].location = (b, y);
        let halves = self.halves((a, x), (b, y), is_directory);
        self.start_change(locked, halves);
    }

    fn halves(
        &mut self,
        from: (usize, SimName),
        to: (usize, SimName),
        is_directory: bool,
    ) -> [UnqueuedEvent; 2] {
        self.cookie += 1;
        let cookie = self.cookie;
        let kind = if is_directory { IS_DIRECTORY } else { 0 };
        [(from, MOVED_FROM), (to, MOVED_TO)].map(|((directory, name), mask)| UnqueuedEvent::Entry {
            directory,
            name,
            mask: mask | kind,
            cookie,
        })
    }

    pub(super) fn exchange(&mut self, (a, x): (usize, SimName), (b, y): (usize, SimName)) {
        let (one, other) = (self.child(a, x.as_bytes()), self.child(b, y.as_bytes()));
        let (Some(one), Some(other)) = (one, other) else { return };
        if one == other || self.is_in(b, one) || self.is_in(a, other) {
            return;
        }
        let mut locked = vec![a, b];
        locked.dedup();
        let others = [one, other].into_iter().filter(|&it| self.inodes[it].is_directory && a != b);
        let others: Vec<usize> = others.collect();
        if !self.may_lock(&[&*locked, &*others].concat()) {
            return;
        }
        self.note(|| format!("exchange {one}: {a}/{x} with {other}: {b}/{y}"));
        for ((directory, name), inode) in [((b, y), one), ((a, x), other)] {
            self.inodes[directory].children.insert(name, inode);
            self.inodes[inode].location = (directory, name);
        }
        let [first, second] = [one, other].map(|inode| self.inodes[inode].is_directory);
        let there = self.halves((a, x), (b, y), first);
        let back = self.halves((b, y), (a, x), second);
        self.start_change(locked, there.into_iter().chain(back));
    }

    fn drop_name(&mut self, inode: usize) {
        self.inodes[inode].is_removed = true;
        self.removed.push(inode);
    }

    fn remove(&mut self, directory: usize, name: SimName) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        if !self.inodes[inode].children.is_empty() || !self.may_lock(&[directory, inode]) {
            return;
        }
        self.note(|| format!("remove {inode}: {directory}/{name}"));
        self.drop_name(inode);
        self.inodes[directory].children.remove(name);
        let kind = if self.inodes[inode].is_directory { IS_DIRECTORY } else { 0 };
        let event = UnqueuedEvent::Entry { directory, name, mask: DELETE | kind, cookie: 0 };
        self.start_change(vec![directory], [event]);
    }

    fn remove_all(&mut self, directory: usize, name: SimName) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        let children: Vec<SimName> = self.inodes[inode].children.keys().copied().collect();
        for child in children {
            self.remove_all(inode, child);
        }
        self.remove(directory, name);
    }
}

/// Events of the changes.
impl SimFileSystem {
    /// Returns true if not all events are queued.
    pub(super) fn has_unqueued(&self) -> bool {
        !self.in_progress.is_empty() || !self.removed.is_empty()
    }

    /// Queues the next event of some change, or removes the watch of a deleted directory.
    pub(super) fn queue_next(&mut self) {
        let (changes, removed) = (self.in_progress.len(), self.removed.len());
        if changes + removed == 0 {
            return;
        }
        let which = self.rng.roll(changes + removed);
        if which < changes {
            self.queue_next_of(which);
        } else {
            let inode = self.removed.swap_remove(which - changes);
            if let Some(watch) = self.inodes[inode].watch {
                self.end_watch(watch);
            }
        }
    }

    pub(super) fn queue_all(&mut self) {
        while self.has_unqueued() {
            self.queue_next();
        }
    }

    /// Queues all events of changes in these directories.
    pub(super) fn queue_of(&mut self, directories: &[usize]) {
        let is_of =
            |change: &ChangeInProgress| change.locked.iter().any(|it| directories.contains(it));
        while let Some(which) = self.in_progress.iter().position(is_of) {
            self.queue_next_of(which);
        }
    }

    fn queue_next_of(&mut self, which: usize) {
        let change = &mut self.in_progress[which];
        let unqueued = change.unqueued.pop_front().expect("a change has an event");
        if change.unqueued.is_empty() {
            for directory in self.in_progress.remove(which).locked {
                self.inodes[directory].locks -= 1;
            }
        }
        let (directory, name, mask, cookie) = match unqueued {
            UnqueuedEvent::Entry { directory, name, mask, cookie } => {
                (directory, name, mask, cookie)
            }
            UnqueuedEvent::CurrentName { inode, .. } if self.inodes[inode].is_removed => return,
            UnqueuedEvent::CurrentName { inode, mask } => {
                let SimInode { location: (directory, name), is_directory, .. } = self.inodes[inode];
                let kind = if is_directory { IS_DIRECTORY } else { 0 };
                (directory, name, mask | kind, 0)
            }
            UnqueuedEvent::Itself { directory, mask } => (directory, "", mask | IS_DIRECTORY, 0),
        };
        if let Some(watch) = self.inodes[directory].watch {
            self.enqueue(SimEvent { watch, mask, cookie, name });
        }
    }

    fn enqueue(&mut self, event: SimEvent) {
        self.note(|| format!("queue {event:x?}"));
        if self.queue.back() == Some(&event) {
            return;
        }
        if self.queue.len() < self.max_queued {
            return self.queue.push_back(event);
        }
        self.has_overflowed = true;
        if !self.queue.iter().any(|event| event.mask == OVERFLOW) {
            self.queue.push_back(SimEvent { watch: -1, mask: OVERFLOW, cookie: 0, name: "" });
        }
    }

    /// Makes something happen, as it may during any system call.
    pub(super) fn interleave(&mut self) {
        if !self.is_busy {
            return;
        }
        let (changes, queues) = self.rates;
        match self.rng.roll(12) {
            it if it < changes => self.change(),
            it if it < changes + queues => self.queue_next(),
            _ => {}
        }
    }
}

/// Watches.
impl SimFileSystem {
    /// Watches a directory. `None` if the limit is reached.
    pub(super) fn watch(&mut self, inode: usize) -> Option<i32> {
        if let Some(watch) = self.inodes[inode].watch {
            return Some(watch);
        }
        if self.watches.len() >= self.max_watches {
            return None;
        }
        self.last_watch += 1;
        let watch = self.last_watch;
        self.note(|| format!("watch {inode} as {watch:x}"));
        self.inodes[inode].watch = Some(self.last_watch);
        self.watches.insert(self.last_watch, inode);
        if let Some((directory, x, y)) = self.exchange_on_watch
            && let Some(directory) = self.find(directory.as_bytes())
            && self.child(directory, x.as_bytes()) == Some(inode)
        {
            self.exchange_on_watch = None;
            self.exchange((directory, x), (directory, y));
        }
        if self.inodes[inode].is_removed && !self.removed.contains(&inode) {
            self.removed.push(inode);
        }
        self.inodes[inode].watch
    }

    /// Removes a watch. Returns true if it existed.
    pub(super) fn end_watch(&mut self, watch: i32) -> bool {
        let Some(inode) = self.watches.remove(&watch) else { return false };
        self.inodes[inode].watch = None;
        self.enqueue(SimEvent { watch, mask: IGNORED, cookie: 0, name: "" });
        true
    }

    /// Iterates over the watches and their directories.
    pub(super) fn watches(&self) -> impl Iterator<Item = (i32, usize)> {
        self.watches.iter().map(|(&watch, &inode)| (watch, inode))
    }
}
