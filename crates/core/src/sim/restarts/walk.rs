//! The walk through a source, which changes meanwhile: as `src/snapshot/walk.rs` does it.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};
use core::mem;

use crate::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
    sim::{random::SimRng, restarts::disk::SourceDisk},
    snapshot::{
        DifferenceKind, DirListing, DirRecord, EntryRecord, SourceDifference, Stamp,
        directories_to_read,
    },
    time::Moment,
};

/// Encoded records of directories.
pub(super) type SimRecords = BTreeMap<TreePath, Vec<u8>>;

/// A directory to be read.
#[derive(Clone, Debug)]
struct WalkTask {
    path: TreePath,
    is_tree: bool,
    compares: bool,
}

/// The directory that is being read.
#[derive(Debug)]
struct OpenDir {
    task: WalkTask,
    id: u64,
    own: Stamp,
    since: Moment,
    /// Names that are to be examined. `None`: the directory was not listed yet.
    names: Option<Vec<TreePath>>,
    listing: DirListing,
}

/// A walk that reads one directory after the other.
#[derive(Debug)]
pub(super) struct SimWalk {
    tasks: Vec<WalkTask>,
    open: Option<OpenDir>,
    /// Records to compare with.
    old: Option<SimRecords>,
    pub(super) differences: Vec<SourceDifference>,
    pub(super) unsettled: PathSet,
    pub(super) records: SimRecords,
}

impl SimWalk {
    /// Begins to read these paths. The other records stay as they are.
    pub(super) fn new(paths: &PathSet, old: Option<SimRecords>, kept: SimRecords) -> Self {
        let tasks = paths.iter().map(|DirtyPath { path, scope }| WalkTask {
            path,
            is_tree: scope == Scope::Tree,
            compares: true,
        });
        Self {
            tasks: tasks.collect(),
            open: None,
            old,
            differences: vec![],
            unsettled: PathSet::new(),
            records: kept,
        }
    }

    /// Begins to read everything, to compare it with these records.
    pub(super) fn everything(old: Option<SimRecords>) -> Self {
        Self::new(&[DirtyPath::root_tree()].iter().collect(), old, SimRecords::new())
    }

    /// Begins to read what was touched. All other records are taken from the last snapshot.
    pub(super) fn refresh(touched: &PathSet, last: &SimRecords) -> Self {
        let reread = directories_to_read(touched);
        let kept = last.iter().filter(|(path, _)| !reread.covers(path, Scope::Entry));
        let kept = kept.map(|(path, record)| (path.clone(), record.clone())).collect();
        Self::new(&reread, None, kept)
    }

    /// Executes one step. Returns true after the last one.
    pub(super) fn step(&mut self, disk: &SourceDisk, now: Moment, random: &mut SimRng) -> bool {
        match self.open.take() {
            Some(open) => self.read(open, disk),
            None if self.tasks.is_empty() => return true,
            None => {
                let task = self.tasks.swap_remove(random.below(self.tasks.len()));
                self.visit(task, disk, now);
            }
        }
        self.open.is_none() && self.tasks.is_empty()
    }

    fn visit(&mut self, task: WalkTask, disk: &SourceDisk, now: Moment) {
        let inode = disk.inode(&task.path).filter(|_| disk.tree().is_dir(&task.path));
        let Some(inode) = inode else {
            if task.compares && self.old.is_some() {
                self.differences.push(unknown_below(&task.path));
            }
            return;
        };
        let own = disk.stamp(&task.path, now);
        let listing = DirListing::default();
        self.open = Some(OpenDir { task, id: inode.id, own, since: now, names: None, listing });
    }

    fn read(&mut self, mut open: OpenDir, disk: &SourceDisk) {
        // It may have been renamed or deleted since it was opened.
        let present = disk.path_of(open.id);
        match mem::take(&mut open.names) {
            None => {
                let children = present.map(|path| disk.tree().children(&path)).unwrap_or_default();
                let (directories, others): (Vec<_>, Vec<_>) =
                    children.into_iter().partition(|path| disk.tree().is_dir(path));
                for path in directories {
                    let (name, stamp) = (path.name().unwrap(), disk.subdirectory_stamp(&path));
                    open.listing.add(EntryRecord { name, kind: EntryKind::Directory, stamp });
                }
                open.names = Some(others);
                self.open = Some(open);
            }
            Some(names) => {
                for name in names.iter().filter_map(|path| path.name()) {
                    let path = present.as_ref().map(|path| path.join(name).unwrap());
                    let Some(path) = path.filter(|path| disk.inode(path).is_some()) else {
                        continue;
                    };
                    let stamp = disk.stamp(&path, open.since);
                    open.listing.add(EntryRecord { name, kind: EntryKind::Other, stamp });
                }
                open.listing.sort();
                self.record(&open);
            }
        }
    }

    fn record(&mut self, open: &OpenDir) {
        let OpenDir { task, own, listing, .. } = open;
        let directories = listing.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let below = directories.map(|entry| task.path.join(entry.name).unwrap());
        let mut below: VecDeque<_> = below.filter(|_| task.is_tree).collect();
        let mut unknown = PathSet::new();
        if let Some(old) = self.old.as_ref().filter(|_| task.compares) {
            let record = old.get(&task.path).map(|bytes| DirRecord::decode(bytes).unwrap().0);
            let found = record.map_or_else(
                || vec![unknown_below(&task.path)],
                |record| listing.differences(&task.path, *own, &record).unwrap(),
            );
            unknown = found.iter().map(|it| it.dirty.clone()).collect();
            self.differences.extend(found);
        }
        while let Some(path) = below.pop_front() {
            let compares = task.compares && !unknown.covers(&path, Scope::Tree);
            self.tasks.push(WalkTask { path, is_tree: true, compares });
        }
        if !own.is_settled() || !listing.is_settled() {
            self.unsettled.insert(&task.path, Scope::Entry);
        }
        let mut record = vec![];
        listing.encode(task.path.as_bytes(), *own, &mut record);
        self.records.insert(task.path.clone(), record);
    }
}

/// A directory below which everything may have been written.
fn unknown_below(path: &TreePath) -> SourceDifference {
    SourceDifference::new(path.clone(), Scope::Tree, DifferenceKind::Written)
}
