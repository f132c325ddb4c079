//! Index of the names of files with several hard links.
//!
//! No system call returns the other names of a file, and a write through one name changes all of
//! them. So names are recorded as they are met, and if some are missing, the source is searched.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use mirror_core::{
    fs_event::EntryKind,
    job::{DirtyPath, Failure, Outcome, Scope},
    path::TreePath,
    plan::rsync::TransferPaths,
};

use super::{
    call_paths::CallPaths, deletion_guard::GuardedTransfer, link_groups::LinkGroups, run::RsyncRun,
};
use crate::exec::{
    hardlink_walk::HardlinkWalk,
    inode::{Inode, LinkedInode},
    lock,
    lookup::stat_at,
    survey::{Survey, SurveyedEntry},
};

/// Limit on recorded names.
const MAX_NAMES: usize = 100_000;

/// Ratio between the pause after a search and its duration, where the names of a file need not be
/// transferred together.
const SEARCH_PAUSE_FACTOR: u32 = 20;

/// The recorded names. Stale names are dropped on use.
#[derive(Debug, Default)]
pub(super) struct RsyncLinkIndex {
    known: Mutex<RsyncLinkNames>,
}

#[derive(Debug, Default)]
struct RsyncLinkNames {
    names: HashMap<Inode, BTreeSet<TreePath>>,
    /// Files with names outside of the source: their link count at the last search.
    outside: HashMap<Inode, u32>,
    count: usize,
    /// Earliest time of the next search.
    next_search: Option<Instant>,
}

/// Other names of hard-linked files.
#[derive(Debug, Default)]
struct LinkSearch {
    /// Those that are known.
    names: Vec<SurveyedEntry>,
    /// Files with others that are to be searched later.
    postponed: Vec<TreePath>,
}

impl RsyncRun<'_> {
    /// Starts to track these hard-linked files, if links are preserved.
    pub(super) fn track_link_groups<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e SurveyedEntry>,
    ) {
        if self.executor.plan.options.keeps_hard_links() {
            self.link_groups = LinkGroups::new(entries);
        }
    }

    /// Returns the hard-linked files in the trees, if links are preserved.
    pub(super) fn linked_in_trees(&self, found: &Survey) -> Vec<SurveyedEntry> {
        let together = self.executor.plan.options.keeps_hard_links();
        if !together {
            return Vec::new();
        }
        let mut names = Vec::new();
        self.hardlink_walk(&|| !self.cancel.is_cancelled()).run(
            found.trees.clone(),
            |_| true,
            |path, stat| names.extend(SurveyedEntry::linked(path, stat)),
        );
        names
    }

    /// Returns the other names of the surveyed hard-linked files: each of them has changed, too.
    /// Files whose names can't be searched yet fail, so that they are tried again.
    pub(super) fn other_names(
        &mut self,
        found: &Survey,
        in_trees: &[SurveyedEntry],
    ) -> Vec<SurveyedEntry> {
        let entries = || found.entries.iter().chain(in_trees);
        if entries().all(|entry| entry.linked.is_none()) {
            return Vec::new();
        }
        let together = self.executor.plan.options.keeps_hard_links();
        let entries: Vec<SurveyedEntry> = entries().cloned().collect();
        let should_continue = || !self.cancel.is_cancelled();
        let walk = self.hardlink_walk(&should_continue);
        let LinkSearch { mut names, postponed } =
            self.executor.state.links.other_names(walk, &entries, together);
        names.retain(|entry| !found.trees.iter().any(|tree| tree.contains(&entry.path)));
        self.failed.extend(postponed.into_iter().map(|path| {
            let why = format!("the other names of the hard-linked file {path} are searched later");
            (DirtyPath { path, scope: Scope::Entry }, Failure::new(why))
        }));
        names
    }

    fn hardlink_walk<'w>(&'w self, should_continue: &'w dyn Fn() -> bool) -> HardlinkWalk<'w> {
        HardlinkWalk { root: self.root, filter: &self.executor.filter, should_continue }
    }

    /// Links the names that were transferred by separate calls. Each has its content by now, or has
    /// failed.
    pub(super) fn rejoin_split_links(&mut self) -> Result<(), Outcome> {
        let names = std::mem::take(&mut self.link_groups).split();
        // A full comparison follows and includes them.
        if names.is_empty() || self.is_full() {
            return Ok(());
        }
        let parts = TransferPaths { entries: &names, ..TransferPaths::default() };
        let build_call = self.executor.call_builder(&parts, self.executor.quick_check());
        // The first call with the blocked name has reported it.
        self.run_without_deletions(&GuardedTransfer {
            call_paths: CallPaths::of_transfer(&parts),
            build_call: &build_call,
            deletes: false,
            terms: self.observed_terms(),
        })
        .map(drop)
    }
}

impl RsyncLinkIndex {
    /// Returns the other names of the files among `entries`. With `all`, a search is made at any
    /// cost, since the names must be transferred together. Otherwise it has to wait for the pause
    /// after the last one.
    fn other_names(
        &self,
        walk: HardlinkWalk<'_>,
        entries: &[SurveyedEntry],
        all: bool,
    ) -> LinkSearch {
        let linked: Vec<(&TreePath, LinkedInode)> =
            entries.iter().filter_map(|entry| Some((&entry.path, entry.linked?))).collect();
        if linked.is_empty() {
            return LinkSearch::default();
        }
        let mut known = lock(&self.known);
        for (path, file) in &linked {
            known.add(file.inode, path);
        }
        let mut found = known.alive(walk, &linked);
        let missing = known.missing(&found, &linked);
        let may = all || known.next_search.is_none_or(|next| next <= Instant::now());
        let mut postponed = Vec::new();
        if !missing.is_empty() && !may {
            let is_missing = |file| missing.contains(file);
            let paths = linked.iter().filter(|(_, file)| is_missing(file));
            postponed.extend(paths.map(|(path, _)| (*path).clone()));
        } else if !missing.is_empty() {
            known.search(walk, &missing);
            found = known.alive(walk, &linked);
            for file in known.missing(&found, &linked) {
                known.outside.insert(file.inode, file.link_count);
            }
        }
        drop(known);
        let listed: BTreeSet<&TreePath> = entries.iter().map(|entry| &entry.path).collect();
        found.retain(|entry| !listed.contains(&entry.path));
        LinkSearch { names: found, postponed }
    }
}

#[cfg(test)]
impl RsyncLinkIndex {
    /// Lets the next search wait for so long.
    pub(super) fn pause_searches(&self, pause: Duration) {
        lock(&self.known).next_search = Some(Instant::now() + pause);
    }
}

impl RsyncLinkNames {
    fn add(&mut self, file: Inode, path: &TreePath) {
        if self.count >= MAX_NAMES {
            *self = Self { next_search: self.next_search, ..Self::default() };
        }
        if self.names.entry(file).or_default().insert(path.clone()) {
            self.count += 1;
        }
    }

    /// Returns the current names of these files, and forgets stale ones.
    fn alive(
        &mut self,
        walk: HardlinkWalk<'_>,
        linked: &[(&TreePath, LinkedInode)],
    ) -> Vec<SurveyedEntry> {
        let files: BTreeSet<Inode> = linked.iter().map(|(_, file)| file.inode).collect();
        let mut alive = Vec::new();
        for file in files {
            let Some(names) = self.names.get_mut(&file) else { continue };
            let before = names.len();
            names.retain(|path| {
                let entry = stat_at(walk.root, path).ok().flatten();
                let entry = entry.and_then(|stat| SurveyedEntry::linked(path.clone(), &stat));
                let entry = entry
                    .filter(|entry| entry.linked.is_some_and(|linked| linked.inode == file))
                    .filter(|_| !walk.filter.excludes(path, EntryKind::Other));
                let is_alive = entry.is_some();
                alive.extend(entry);
                is_alive
            });
            self.count -= before - names.len();
        }
        alive
    }

    /// Returns the files with names that are unknown and may be in the source.
    fn missing(
        &self,
        found: &[SurveyedEntry],
        linked: &[(&TreePath, LinkedInode)],
    ) -> Vec<LinkedInode> {
        let mut counts: HashMap<Inode, u32> = HashMap::new();
        for file in found.iter().filter_map(|entry| entry.linked) {
            *counts.entry(file.inode).or_default() += 1;
        }
        let files: BTreeSet<LinkedInode> = linked.iter().map(|(_, file)| *file).collect();
        let is_missing = |file: &LinkedInode| {
            let known = counts.get(&file.inode).copied().unwrap_or_default();
            known < file.link_count && self.outside.get(&file.inode) != Some(&file.link_count)
        };
        files.into_iter().filter(is_missing).collect()
    }

    fn search(&mut self, walk: HardlinkWalk<'_>, missing: &[LinkedInode]) {
        let start = Instant::now();
        let numbers: BTreeSet<u64> = missing.iter().map(|file| file.inode.number()).collect();
        let files: BTreeSet<Inode> = missing.iter().map(|file| file.inode).collect();
        walk.run(
            vec![TreePath::root()],
            |number| numbers.contains(&number),
            |path, stat| {
                let inode = Inode::of(stat);
                if files.contains(&inode) {
                    self.add(inode, &path);
                }
            },
        );
        let took: Duration = start.elapsed();
        self.next_search = Some(Instant::now() + took * SEARCH_PAUSE_FACTOR);
    }
}
