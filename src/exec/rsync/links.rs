//! The names of files that have several.
//!
//! Nothing tells which other names a file has, and a write through one name is a change of all. So
//! the names are kept as they are met, and if some are missing, the source is searched for them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use mirror_core::{
    filter::Filter,
    job::{HeldFor, Outcome, Scope},
    notice::Kind,
    path::TreePath,
    plan::rsync::Parts,
    queue::PlaceSet,
};
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::FileType;

use super::{
    batch::{Run, covered},
    sweep::Sweep,
};
use crate::exec::{
    linked::Linked,
    process::cancel::Stop,
    survey::{Entry, Survey, stat_at},
};

/// The most names that are kept.
const MOST: usize = 100_000;

/// How much longer than a search the time until the next one is, where all names need not go
/// together.
const PAUSE: u32 = 20;

type File = ((u32, u32), u64);

/// The names that are known. Those that are not true any more are dropped when they are needed.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    names: HashMap<File, BTreeSet<TreePath>>,
    /// Files with names outside of the source: how many they had in all when it was searched.
    outside: HashMap<File, u32>,
    count: usize,
    /// When the source may be searched again.
    next: Option<Instant>,
}

/// The names of files with several of them among what one job brings, which have to go together.
///
/// One call can't always bring them all: what counts deletions and what makes those that were seen
/// are two. So it is noted which names each call had, and what was split is joined at the end.
#[derive(Debug, Default)]
pub(super) struct Bonds {
    names: Vec<(TreePath, File)>,
    split: BTreeSet<File>,
}

impl Bonds {
    /// The files with several names among these entries.
    pub(super) fn new<'e>(entries: impl Iterator<Item = &'e Entry>) -> Self {
        let linked = entries.filter_map(|entry| Some((entry.path.clone(), entry.linked?.file())));
        Self { names: linked.collect(), split: BTreeSet::new() }
    }

    /// A call brings these entries and trees.
    pub(super) fn note(&mut self, entries: &[TreePath], trees: &[TreePath]) {
        if self.names.is_empty() {
            return;
        }
        let mut brought = PlaceSet::new();
        for (paths, scope) in [(entries, Scope::Entry), (trees, Scope::Tree)] {
            for path in paths {
                brought.insert(path, scope);
            }
        }
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        for (path, file) in &self.names {
            let is_brought = brought.covers(path, Scope::Entry);
            if is_brought { &mut with } else { &mut without }.insert(*file);
        }
        self.split.extend(with.intersection(&without));
    }

    /// All names of the files of which no call had all.
    pub(super) fn split(self) -> Vec<TreePath> {
        let Self { names, split } = self;
        names.into_iter().filter(|(_, file)| split.contains(file)).map(|(path, _)| path).collect()
    }
}

/// Where links are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) root: &'a Dir,
    pub(super) filter: &'a Filter,
    pub(super) stop: &'a Stop,
}

impl Run<'_> {
    /// From now on it is noted which of these files with several names go together.
    pub(super) fn bind<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) {
        if self.of.plan.options.keeps_links() {
            self.bonds = Bonds::new(entries);
        }
    }

    /// The files with several names in the trees, where all names of a file have to go together.
    pub(super) fn linked_in_trees(&self, found: &Survey) -> Vec<Entry> {
        let together = self.of.plan.options.keeps_links();
        if together { Links::within(self.ground(), &found.trees) } else { Vec::new() }
    }

    /// The other names of what is there and has several: each of them has changed.
    pub(super) fn other_names(&self, found: &Survey, in_trees: &[Entry]) -> Vec<Entry> {
        let together = self.of.plan.options.keeps_links();
        let entries: Vec<Entry> = found.entries.iter().chain(in_trees).cloned().collect();
        let mut others = self.of.learned.links.others(self.ground(), &entries, together);
        others.retain(|entry| !found.trees.iter().any(|tree| tree.contains(&entry.path)));
        others
    }

    fn ground(&self) -> Ground<'_> {
        Ground { root: self.root, filter: &self.of.filter, stop: self.stop }
    }

    /// Makes one file of the names that went apart. All have their content by now, or nothing could
    /// be done.
    pub(super) fn join_names(&mut self) -> Result<(), Outcome> {
        let names = std::mem::take(&mut self.bonds).split();
        // What is compared as a whole comes once more.
        if names.is_empty() || self.is_full() {
            return Ok(());
        }
        let parts = Parts { entries: &names, ..Parts::default() };
        let make = self.of.making(&parts, self.of.equal());
        let (covered, budget) = (covered(&parts), self.of.budget());
        // What is in the way of one of them was told by the call that had it first.
        self.withheld(&Sweep { covered, make: &make, budget, deletes: false, why: HeldFor::Seen })
            .map(drop)
    }
}

impl Links {
    /// The other names of the files among `entries`. `all`: they have to go together, whatever it
    /// takes to find them.
    pub(super) fn others(&self, ground: Ground<'_>, entries: &[Entry], all: bool) -> Vec<Entry> {
        let linked: Vec<(&TreePath, Linked)> =
            entries.iter().filter_map(|entry| Some((&entry.path, entry.linked?))).collect();
        if linked.is_empty() {
            return Vec::new();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, file) in &linked {
            known.add(file.file(), path);
        }
        let mut found = known.alive(ground, &linked);
        let missing = known.missing(&found, &linked);
        let may = all || known.next.is_none_or(|next| next <= Instant::now());
        if !missing.is_empty() && may {
            known.search(ground, &missing);
            found = known.alive(ground, &linked);
            for file in known.missing(&found, &linked) {
                known.outside.insert(file.file(), file.names);
            }
        }
        drop(known);
        let listed: BTreeSet<&TreePath> = entries.iter().map(|entry| &entry.path).collect();
        found.retain(|entry| !listed.contains(&entry.path));
        found
    }

    /// The files below `trees` that have several names.
    pub(super) fn within(ground: Ground<'_>, trees: &[TreePath]) -> Vec<Entry> {
        let mut found = Vec::new();
        walk(ground, trees.to_vec(), |_| true, |entry| found.push(entry));
        found
    }
}

impl Known {
    fn add(&mut self, file: File, path: &TreePath) {
        if self.count >= MOST {
            *self = Self { next: self.next, ..Self::default() };
        }
        if self.names.entry(file).or_default().insert(path.clone()) {
            self.count += 1;
        }
    }

    /// All names of these files that are true now; what is not is forgotten.
    fn alive(&mut self, ground: Ground<'_>, linked: &[(&TreePath, Linked)]) -> Vec<Entry> {
        let files: BTreeSet<File> = linked.iter().map(|(_, file)| file.file()).collect();
        let mut alive = Vec::new();
        for file in files {
            let Some(names) = self.names.get_mut(&file) else { continue };
            let before = names.len();
            names.retain(|path| {
                let entry = stat_at(ground.root, path).ok().flatten();
                let entry = entry.and_then(|stat| Entry::linked(path, &stat));
                let entry = entry
                    .filter(|entry| entry.linked.is_some_and(|linked| linked.file() == file))
                    .filter(|_| !ground.filter.excludes(path, Kind::Other));
                let is_alive = entry.is_some();
                alive.extend(entry);
                is_alive
            });
            self.count -= before - names.len();
        }
        alive
    }

    /// Of which files names are missing that the source may have.
    fn missing(&self, found: &[Entry], linked: &[(&TreePath, Linked)]) -> Vec<Linked> {
        let mut counts: HashMap<File, u32> = HashMap::new();
        for file in found.iter().filter_map(|entry| entry.linked) {
            *counts.entry(file.file()).or_default() += 1;
        }
        let files: BTreeSet<Linked> = linked.iter().map(|(_, file)| *file).collect();
        let is_missing = |file: &Linked| {
            let known = counts.get(&file.file()).copied().unwrap_or_default();
            known < file.names && self.outside.get(&file.file()) != Some(&file.names)
        };
        files.into_iter().filter(is_missing).collect()
    }

    fn search(&mut self, ground: Ground<'_>, missing: &[Linked]) {
        let start = Instant::now();
        let numbers: BTreeSet<u64> = missing.iter().map(|file| file.inode).collect();
        let files: BTreeSet<File> = missing.iter().map(|file| file.file()).collect();
        let each = |entry: Entry| {
            if let Some(file) = entry.linked.filter(|file| files.contains(&file.file())) {
                self.add(file.file(), &entry.path);
            }
        };
        walk(ground, vec![TreePath::root()], |inode| numbers.contains(&inode), each);
        let took: Duration = start.elapsed();
        self.next = Some(Instant::now() + took * PAUSE);
    }
}

/// Gives each file below `directories` that has several names, if its number is wanted. A listing
/// has the numbers, so that nothing else is looked at.
fn walk(
    ground: Ground<'_>,
    mut directories: Vec<TreePath>,
    wanted: impl Fn(u64) -> bool,
    mut each: impl FnMut(Entry),
) {
    let mut buffer = ReadBuffer::new();
    while let Some(path) = directories.pop().filter(|_| !ground.stop.is_asked()) {
        let Ok(directory) = ground.root.open_below(path.as_bytes()) else { continue };
        // What can't be read can't be sent either.
        let _ = directory.read(&mut buffer, |listed| {
            let Some(path) = path.join(listed.name) else { return Ok(()) };
            match listed.file_type {
                FileType::Directory if !ground.filter.excludes_entry(&path, Kind::Directory) => {
                    directories.push(path);
                }
                FileType::Directory => {}
                _ if wanted(listed.inode) => {
                    let stat = directory.stat(listed.name).ok();
                    let entry = stat.and_then(|stat| Entry::linked(&path, &stat));
                    let excluded = || ground.filter.excludes_entry(&path, Kind::Other);
                    if let Some(entry) = entry.filter(|_| !excluded()) {
                        each(entry);
                    }
                }
                _ => {}
            }
            Ok(())
        });
    }
}
