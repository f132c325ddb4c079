//! When a queue lets go of what it holds.

use core::time::Duration;

use crate::time::Moment;

/// When the places that wait are due. They go together: once one is due, all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As the original counts an explicit `delay` (lsyncd-behaviour.md 7.5, 17.1).
    Fixed {
        /// How old the oldest mark becomes.
        delay: Duration,
        /// With this many places waiting, they are due at once.
        max_waiting: usize,
    },
    /// A lone change goes out soon, a storm goes out together.
    Quiet {
        /// How long nothing new must have come.
        quiet: Duration,
        /// How old the oldest mark becomes, if it does not get quiet.
        ceiling: Duration,
    },
}

/// Where no delay is asked for: a tenth of a second of quiet, a second at most.
impl Default for Pace {
    fn default() -> Self {
        Self::Quiet { quiet: Duration::from_millis(100), ceiling: Duration::from_secs(1) }
    }
}

impl Pace {
    /// When `waiting` places are due, the oldest marked at `oldest` and the newest at `newest`.
    #[must_use]
    pub fn due(self, oldest: Moment, newest: Moment, waiting: usize) -> Moment {
        match self {
            Self::Fixed { max_waiting, .. } if waiting >= max_waiting => oldest,
            Self::Fixed { delay, .. } => oldest + delay,
            Self::Quiet { quiet, ceiling } => (newest + quiet).min(oldest + ceiling),
        }
    }
}
