//! The status of a queue.

use crate::time::Moment;

/// The number of paths at each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Paths that wait until they are due.
    pub waiting: usize,
    /// Paths that wait for the settlement of a batch that they touch.
    pub deferred: usize,
    /// Paths in a running batch.
    pub in_flight: usize,
    /// Failed paths that wait for their retry.
    pub backing_off: usize,
}

impl QueueCounts {
    /// The number of all paths that are not known to be on the target.
    #[must_use]
    pub const fn total(self) -> usize {
        self.waiting + self.deferred + self.in_flight + self.backing_off
    }
}

/// The stage of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits until it is due.
    Waiting,
    /// It waits for the settlement of a batch that it touches.
    Deferred,
    /// It is in a running batch.
    InFlight,
    /// It failed and waits for its retry.
    BackingOff {
        /// The time of the retry.
        retry_at: Moment,
        /// The number of failures in a row.
        tries: u32,
    },
}
