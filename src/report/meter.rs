//! Counters of transferred files and bytes.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::lock;

/// Files and bytes that the transfers of one sync have brought to its target.
#[derive(Debug, Default)]
pub struct TransferMeter {
    files: AtomicU64,
    bytes: AtomicU64,
    deleted: AtomicU64,
    /// Bytes of files that are not complete yet.
    pending: AtomicU64,
    call: Mutex<Option<CallProgress>>,
    /// Calls of programs that transferred files without telling their number.
    uncounted_transfers: AtomicU64,
    /// Calls of programs that deleted without telling the number.
    uncounted_deletions: AtomicU64,
    /// Duration of all jobs, in milliseconds.
    busy_millis: AtomicU64,
}

/// Progress of a running program, as it reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallProgress {
    /// Files transferred so far.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Share of the bytes, in percent. `None` while the total is unknown.
    pub percent: Option<u8>,
    /// Estimated time until the end.
    pub left: Option<Duration>,
}

impl TransferMeter {
    /// Counts bytes of a file that is being copied.
    pub fn add_pending(&self, bytes: u64) {
        self.pending.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the copy of a file of which `pending` bytes were counted.
    pub fn end_pending(&self, pending: u64) {
        self.pending.fetch_sub(pending, Ordering::Relaxed);
    }

    /// Counts complete files with their bytes.
    pub fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts deletions on the target.
    pub fn add_deleted(&self, count: u64) {
        self.deleted.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number of deletions on the target, as far as it is known.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Records a call whose number of transferred files is not known.
    pub fn add_uncounted_transfer(&self) {
        self.uncounted_transfers.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of calls whose number of transferred files is not known.
    #[must_use]
    pub fn uncounted_transfers(&self) -> u64 {
        self.uncounted_transfers.load(Ordering::Relaxed)
    }

    /// Records a call whose number of deletions is not known.
    pub fn add_uncounted_deletion(&self) {
        self.uncounted_deletions.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of calls whose number of deletions is not known.
    #[must_use]
    pub fn uncounted_deletions(&self) -> u64 {
        self.uncounted_deletions.load(Ordering::Relaxed)
    }

    /// Counts the time of a job until the result is dropped.
    pub fn time_job(&self) -> impl Drop + use<'_> {
        JobTimer { meter: self, started: Instant::now() }
    }

    /// Returns the duration of all jobs that have ended.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_millis(self.busy_millis.load(Ordering::Relaxed))
    }

    /// Sets the progress of the running program. `None`: it has ended.
    pub fn set_call(&self, progress: Option<CallProgress>) {
        *lock(&self.call) = progress;
    }

    /// Returns the progress of the running program, if it reports any.
    #[must_use]
    pub fn call(&self) -> Option<CallProgress> {
        *lock(&self.call)
    }

    /// Returns the complete files and their bytes. `None` if they are not known completely.
    #[must_use]
    pub fn known_totals(&self) -> Option<TransferTotals> {
        (self.uncounted_transfers() == 0).then(|| self.totals())
    }

    /// Returns the complete files and their bytes, as far as they are known.
    #[must_use]
    pub fn totals(&self) -> TransferTotals {
        TransferTotals {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the files and bytes so far, with those of incomplete files.
    #[must_use]
    pub fn so_far(&self) -> TransferTotals {
        let TransferTotals { files, bytes } = self.totals();
        let call = self.call().unwrap_or_default();
        let pending = self.pending.load(Ordering::Relaxed);
        TransferTotals { files: files + call.files, bytes: bytes + call.bytes + pending }
    }
}

/// Counter of the time of one job.
struct JobTimer<'a> {
    meter: &'a TransferMeter,
    started: Instant,
}

impl Drop for JobTimer<'_> {
    fn drop(&mut self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.meter.busy_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Numbers of files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferTotals {
    /// Number of files.
    pub files: u64,
    /// Sum of their bytes.
    pub bytes: u64,
}

/// Formats a number of bytes for people, with a decimal unit, in all outputs of the programs.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, in integers.
    let (mut tenths, mut units) = (bytes / 100, UNITS.iter());
    let mut unit = units.next();
    while tenths >= 10_000
        && let Some(next) = units.next()
    {
        tenths /= 1000;
        unit = Some(next);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, unit.unwrap_or(&"kB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (12_345_678_901, "12.3 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn incomplete_files_count_only_for_the_progress() {
        let meter = TransferMeter::default();
        meter.add(2, 10);
        meter.add_pending(5);
        let call = CallProgress { files: 1, bytes: 100, ..CallProgress::default() };
        meter.set_call(Some(call));
        assert_eq!(meter.so_far(), TransferTotals { files: 3, bytes: 115 });
        assert_eq!(meter.totals(), TransferTotals { files: 2, bytes: 10 });
        meter.end_pending(5);
        meter.set_call(None);
        assert_eq!(meter.so_far(), meter.totals());
    }
}
