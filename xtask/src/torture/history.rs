//! What was done to each path, for the report of a difference.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// So many acts are kept for each path, and shown for a difference.
const KEPT: usize = 12;
/// So many acts on what is above are shown for a difference.
const SHOWN: usize = 12;

/// The last acts on each path, which begins below the source.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    acts: Mutex<Acts>,
}

#[derive(Debug, Default)]
struct Acts {
    count: u64,
    of: BTreeMap<Vec<u8>, VecDeque<(u64, String)>>,
}

impl History {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), acts: Mutex::default() }
    }

    /// Remembers an act on some paths.
    pub(crate) fn add(&self, paths: &[&[u8]], what: &str) {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        acts.count += 1;
        let count = acts.count;
        let line = format!("{:9.4} {what}", self.began.elapsed().as_secs_f64());
        for path in paths {
            let list = acts.of.entry(path.to_vec()).or_default();
            if list.len() == KEPT {
                list.pop_front();
            }
            list.push_back((count, line.clone()));
        }
    }

    /// The last acts on a path and on the directories above it, in their order.
    pub(crate) fn of(&self, path: &[u8]) -> Vec<String> {
        let acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_above =
            |other: &[u8]| path.strip_prefix(other).is_some_and(|rest| rest.starts_with(b"/"));
        let above = acts.of.iter().filter(|(other, _)| is_above(other));
        let mut above: Vec<&(u64, String)> = above.flat_map(|(_, list)| list).collect();
        above.sort();
        let skipped = above.len().saturating_sub(SHOWN);
        let own = acts.of.get(path).into_iter().flatten();
        let mut found: Vec<&(u64, String)> = above.into_iter().skip(skipped).chain(own).collect();
        found.sort();
        found.dedup();
        found.into_iter().map(|(_, line)| line.clone()).collect()
    }

    /// Remembers what happened to the whole.
    pub(crate) fn mark(&self, what: &str) {
        self.add(&[b""], what);
    }

    /// How many acts there were.
    pub(crate) fn count(&self) -> u64 {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_on_directories_above_belong_to_a_path() {
        let history = History::new();
        history.add(&[b"/a/b"], "wrote /a/b");
        history.add(&[b"/a", b"/c"], "renamed /a to /c");
        history.add(&[b"/ab"], "wrote /ab");
        let told = history.of(b"/a/b").join("\n");
        assert!(told.contains("wrote /a/b\n") && told.contains("renamed /a"), "{told}");
        assert_eq!(history.of(b"/ab").len(), 1);
        assert_eq!(history.count(), 3);
    }
}
