//! Files that are being written and not closed yet.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use crate::{path::TreePath, time::Moment};

/// The most files that are held back. Further ones are marked like any other change.
pub const MAX_OPEN_FILES: usize = 10_000;

/// The delay of a file that is being written, before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWait {
    /// The time without a write after which it is due.
    pub quiet: Duration,
    /// The maximum time after the first write. Zero if files are not held back.
    pub max_wait: Duration,
}

impl Default for OpenWait {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(1), max_wait: Duration::from_secs(10) }
    }
}

impl OpenWait {
    /// No delay: each write is marked at once.
    pub const NONE: Self = Self { quiet: Duration::ZERO, max_wait: Duration::ZERO };

    fn due(self, file: OpenFile) -> Moment {
        (file.last + self.quiet).min(file.first + self.max_wait)
    }
}

/// The times of the first and of the last reported write.
#[derive(Clone, Copy, Debug)]
struct OpenFile {
    first: Moment,
    last: Moment,
}

/// Files whose marks are held back until they are closed or have waited long enough: a half-written
/// file is of no use on a target.
///
/// **Invariant.** The target lacks the current state of these files, so they count for age and
/// status.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    wait: OpenWait,
    files: BTreeMap<TreePath, OpenFile>,
    /// The same files, by the time at which they are due.
    due: BTreeSet<(Moment, TreePath)>,
}

impl OpenFiles {
    pub(crate) const fn new(wait: OpenWait) -> Self {
        Self { wait, files: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// Changes the delay.
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

    /// The time of the oldest first write.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        self.files.values().map(|file| file.first).min()
    }

    /// Notes a write to a file that is not closed. Returns false if the file is not held back.
    pub(crate) fn write(&mut self, path: &TreePath, now: Moment) -> bool {
        if self.wait.max_wait.is_zero() || self.len() >= MAX_OPEN_FILES && !self.holds(path) {
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

    /// Releases a file. Returns the time of its first write, if it was held back.
    pub(crate) fn close(&mut self, path: &TreePath) -> Option<Moment> {
        let file = self.files.remove(path)?;
        self.due.remove(&(self.wait.due(file), path.clone()));
        Some(file.first)
    }

    /// Releases the files at and below a deleted path. Returns them.
    pub(crate) fn remove(&mut self, path: &TreePath) -> Vec<TreePath> {
        let gone = self.within(path);
        for path in &gone {
            self.close(path);
        }
        gone
    }

    /// Renames the files at and below `from`: they are still open. Returns the files that were held
    /// back at and below both names.
    ///
    /// An exchange of two names is reported as two renames, one after the other, so neither name is
    /// known to be free: all returned files have to be compared.
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

    /// Returns true if a file at or below `path` is held back.
    pub(crate) fn has_within(&self, path: &TreePath) -> bool {
        path.is_root() && self.len() > 0 || !self.within(path).is_empty()
    }

    /// Takes all files, with the times of their first writes.
    pub(crate) fn take_all(&mut self) -> Vec<(TreePath, Moment)> {
        self.due.clear();
        let files = core::mem::take(&mut self.files);
        files.into_iter().map(|(path, file)| (path, file.first)).collect()
    }

    fn within(&self, path: &TreePath) -> Vec<TreePath> {
        // In the order of their bytes, the paths below a path follow it soon, and begin with it.
        let after = self.files.range(path..).map(|(it, _)| it);
        let near = after.take_while(|it| it.as_bytes().starts_with(path.as_bytes()));
        near.filter(|it| path.contains(it)).cloned().collect()
    }

    /// The time at which the first file is due.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes the files that are due, with the times of their first writes.
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
    fn an_open_file_is_due_after_a_quiet_second_or_ten_seconds() {
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
        // The next write starts a new delay.
        assert!(open.write(&at("log"), after(11_000)));
        assert_eq!(open.next_due(), Some(after(12_000)));
    }

    #[test]
    fn a_renamed_file_stays_open_and_a_deleted_one_is_released() {
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
    fn a_new_delay_applies_to_open_files() {
        let mut open = OpenFiles::new(OpenWait::default());
        assert!(open.write(&at("a"), after(0)));
        let millis = Duration::from_millis;
        open.set_wait(OpenWait { quiet: millis(300), max_wait: millis(500) });
        assert_eq!(open.next_due(), Some(after(300)));
        assert!(open.write(&at("a"), after(290)));
        assert_eq!(open.next_due(), Some(after(500)));
        assert_eq!(open.close(&at("a")), Some(after(0)));
        assert_eq!(open.next_due(), None);
    }

    #[test]
    fn no_file_is_held_back_without_a_delay_or_beyond_the_limit() {
        let mut open = OpenFiles::new(OpenWait::NONE);
        assert!(!open.write(&at("a"), after(0)));
        let mut open = OpenFiles::new(OpenWait::default());
        for n in 0..MAX_OPEN_FILES {
            assert!(open.write(&at(&n.to_string()), after(0)));
        }
        assert!(!open.write(&at("one"), after(0)));
        assert!(open.write(&at("0"), after(1)));
    }
}
