//! Debounce: the time at which dirty paths are dispatched.

use core::time::Duration;

use crate::time::Moment;

/// The rule for the time at which pending paths are due. All are due together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debounce {
    /// An explicit `delay`, counted from the oldest pending change as by the original (section
    /// "Delays and completion" of `docs/original-behaviour.md`).
    FixedDelay {
        /// The age of the oldest mark at which the paths are due.
        delay: Duration,
        /// With this many pending paths, they are due at once.
        max_waiting: usize,
    },
    /// A single change is due soon, a burst of changes is due together.
    Quiet {
        /// The time without a mark after which the paths are due.
        quiet: Duration,
        /// The age of the oldest mark at which the paths are due in any case.
        max_wait: Duration,
    },
}

impl Default for Debounce {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Debounce {
    /// The debounce of a sync without a delay: 100 ms without a further change, at most one second
    /// after the first. See `docs/decisions/0004-debounce.md`.
    pub const DEFAULT: Self =
        Self::Quiet { quiet: Duration::from_millis(100), max_wait: Duration::from_secs(1) };

    /// The time at which `waiting` paths are due, with the oldest mark at `oldest` and the newest
    /// at `newest`.
    #[must_use]
    pub fn due(self, oldest: Moment, newest: Moment, waiting: usize) -> Moment {
        match self {
            Self::FixedDelay { max_waiting, .. } if waiting >= max_waiting => oldest,
            Self::FixedDelay { delay, .. } => oldest + delay,
            Self::Quiet { quiet, max_wait } => (newest + quiet).min(oldest + max_wait),
        }
    }
}
