//! A tree, those who change it, and the kernel's queue.
//!
//! As in the kernel, a change is first seen and then told: whoever looks between the two sees what
//! no event tells yet. Until all its events are queued, the directories in which it happened are
//! locked, so that the events of one directory come in the order of its changes; those of others
//! come in any. An event is queued only if the directory is watched at that moment.

use std::collections::{BTreeMap, VecDeque};

use super::super::super::tests::trial::Dice;

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

/// The number of the root directory.
pub(super) const ROOT: usize = 0;

pub(super) type Name = &'static str;

/// A file or directory.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) is_directory: bool,
    pub(super) children: BTreeMap<Name, usize>,
    place: (usize, Name),
    /// Counts the changes of its content or its attributes.
    pub(super) version: u64,
    pub(super) is_readable: bool,
    pub(super) watch: Option<i32>,
    /// Whether it has no name any more.
    pub(super) is_removed: bool,
    /// How many changes hold it locked.
    locks: usize,
}

/// An event in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) watch: i32,
    pub(super) mask: u32,
    pub(super) cookie: u32,
    pub(super) name: Name,
}

/// What is to be told of a change.
#[derive(Debug)]
enum Untold {
    /// Of an entry of a directory.
    Entry { directory: usize, name: Name, mask: u32, cookie: u32 },
    /// Of an entry where it is when it is told.
    Wherever { inode: usize, mask: u32 },
    /// Of a directory itself.
    Itself { directory: usize, mask: u32 },
}

/// A change that was made, and of which not all is told.
#[derive(Debug)]
struct Change {
    locked: Vec<usize>,
    untold: VecDeque<Untold>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) inodes: Vec<Inode>,
    pub(super) queue: VecDeque<Record>,
    pub(super) most_queued: usize,
    pub(super) most_watches: usize,
    /// Whether directories may become unreadable.
    pub(super) has_modes: bool,
    /// How many changes are left to be made.
    pub(super) changes: usize,
    /// Whether something may happen at each call of the kernel.
    pub(super) is_busy: bool,
    /// At how many of twelve calls of the kernel something is changed, and at how many told.
    pub(super) haste: (usize, usize),
    /// What happened, for people, if it is wanted.
    pub(super) diary: Option<Vec<String>>,
    /// Two entries of a directory that change places as soon as the first is watched.
    pub(super) at_watch: Option<(&'static str, Name, Name)>,
    /// Whether anything was lost of the queue.
    pub(super) has_overflown: bool,
    under_way: Vec<Change>,
    /// Removed directories whose watches have not ended.
    removed: Vec<usize>,
    watches: BTreeMap<i32, usize>,
    last_watch: i32,
    cookie: u32,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice(seed),
            inodes: Vec::new(),
            queue: VecDeque::new(),
            most_queued: usize::MAX,
            most_watches: usize::MAX,
            has_modes: false,
            changes: 0,
            is_busy: false,
            haste: (2, 2),
            has_overflown: false,
            diary: None,
            at_watch: None,
            under_way: Vec::new(),
            removed: Vec::new(),
            watches: BTreeMap::new(),
            last_watch: 0,
            cookie: 0,
        };
        world.inode((ROOT, ""), true);
        for name in ["in", "out", "other"] {
            world.make(ROOT, name, true);
            world.tell_all();
        }
        let inside = world.inodes[ROOT].children["in"];
        world.make(inside, "nest", true);
        world.tell_all();
        world
    }

    fn inode(&mut self, place: (usize, Name), is_directory: bool) -> usize {
        self.inodes.push(Inode {
            is_directory,
            children: BTreeMap::new(),
            place,
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

    /// What is at a path without a slash at its beginning.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
        names.try_fold(ROOT, |directory, name| self.child(directory, name))
    }

    /// Writes something down.
    pub(super) fn note(&mut self, entry: impl FnOnce() -> String) {
        if let Some(diary) = &mut self.diary {
            diary.push(entry());
        }
    }

    fn is_in(&self, mut inode: usize, directory: usize) -> bool {
        while inode != directory {
            if inode == ROOT {
                return false;
            }
            inode = self.inodes[inode].place.0;
        }
        true
    }
}

/// Those who change the tree.
impl World {
    /// Makes a change, if it can be made.
    pub(super) fn change(&mut self) {
        if self.changes == 0 {
            return;
        }
        self.changes -= 1;
        let ((a, x), (b, y)) = (self.somewhere(), self.somewhere());
        if !self.inodes[a].is_directory {
            return;
        }
        match self.dice.roll(16) {
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

    /// A place: most often one where something is.
    fn somewhere(&mut self) -> (usize, Name) {
        const NAMES: [Name; 4] = ["a", "b", "c", "skip"];
        let tops = ["in", "in", "in", "in/nest", "out", "other"];
        let top = tops[self.dice.roll(tops.len())];
        let mut here = self.find(top.as_bytes()).expect("a directory that stays");
        for _ in 0..self.dice.roll(4) {
            let children: Vec<usize> = self.inodes[here].children.values().copied().collect();
            let children: Vec<usize> =
                children.into_iter().filter(|&it| self.inodes[it].is_directory).collect();
            if children.is_empty() {
                break;
            }
            here = children[self.dice.roll(children.len())];
        }
        (here, NAMES[self.dice.roll(NAMES.len())])
    }

    /// Whether nobody else is at work in these directories; sometimes it waits until nobody is.
    fn may_lock(&mut self, directories: &[usize]) -> bool {
        let is_locked = |world: &Self| directories.iter().any(|&d| world.inodes[d].locks > 0);
        if is_locked(self) && self.dice.roll(2) == 0 {
            self.tell_of(directories);
        }
        !is_locked(self) && directories.iter().all(|&d| !self.inodes[d].is_removed)
    }

    fn begin(&mut self, locked: Vec<usize>, untold: impl IntoIterator<Item = Untold>) {
        for &directory in &locked {
            self.inodes[directory].locks += 1;
        }
        self.under_way.push(Change { locked, untold: untold.into_iter().collect() });
    }

    pub(super) fn make(&mut self, directory: usize, name: Name, is_directory: bool) {
        let here = &self.inodes[directory];
        if !here.is_directory || here.children.contains_key(name) || !self.may_lock(&[directory]) {
            return;
        }
        let inode = self.inode((directory, name), is_directory);
        self.note(|| format!("make {inode}: {directory}/{name} {is_directory}"));
        self.inodes[directory].children.insert(name, inode);
        let kind = if is_directory { IS_DIRECTORY } else { 0 };
        let create = Untold::Entry { directory, name, mask: CREATE | kind, cookie: 0 };
        let write = [MODIFY, CLOSE_WRITE].map(|mask| Untold::Wherever { inode, mask });
        self.begin(
            vec![directory],
            [create].into_iter().chain(write).take(3 - 2 * usize::from(is_directory)),
        );
    }

    fn touch(&mut self, directory: usize, name: Name) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        let is_directory = self.inodes[inode].is_directory;
        self.inodes[inode].version += 1;
        let masks = if is_directory { vec![ATTRIB] } else { vec![MODIFY, CLOSE_WRITE] };
        self.begin(Vec::new(), masks.into_iter().map(|mask| Untold::Wherever { inode, mask }));
    }

    fn set_mode(&mut self, directory: usize, name: Name) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        if self.has_modes && self.inodes[inode].is_directory && name != "nest" {
            self.inodes[inode].is_readable = !self.inodes[inode].is_readable;
        }
        self.tell_attributes(inode);
    }

    fn tell_attributes(&mut self, inode: usize) {
        self.inodes[inode].version += 1;
        let itself = Untold::Itself { directory: inode, mask: ATTRIB };
        self.begin(Vec::new(), [Untold::Wherever { inode, mask: ATTRIB }, itself]);
    }

    /// Makes the last changes: all becomes readable.
    pub(super) fn end_changes(&mut self) {
        self.changes = 0;
        self.is_busy = false;
        for inode in 0..self.inodes.len() {
            if !std::mem::replace(&mut self.inodes[inode].is_readable, true) {
                self.tell_attributes(inode);
            }
        }
    }

    pub(super) fn rename(&mut self, (a, x): (usize, Name), (b, y): (usize, Name)) {
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
        self.inodes[moved].place = (b, y);
        let halves = self.halves((a, x), (b, y), is_directory);
        self.begin(locked, halves);
    }

    fn halves(
        &mut self,
        from: (usize, Name),
        to: (usize, Name),
        is_directory: bool,
    ) -> [Untold; 2] {
        self.cookie += 1;
        let cookie = self.cookie;
        let kind = if is_directory { IS_DIRECTORY } else { 0 };
        [(from, MOVED_FROM), (to, MOVED_TO)].map(|((directory, name), mask)| Untold::Entry {
            directory,
            name,
            mask: mask | kind,
            cookie,
        })
    }

    pub(super) fn exchange(&mut self, (a, x): (usize, Name), (b, y): (usize, Name)) {
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
            self.inodes[inode].place = (directory, name);
        }
        let [first, second] = [one, other].map(|inode| self.inodes[inode].is_directory);
        let there = self.halves((a, x), (b, y), first);
        let back = self.halves((b, y), (a, x), second);
        self.begin(locked, there.into_iter().chain(back));
    }

    fn drop_name(&mut self, inode: usize) {
        self.inodes[inode].is_removed = true;
        self.removed.push(inode);
    }

    fn remove(&mut self, directory: usize, name: Name) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        if !self.inodes[inode].children.is_empty() || !self.may_lock(&[directory, inode]) {
            return;
        }
        self.note(|| format!("remove {inode}: {directory}/{name}"));
        self.drop_name(inode);
        self.inodes[directory].children.remove(name);
        let kind = if self.inodes[inode].is_directory { IS_DIRECTORY } else { 0 };
        let told = Untold::Entry { directory, name, mask: DELETE | kind, cookie: 0 };
        self.begin(vec![directory], [told]);
    }

    fn remove_all(&mut self, directory: usize, name: Name) {
        let Some(inode) = self.child(directory, name.as_bytes()) else { return };
        let children: Vec<Name> = self.inodes[inode].children.keys().copied().collect();
        for child in children {
            self.remove_all(inode, child);
        }
        self.remove(directory, name);
    }
}

/// What is told of the changes.
impl World {
    /// Whether there is something that is not told yet.
    pub(super) fn has_untold(&self) -> bool {
        !self.under_way.is_empty() || !self.removed.is_empty()
    }

    /// Tells the next piece of some change, or ends the watch of a removed directory.
    pub(super) fn tell(&mut self) {
        let (changes, removed) = (self.under_way.len(), self.removed.len());
        if changes + removed == 0 {
            return;
        }
        let which = self.dice.roll(changes + removed);
        if which < changes {
            self.tell_next(which);
        } else {
            let inode = self.removed.swap_remove(which - changes);
            if let Some(watch) = self.inodes[inode].watch {
                self.end_watch(watch);
            }
        }
    }

    pub(super) fn tell_all(&mut self) {
        while self.has_untold() {
            self.tell();
        }
    }

    /// Tells all that was done in these directories.
    pub(super) fn tell_of(&mut self, directories: &[usize]) {
        let is_of = |change: &Change| change.locked.iter().any(|it| directories.contains(it));
        while let Some(which) = self.under_way.iter().position(is_of) {
            self.tell_next(which);
        }
    }

    fn tell_next(&mut self, which: usize) {
        let change = &mut self.under_way[which];
        let untold = change.untold.pop_front().expect("a change has something to tell");
        if change.untold.is_empty() {
            for directory in self.under_way.remove(which).locked {
                self.inodes[directory].locks -= 1;
            }
        }
        let (directory, name, mask, cookie) = match untold {
            Untold::Entry { directory, name, mask, cookie } => (directory, name, mask, cookie),
            Untold::Wherever { inode, .. } if self.inodes[inode].is_removed => return,
            Untold::Wherever { inode, mask } => {
                let Inode { place: (directory, name), is_directory, .. } = self.inodes[inode];
                let kind = if is_directory { IS_DIRECTORY } else { 0 };
                (directory, name, mask | kind, 0)
            }
            Untold::Itself { directory, mask } => (directory, "", mask | IS_DIRECTORY, 0),
        };
        if let Some(watch) = self.inodes[directory].watch {
            self.enqueue(Record { watch, mask, cookie, name });
        }
    }

    fn enqueue(&mut self, record: Record) {
        self.note(|| format!("queue {record:x?}"));
        if self.queue.back() == Some(&record) {
            return;
        }
        if self.queue.len() < self.most_queued {
            return self.queue.push_back(record);
        }
        self.has_overflown = true;
        if !self.queue.iter().any(|record| record.mask == OVERFLOW) {
            self.queue.push_back(Record { watch: -1, mask: OVERFLOW, cookie: 0, name: "" });
        }
    }

    /// Lets something happen, as it may while a call of the kernel is made.
    pub(super) fn disturb(&mut self) {
        if !self.is_busy {
            return;
        }
        let (changes, tells) = self.haste;
        match self.dice.roll(12) {
            it if it < changes => self.change(),
            it if it < changes + tells => self.tell(),
            _ => {}
        }
    }
}

/// Watches.
impl World {
    /// Watches a directory. `None` if there are too many.
    pub(super) fn watch(&mut self, inode: usize) -> Option<i32> {
        if let Some(watch) = self.inodes[inode].watch {
            return Some(watch);
        }
        if self.watches.len() >= self.most_watches {
            return None;
        }
        self.last_watch += 1;
        let watch = self.last_watch;
        self.note(|| format!("watch {inode} as {watch:x}"));
        self.inodes[inode].watch = Some(self.last_watch);
        self.watches.insert(self.last_watch, inode);
        if let Some((directory, x, y)) = self.at_watch
            && let Some(directory) = self.find(directory.as_bytes())
            && self.child(directory, x.as_bytes()) == Some(inode)
        {
            self.at_watch = None;
            self.exchange((directory, x), (directory, y));
        }
        if self.inodes[inode].is_removed && !self.removed.contains(&inode) {
            self.removed.push(inode);
        }
        self.inodes[inode].watch
    }

    /// Ends a watch. Returns whether there was one.
    pub(super) fn end_watch(&mut self, watch: i32) -> bool {
        let Some(inode) = self.watches.remove(&watch) else { return false };
        self.inodes[inode].watch = None;
        self.enqueue(Record { watch, mask: IGNORED, cookie: 0, name: "" });
        true
    }

    /// The watches and their directories.
    pub(super) fn watches(&self) -> impl Iterator<Item = (i32, usize)> {
        self.watches.iter().map(|(&watch, &inode)| (watch, inode))
    }
}
