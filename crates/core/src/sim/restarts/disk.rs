//! A source whose entries have inodes with change times.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::{
    fs_event::FsEventKind,
    path::TreePath,
    sim::{
        change::TreeChange,
        guarded::copier::visible_part,
        random::SimRng,
        tree::{SimNode, SimTree},
    },
    snapshot::Stamp,
    time::Moment,
};

/// Age from which a coarse change time proves something.
const SETTLED_AGE: Duration = Duration::from_secs(1);

/// Clock of the change times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimClock {
    /// Each change has a time of its own.
    Exact,
    /// Changes within 10 ms have the same time.
    Coarse,
}

/// State of an inode, apart from what the tree has.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedInode {
    /// Identity, never used again.
    pub(super) id: u64,
    /// Inode number, which a new inode may have after this one was deleted.
    number: u64,
    changed: u64,
}

/// A source whose entries have inodes.
#[derive(Clone, Debug)]
pub(super) struct SourceDisk {
    tree: SimTree,
    inodes: BTreeMap<TreePath, TimedInode>,
    next_id: u64,
    clock: SimClock,
    time: u64,
}

impl SourceDisk {
    pub(super) fn new(clock: SimClock) -> Self {
        let root = TimedInode { id: 0, number: 0, changed: 0 };
        let inodes = BTreeMap::from([(TreePath::root(), root)]);
        Self { tree: SimTree::new(), inodes, next_id: 1, clock, time: 0 }
    }

    pub(super) const fn tree(&self) -> &SimTree {
        &self.tree
    }

    pub(super) fn inode(&self, path: &TreePath) -> Option<TimedInode> {
        self.inodes.get(path).copied()
    }

    /// Returns the present path of an inode.
    pub(super) fn path_of(&self, id: u64) -> Option<TreePath> {
        self.inodes.iter().find(|(_, inode)| inode.id == id).map(|(path, _)| path.clone())
    }

    /// Applies a change and returns its events; none if it is impossible.
    pub(super) fn apply(&mut self, change: &TreeChange, now: Moment) -> Vec<FsEventKind> {
        let events = change.apply(&mut self.tree);
        if events.is_empty() {
            return events;
        }
        self.time = match self.clock {
            SimClock::Exact => self.time + 1,
            SimClock::Coarse => u64::try_from(now.since_origin().as_millis() / 10).unwrap(),
        };
        match change {
            TreeChange::Rename(from, to) => {
                self.forget(to);
                let moved = self.take(from);
                self.put(moved, from, to);
            }
            TreeChange::Swap(one, other) => {
                let (ones, others) = (self.take(one), self.take(other));
                self.put(ones, one, other);
                self.put(others, other, one);
            }
            TreeChange::Write(path, _) | TreeChange::Mode(path, _) => self.touch(path),
            TreeChange::Remove(path) | TreeChange::MoveOut(path) => {
                self.forget(path);
                self.touch_parent(path);
            }
            TreeChange::Link(..) | TreeChange::MakeDir(_) | TreeChange::MoveIn(..) => {}
        }
        self.create_inodes();
        events
    }

    fn forget(&mut self, path: &TreePath) {
        drop(self.take(path));
    }

    fn take(&mut self, path: &TreePath) -> Vec<(TreePath, TimedInode)> {
        self.inodes.extract_if(.., |it, _| path.contains(it)).collect()
    }

    fn put(&mut self, moved: Vec<(TreePath, TimedInode)>, from: &TreePath, to: &TreePath) {
        let moved = moved.into_iter().map(|(it, inode)| (it.rebase(from, to).unwrap(), inode));
        self.inodes.extend(moved);
        self.touch(to);
        self.touch_parent(from);
        self.touch_parent(to);
    }

    fn touch(&mut self, path: &TreePath) {
        let changed = self.time;
        if let Some(inode) = self.inodes.get_mut(path) {
            inode.changed = changed;
        }
    }

    fn touch_parent(&mut self, path: &TreePath) {
        if let Some(parent) = path.parent() {
            self.touch(&parent);
        }
    }

    /// Creates the missing inodes, each with the lowest free number.
    fn create_inodes(&mut self) {
        let missing: Vec<_> =
            self.tree.paths().filter(|path| !self.inodes.contains_key(path)).cloned().collect();
        for path in missing {
            let is_free = |number: &u64| self.inodes.values().all(|it| it.number != *number);
            let number = (0..=self.next_id).find(is_free).unwrap();
            let inode = TimedInode { id: self.next_id, number, changed: self.time };
            self.next_id += 1;
            self.inodes.insert(path.clone(), inode);
            self.touch_parent(&path);
        }
    }

    /// Returns the stamp of an entry, or of the directory itself, that is read from `now` on.
    pub(super) fn stamp(&self, path: &TreePath, now: Moment) -> Stamp {
        let TimedInode { number, changed, .. } = self.inodes[path];
        let limit = now.since_origin().saturating_sub(SETTLED_AGE).as_millis() / 10;
        if self.clock == SimClock::Coarse && u128::from(changed) >= limit {
            return Stamp::UNSETTLED;
        }
        let (kind, size, mode) = match visible_part(self.tree.get(path).unwrap()) {
            SimNode::File { content, mode } => (1, content, mode),
            SimNode::Link { to } => (2, to, 0),
            SimNode::Directory { mode } => (3, 0, mode),
        };
        hash(&[number, changed, kind, u64::from(size), u64::from(mode)])
    }

    /// Returns the stamp of a directory in the listing of its parent.
    pub(super) fn subdirectory_stamp(&self, path: &TreePath) -> Stamp {
        hash(&[self.inodes[path].number])
    }
}

fn hash(numbers: &[u64]) -> Stamp {
    let mix = |hash: u64, number: &u64| SimRng::new(hash ^ number).next();
    Stamp::new(numbers.iter().fold(7, mix))
}
