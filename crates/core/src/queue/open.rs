//! Files that somebody writes and has not closed yet.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use crate::{path::TreePath, time::Moment};

/// The most files that are held back. What is written beyond that goes out like any other change.
pub const MOST_OPEN: usize = 10_000;

/// How long a file that somebody writes is left alone before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWait {
    /// How long nothing must have been written.
    pub quiet: Duration,
    /// How long at most after the first write. Zero if files are not left alone.
    pub max_wait: Duration,
}

impl Default for OpenWait {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(1), max_wait: Duration::from_secs(10) }
    }
}

impl OpenWait {
    /// Each write counts at once.
    pub const NONE: Self = Self { quiet: Duration::ZERO, max_wait: Duration::ZERO };

    fn due(self, file: OpenFile) -> Moment {
        (file.last + self.quiet).min(file.first + self.max_wait)
    }
}

/// The times of the first and of the last write that was heard.
#[derive(Clone, Copy, Debug)]
struct OpenFile {
    first: Moment,
    last: Moment,
}

/// Files whose marks are held back until they are closed, or have waited long enough: what is half
/// written is of no use on a target.
///
/// **Invariant.** What is here is not on the target as it is, so it counts for age and status.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    wait: OpenWait,
    files: BTreeMap<TreePath, OpenFile>,
    /// The same, by when they are due.
    due: BTreeSet<(Moment, TreePath)>,
}

impl OpenFiles {
    pub(crate) const fn new(wait: OpenWait) -> Self {
        Self { wait, files: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// From now on files are left alone for so long.
    pub(crate) fn set_wait(&mut self, wait: OpenWait) {
        self.wait = wait;
        let due = |(path, file): (&TreePath, &OpenFile)| (wait.due(*file), path.clone());
        self.due = self.files.iter().map(due).collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.files.keys()
    }

    pub(crate) fn holds(&self, path: &TreePath) -> bool {
        self.files.contains_key(path)
    }

    /// When the first of them was written to that is held back longest.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        self.files.values().map(|file| file.first).min()
    }

    /// Somebody writes to a file and has not closed it. Returns false if it is not held back.
    pub(crate) fn write(&mut self, path: &TreePath, now: Moment) -> bool {
        if self.wait.max_wait.is_zero() || self.len() >= MOST_OPEN && !self.holds(path) {
            return false;
        }
        let first = self.close(path).unwrap_or(now);
        self.hold(path.clone(), OpenFile { first, last: now });
        true
    }

    fn hold(&mut self, path: TreePath, file: OpenFile) {
        self.due.insert((self.wait.due(file), path.clone()));
        self.files.insert(path, file);
    }

    /// A file is held back no more. Returns when it was written to first, if it was.
    pub(crate) fn close(&mut self, path: &TreePath) -> Option<Moment> {
        let file = self.files.remove(path)?;
        self.due.remove(&(self.wait.due(file), path.clone()));
        Some(file.first)
    }

    /// What is at or below this path went: it is held back no more. Returns what was.
    pub(crate) fn remove(&mut self, path: &TreePath) -> Vec<TreePath> {
        let gone = self.within(path);
        for path in &gone {
            self.close(path);
        }
        gone
    }

    /// What is at or below `from` has another name: it is open still. Returns what was held back at
    /// and below both names.
    ///
    /// Of two names that were exchanged each is told to have become the other, one after the other,
    /// so neither is known to be free: all that is returned has to be looked at.
    pub(crate) fn rename(&mut self, from: &TreePath, to: &TreePath) -> Vec<TreePath> {
        let mut held = self.remove(to);
        for path in self.within(from) {
            let file = self.files.get(&path).copied();
            self.close(&path);
            if let (Some(file), Some(path)) = (file, path.rebase(from, to)) {
                self.hold(path, file);
            }
            held.push(path);
        }
        held
    }

    fn within(&self, path: &TreePath) -> Vec<TreePath> {
        // By their bytes, what lies below a path comes soon after it, and begins with it.
        let after = self.files.range(path..).map(|(it, _)| it);
        let near = after.take_while(|it| it.as_bytes().starts_with(path.as_bytes()));
        near.filter(|it| path.contains(it)).cloned().collect()
    }

    /// When the first of them has waited long enough.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes those that have waited long enough, with the times of their first writes.
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<(TreePath, Moment)> {
        let mut taken = Vec::new();
        while let Some((_, path)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            taken.extend(self.close(&path).map(|first| (path, first)));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};

    fn at(path: &str) -> TreePath {
        TreePath::new(path.as_bytes()).unwrap()
    }

    fn after(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn taken(open: &mut OpenFiles, millis: u64) -> Vec<String> {
        open.take_due(after(millis)).iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn a_file_waits_for_a_quiet_second_and_not_longer_than_ten() {
        let mut open = OpenFiles::new(OpenWait::default());
        assert!(open.write(&at("a"), after(0)));
        assert_eq!(open.next_due(), Some(after(1_000)));
        for millis in (900..20_000).step_by(900) {
            assert!(open.write(&at("log"), after(millis)));
            open.close(&at("a"));
            if millis < 10_900 {
                assert!(taken(&mut open, millis).is_empty(), "{millis}");
            } else {
                assert_eq!(open.next_due(), Some(after(10_900)));
                break;
            }
        }
        assert_eq!(open.take_due(after(10_900)), [(at("log"), after(900))]);
        assert_eq!((open.next_due(), open.oldest(), open.len()), (None, None, 0));
        // The next write begins anew.
        assert!(open.write(&at("log"), after(11_000)));
        assert_eq!(open.next_due(), Some(after(12_000)));
    }

    #[test]
    fn a_file_that_is_renamed_is_open_still_and_one_that_went_is_not() {
        let mut open = OpenFiles::new(OpenWait::default());
        for path in ["d/a", "d/b/c", "da", "e"] {
            open.write(&at(path), after(0));
        }
        open.set_wait(OpenWait { quiet: Duration::from_secs(1), max_wait: Duration::from_secs(5) });
        assert_eq!(open.rename(&at("d"), &at("new")), [at("d/a"), at("d/b/c")]);
        assert_eq!(open.rename(&at("da"), &at("e")), [at("e"), at("da")]);
        assert_eq!(open.remove(&at("new/b")), [at("new/b/c")]);
        assert_eq!(taken(&mut open, 999), [""; 0]);
        assert_eq!(taken(&mut open, 1_000), ["/e", "/new/a"]);
    }

    #[test]
    fn nothing_is_held_back_where_that_is_not_wanted_or_too_much_is() {
        let mut open = OpenFiles::new(OpenWait::NONE);
        assert!(!open.write(&at("a"), after(0)));
        let mut open = OpenFiles::new(OpenWait::default());
        for n in 0..MOST_OPEN {
            assert!(open.write(&at(&n.to_string()), after(0)));
        }
        assert!(!open.write(&at("one"), after(0)));
        assert!(open.write(&at("0"), after(1)));
    }
}
