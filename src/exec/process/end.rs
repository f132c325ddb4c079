//! The end of a child process: its reason, and the limit that brings it about.

use std::{
    io,
    time::{Duration, Instant},
};

/// Reason for which a child process is no longer running.
#[derive(Debug)]
pub(crate) enum ProcessExit {
    /// Exited with this code.
    Exited(i32),
    /// Terminated by this signal.
    Killed(i32),
    /// Showed no I/O for this long, and was killed.
    Stalled(Duration),
    /// Reported or reached a state that it never leaves, and was killed.
    Deadlocked,
    /// Failed to start.
    NotStarted(io::Error),
    /// Could not be supervised, and was killed.
    WaitFailed(io::Error),
}

impl ProcessExit {
    /// Describes the end of `program` in a sentence for the log.
    #[must_use]
    pub(crate) fn describe(&self, program: &str) -> String {
        match self {
            Self::Exited(code) => format!("{program} exited with code {code}"),
            Self::Killed(signal) => format!("{program} was killed by signal {signal}"),
            Self::Stalled(time) => {
                format!("{program} stalled: no I/O for {} s: killed", time.as_secs())
            }
            Self::Deadlocked => format!("{program} deadlocked: killed"),
            Self::NotStarted(error) => format!("cannot start {program}: {error}"),
            Self::WaitFailed(error) => format!("cannot wait for {program}: {error}"),
        }
    }
}

/// Limit on the running time of a child.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) enum ChildLimit {
    /// No limit.
    Unlimited,
    /// The child is killed at this time.
    Deadline(Instant),
    /// The child is killed when the rsync processes in it stall. A child without an rsync process
    /// is not limited.
    Stall {
        /// Interval between two samples: the keepalive interval of rsync, and no shorter.
        interval: Duration,
        /// Number of consecutive samples without progress after which the child counts as stalled.
        max_quiet: u32,
    },
}
