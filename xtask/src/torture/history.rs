//! The changes of each path, for the report of a difference.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Number of changes that are kept for each path and shown for a difference.
const KEPT: usize = 12;
/// Number of changes of parent directories that are shown for a difference.
const SHOWN_OF_PARENTS: usize = 12;

/// The last changes of each path below the source.
#[derive(Debug)]
pub(crate) struct ChangeHistory {
    start: Instant,
    entries: Mutex<HistoryEntries>,
}

#[derive(Debug, Default)]
struct HistoryEntries {
    count: u64,
    by_path: BTreeMap<Vec<u8>, VecDeque<(u64, String)>>,
}

impl ChangeHistory {
    /// Creates an empty history.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), entries: Mutex::default() }
    }

    /// Adds a change of some paths.
    pub(crate) fn add(&self, paths: &[&[u8]], change: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.count += 1;
        let count = entries.count;
        let line = format!("{:9.4} {change}", self.start.elapsed().as_secs_f64());
        for path in paths {
            let list = entries.by_path.entry(path.to_vec()).or_default();
            if list.len() == KEPT {
                list.pop_front();
            }
            list.push_back((count, line.clone()));
        }
    }

    /// Returns the last changes of a path and of its parent directories, in order.
    pub(crate) fn changes_of(&self, path: &[u8]) -> Vec<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let is_parent =
            |other: &[u8]| path.strip_prefix(other).is_some_and(|rest| rest.starts_with(b"/"));
        let parents = entries.by_path.iter().filter(|(other, _)| is_parent(other));
        let mut parents: Vec<&(u64, String)> = parents.flat_map(|(_, list)| list).collect();
        parents.sort();
        let skipped = parents.len().saturating_sub(SHOWN_OF_PARENTS);
        let own = entries.by_path.get(path).into_iter().flatten();
        let mut found: Vec<&(u64, String)> = parents.into_iter().skip(skipped).chain(own).collect();
        found.sort();
        found.dedup();
        found.into_iter().map(|(_, line)| line.clone()).collect()
    }

    /// Adds an event that concerns the whole round.
    pub(crate) fn add_marker(&self, marker: &str) {
        self.add(&[b""], marker);
    }

    /// Returns the number of changes.
    pub(crate) fn count(&self) -> u64 {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_parent_directories_belong_to_a_path() {
        let history = ChangeHistory::new();
        history.add(&[b"/a/b"], "wrote /a/b");
        history.add(&[b"/a", b"/c"], "renamed /a to /c");
        history.add(&[b"/ab"], "wrote /ab");
        let changes = history.changes_of(b"/a/b").join("\n");
        assert!(changes.contains("wrote /a/b\n") && changes.contains("renamed /a"), "{changes}");
        assert_eq!(history.changes_of(b"/ab").len(), 1);
        assert_eq!(history.count(), 3);
    }
}
