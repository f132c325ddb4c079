//! Number of entries that a job has processed, and of those on the target.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use mirror_core::path::TreePath;
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::FileType;

/// Counts everything below a directory.
///
/// # Errors
///
/// If a directory can't be read.
pub(super) fn count_entries(top: &Dir) -> io::Result<u64> {
    let (mut rest, mut buffer, mut count) = (vec![TreePath::root()], ReadBuffer::new(), 0);
    while let Some(path) = rest.pop() {
        let directory = top.open_below(path.as_bytes())?;
        directory.read(&mut buffer, |entry| {
            count += 1;
            if entry.file_type == FileType::Directory {
                rest.extend(path.join(entry.name));
            }
            Ok(())
        })?;
    }
    Ok(count)
}

/// Number of entries that a job has processed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) both: AtomicU64,
    pub(super) added: AtomicU64,
    pub(super) removed: AtomicU64,
    pub(super) kept: AtomicU64,
    /// Number of deletions that were requested of the `max-delete` quota.
    pub(super) quota_used: AtomicU64,
    /// True once all source entries have been counted.
    pub(super) is_closed: AtomicBool,
}

impl Tally {
    /// Counts an entry of the source, which the target had or lacked.
    pub(super) fn count_mirrored(&self, was_there: bool) {
        if !self.is_closed.load(Ordering::Relaxed) {
            let counter = if was_there { &self.both } else { &self.added };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stops counting source entries: those processed from now on are repetitions.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Counts an entry that was removed from the target.
    pub(super) fn count_removed(&self) {
        self.removed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns true if any entry was removed.
    pub(super) fn has_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed) > 0
    }

    /// Returns the number of target entries before a full job, without those in
    /// [`CountedDeletions`](super::deletions::CountedDeletions).
    pub(super) fn before(&self) -> u64 {
        self.both.load(Ordering::Relaxed) + self.removed.load(Ordering::Relaxed)
    }

    /// Returns the number of target entries after a full job.
    pub(super) fn after(&self) -> u64 {
        let counters = [&self.both, &self.added, &self.kept];
        counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of target entries before a partial job, given the present number.
    pub(super) fn before_changes(&self, present: u64) -> u64 {
        let [added, removed] =
            [&self.added, &self.removed].map(|count| count.load(Ordering::Relaxed));
        (present + removed).saturating_sub(added)
    }

    /// Returns the number of target entries after a partial job, given their number before.
    pub(super) fn changed(&self, before: u64) -> u64 {
        let (added, removed) =
            (self.added.load(Ordering::Relaxed), self.removed.load(Ordering::Relaxed));
        (before + added).saturating_sub(removed)
    }
}
