//! Deletions that are counted before the first one is made: unobserved ones, and observed ones if
//! `maxDeleteSeen` limits them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
};

use mirror_core::{
    job::{DirtyPath, HeldDeletions, HoldReason, Scope},
    path::TreePath,
    queue::PathSet,
};

use crate::exec::lock;

/// Maximum number of names that are kept. Beyond it only the count is known, and the trees are
/// compared once more to delete them.
const MAX_NAMES: usize = 65_536;

/// Maximum number of compared paths that held deletions keep. Beyond it, they keep the root.
const MAX_REPORTED_PATHS: usize = 1000;

/// Maximum number of directories that held deletions are grouped by. Beyond it, they are one group.
const MAX_GROUPS: usize = 10;

const COUNTING: u8 = 0;
const PERMITTED: u8 = 1;
const CLOSED: u8 = 2;

/// Decision on an entry that only the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// It is kept.
    Never,
    /// It is deleted at once.
    Now,
    /// It is counted, and deleted at the end if the deletions of its class are within their budget.
    Later(DeletionClass),
    /// The count is closed: the next job counts it.
    TooLate,
}

/// Class of a deletion. Each class has its own budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeletionClass {
    /// A watch event reported it.
    Observed,
    /// No event reported it.
    Unobserved,
}

/// Deletions that are counted before they are made.
#[derive(Debug, Default)]
pub(super) struct CountedDeletions {
    stage: AtomicU8,
    list: Mutex<DeletionList>,
}

/// Result of the count.
#[derive(Debug, Default)]
pub(super) struct DeletionList {
    /// Number of target entries, including those in directories.
    pub(super) count: u64,
    /// Topmost paths, each with its number of entries.
    pub(super) names: BTreeMap<TreePath, u64>,
    /// True if there are more paths than were kept.
    pub(super) more: bool,
}

impl CountedDeletions {
    /// Decides on one deletion in the present stage.
    pub(super) fn decide(&self, class: DeletionClass) -> Deletion {
        match self.stage.load(Ordering::Acquire) {
            COUNTING => Deletion::Later(class),
            PERMITTED => Deletion::Now,
            _ => Deletion::TooLate,
        }
    }

    /// Counts the `count` entries at `path`.
    pub(super) fn add(&self, path: &TreePath, count: u64) {
        let mut found = self.list();
        if found.names.contains_key(path) {
            return;
        }
        found.count += count;
        if found.names.len() < MAX_NAMES {
            found.names.insert(path.clone(), count);
        } else {
            found.more = true;
        }
    }

    /// Ends the count and returns its result.
    pub(super) fn close(&self) -> DeletionList {
        self.stage.store(CLOSED, Ordering::Release);
        std::mem::take(&mut *self.list())
    }

    /// Permits the deletions from now on.
    pub(super) fn permit(&self) {
        self.stage.store(PERMITTED, Ordering::Release);
    }

    fn list(&self) -> MutexGuard<'_, DeletionList> {
        lock(&self.list)
    }
}

impl DeletionList {
    /// Splits off the paths that no dirty path covers: their own events may still be on the way.
    pub(super) fn split_off_others(&mut self, paths: &PathSet) -> Vec<TreePath> {
        let others: Vec<TreePath> =
            self.names.keys().filter(|path| !paths.covers(path, Scope::Entry)).cloned().collect();
        for path in &others {
            self.count -= self.names.remove(path).unwrap_or_default();
        }
        others
    }

    /// Converts the list to held deletions: one group for each compared tree with deletions inside,
    /// and one for each directory in which compared paths are missing. `None` stands for the whole
    /// tree. The target had `of` entries.
    pub(super) fn held(
        self,
        paths: Option<&PathSet>,
        of: Option<u64>,
        why: HoldReason,
    ) -> Vec<HeldDeletions> {
        let listed: u64 = self.names.values().sum();
        let more = self.count - listed;
        let compared_as = |path: &TreePath| {
            if self.more { DirtyPath::root_tree() } else { topmost_path(paths, path) }
        };
        let tops: Vec<DirtyPath> = self.names.keys().map(compared_as).collect();
        let (all, directories): (BTreeSet<_>, BTreeSet<_>) = self
            .names
            .keys()
            .zip(&tops)
            .map(|(name, top)| (top, common_directory(top, name)))
            .unzip();
        let has_too_many_paths = all.len() > MAX_REPORTED_PATHS;
        let is_one = has_too_many_paths || directories.len() > MAX_GROUPS;
        let mut groups: BTreeMap<TreePath, HeldDeletions> = BTreeMap::new();
        for ((name, count), top) in self.names.iter().zip(&tops) {
            let top = if has_too_many_paths { DirtyPath::root_tree() } else { top.clone() };
            let directory = if is_one { TreePath::root() } else { common_directory(&top, name) };
            let group = groups.entry(directory).or_insert_with(|| HeldDeletions {
                paths: Vec::new(),
                count: 0,
                total: of,
                names: Vec::new(),
                reason: why,
            });
            group.count += count;
            if group.paths.last() != Some(&top) {
                group.paths.push(top);
            }
            if group.names.len() < HeldDeletions::MAX_NAMES {
                group.names.push(name.clone());
            }
        }
        if let Some(first) = groups.values_mut().next() {
            first.count += more;
        }
        groups.into_values().collect()
    }
}

/// Returns the compared tree `top` of a deletion, or the directory of `top` if that is missing
/// itself.
fn common_directory(top: &DirtyPath, deleted: &TreePath) -> TreePath {
    let parent = if top.path == *deleted { top.path.parent() } else { None };
    parent.unwrap_or_else(|| top.path.clone())
}

/// Returns the topmost compared path that covers this path.
fn topmost_path(paths: Option<&PathSet>, path: &TreePath) -> DirtyPath {
    let Some(paths) = paths else { return DirtyPath::root_tree() };
    let mut here = TreePath::root();
    for name in path.components() {
        if paths.covers(&here, Scope::Tree) || here.push(name).is_none() {
            return DirtyPath { path: here, scope: Scope::Tree };
        }
    }
    let is_tree = paths.covers(&here, Scope::Tree);
    DirtyPath { path: here, scope: if is_tree { Scope::Tree } else { Scope::Entry } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn found(names: &[(&str, u64)]) -> DeletionList {
        let unobserved = CountedDeletions::default();
        for (name, count) in names {
            unobserved.add(&path(name), *count);
            // Counted only once.
            unobserved.add(&path(name), *count);
        }
        assert_eq!(
            unobserved.decide(DeletionClass::Unobserved),
            Deletion::Later(DeletionClass::Unobserved)
        );
        let found = unobserved.close();
        assert_eq!(unobserved.decide(DeletionClass::Unobserved), Deletion::TooLate);
        unobserved.permit();
        assert_eq!(unobserved.decide(DeletionClass::Unobserved), Deletion::Now);
        found
    }

    #[test]
    fn held_deletions_are_grouped_by_the_compared_paths() {
        let trees = ["a", "b/c"].map(|it| DirtyPath { path: path(it), scope: Scope::Tree });
        let paths: PathSet = trees.iter().collect();
        let names = [("a/1", 3), ("a/2/x", 1), ("b/c", 5), ("d", 7)];
        let mut some = found(&names);
        assert_eq!(some.split_off_others(&paths), [path("d")]);
        let held = some.held(Some(&paths), Some(100), HoldReason::Unobserved);
        let reported: Vec<_> = held
            .iter()
            .map(|it| (it.paths[0].path.to_string(), it.count, it.names.len()))
            .collect();
        assert_eq!(reported, [("/a".to_owned(), 4, 2), ("/b/c".to_owned(), 5, 1)]);
        let all = found(&names).held(None, None, HoldReason::Unobserved);
        assert_eq!(
            (all.len(), all[0].count, all[0].paths == [DirtyPath::root_tree()]),
            (1, 16, true)
        );
    }

    #[test]
    fn missing_paths_of_one_directory_are_one_group() {
        let names: Vec<String> = (0..30).map(|n| format!("d/file{n:02}")).collect();
        let entries = names.iter().map(|name| DirtyPath { path: path(name), scope: Scope::Entry });
        let compared: Vec<DirtyPath> = entries.collect();
        let counts: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let held =
            found(&counts).held(Some(&compared.iter().collect()), Some(40), HoldReason::Unobserved);
        assert_eq!((held.len(), held[0].count, &held[0].paths), (1, 30, &compared));
        assert_eq!(held[0].names.len(), HeldDeletions::MAX_NAMES);
    }

    #[test]
    fn many_directories_are_one_group_and_many_paths_the_root() {
        for (number, is_root) in [(MAX_GROUPS + 1, false), (MAX_REPORTED_PATHS + 1, true)] {
            let names: Vec<String> = (0..number).map(|n| format!("d{n:04}/file")).collect();
            let entries =
                names.iter().map(|name| DirtyPath { path: path(name), scope: Scope::Entry });
            let mut compared: Vec<DirtyPath> = entries.collect();
            let counts: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let set = compared.iter().collect();
            let held = found(&counts).held(Some(&set), None, HoldReason::Unobserved);
            if is_root {
                compared = vec![DirtyPath::root_tree()];
            }
            assert_eq!((held.len(), held[0].count), (1, number as u64));
            assert_eq!(held[0].paths, compared);
        }
    }

    #[test]
    fn names_are_limited_and_the_count_is_exact() {
        let unobserved = CountedDeletions::default();
        for n in 0..MAX_NAMES + 10 {
            unobserved.add(&path(&n.to_string()), 2);
        }
        let found = unobserved.close();
        assert!(found.more && found.names.len() == MAX_NAMES);
        let held = found.held(None, None, HoldReason::Unobserved);
        assert_eq!(held[0].count, 2 * (MAX_NAMES as u64 + 10));
        assert_eq!(held[0].names.len(), HeldDeletions::MAX_NAMES);
    }
}
