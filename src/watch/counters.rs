//! Numbers that the reader keeps for monitoring.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of watches and overflows.
#[derive(Debug, Default)]
pub(crate) struct WatchCounters {
    watches: AtomicU64,
    polled: AtomicU64,
    overflows: AtomicU64,
}

impl WatchCounters {
    /// Number of directories that are watched individually.
    pub(crate) fn watches(&self) -> u64 {
        self.watches.load(Ordering::Relaxed)
    }

    /// Number of directories that are polled.
    pub(crate) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// Number of overflows of the kernel's queues so far.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    pub(super) fn set_watches(&self, watches: usize, polled: usize) {
        self.watches.store(watches as u64, Ordering::Relaxed);
        self.polled.store(polled as u64, Ordering::Relaxed);
    }

    pub(super) fn add_overflows(&self, count: usize) {
        self.overflows.fetch_add(count as u64, Ordering::Relaxed);
    }
}
