//! Stall detection: watches the I/O counters of rsync processes from outside.
//!
//! A sending rsync never hits its own `--timeout`: while it waits for the other side it sends a
//! keepalive of 4 bytes in half of that time, and takes the successful write for an answer (seen
//! with 3.5.0). So it waits for ever for a host whose processes are stopped, and for a connection
//! that accepts bytes and delivers none, as long as the keepalives fit into a buffer. In addition,
//! when files vanish during a transfer, both sides sometimes wait for each other and exchange
//! keepalives for ever.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use mirror_platform::{
    process_handle::ProcessHandle,
    processes::{ProcessCounters, descendants, is_opening_fifo, program_name},
};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    cancel::{KILL_AFTER, terminate},
    end::{ChildLimit, ProcessExit},
};

/// Number of consecutive samples without progress that count as a stall; two samples are taken in
/// the time of `--timeout`. Samples are counted instead of time, since no child makes progress
/// while the machine is suspended.
const MAX_QUIET_SAMPLES: u32 = 4;

/// Interval of the check for a process blocked on a FIFO.
const FIFO_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Number of consecutive positive checks after which the process counts as blocked.
const MAX_FIFO_POLLS: u32 = 2;

/// Limit on doublings of the sample count: for a `--timeout` of five minutes, up to ten hours.
const MAX_DOUBLINGS: u32 = 6;

/// The most bytes that keepalives alone read or write between two samples.
const KEEPALIVE_BYTES: u64 = 64;

/// Keepalives alone take fewer clock ticks than this between two samples.
const KEEPALIVE_TICKS: u64 = 2;

/// Stall limit of the rsync processes of one mirror.
///
/// After a stall the next rsync gets twice the time: the other side may have been working all the
/// same, such as an rsync that reads a very large file for `--checksum`, and must be able to
/// finish. The longer limit does no harm with a stopped host, since a waiting rsync continues as
/// soon as the host does.
#[derive(Debug)]
pub(in crate::exec) struct StallLimit {
    timeout: Option<Duration>,
    stalls: AtomicU32,
}

impl StallLimit {
    /// Creates a limit from the `--timeout` in force; `None` disables stall detection.
    pub(in crate::exec) const fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, stalls: AtomicU32::new(0) }
    }

    /// Returns the limit of the next rsync.
    pub(in crate::exec) fn run_limit(&self) -> ChildLimit {
        let doubled = 1 << self.stalls.load(Ordering::Relaxed).min(MAX_DOUBLINGS);
        self.timeout.map_or(ChildLimit::Unlimited, |timeout| ChildLimit::Stall {
            interval: timeout / 2,
            max_quiet: MAX_QUIET_SAMPLES * doubled,
        })
    }

    /// Records the end of an rsync: a stall doubles the limit, any other exit resets it.
    pub(in crate::exec) fn record(&self, end: &ProcessExit) {
        if matches!(end, ProcessExit::Stalled(_)) {
            self.stalls.fetch_add(1, Ordering::Relaxed);
        } else {
            self.stalls.store(0, Ordering::Relaxed);
        }
    }
}

/// Watches a child and its descendants.
#[derive(Debug)]
pub(in crate::exec) struct StallDetector {
    child: Pid,
    interval: Duration,
    max_quiet: u32,
    next_sample: Instant,
    quiet_samples: u32,
    last_counters: Option<Vec<ProcessCounters>>,
    next_fifo_poll: Instant,
    fifo_polls: u32,
}

impl StallDetector {
    /// Creates a detector with the parameters of [`ChildLimit::Stall`].
    pub(in crate::exec) fn new(child: Pid, interval: Duration, max_quiet: u32) -> Self {
        let now = Instant::now();
        let (next_sample, next_fifo_poll) = (now + interval, now + FIFO_POLL_INTERVAL);
        Self {
            child,
            interval,
            max_quiet,
            next_sample,
            quiet_samples: 0,
            last_counters: None,
            next_fifo_poll,
            fifo_polls: 0,
        }
    }

    /// Returns the time without progress that counts as a stall.
    pub(in crate::exec) fn timeout(&self) -> Duration {
        self.interval * self.max_quiet
    }

    /// Returns the time of the next check.
    pub(in crate::exec) fn next_poll(&self) -> Instant {
        self.next_sample.min(self.next_fifo_poll)
    }

    /// Checks for a blocked FIFO if that is due. Returns true if a process waits for a writer of a
    /// FIFO.
    ///
    /// rsync (3.5.0) opens a file in a way that blocks for ever if the file has become a FIFO since
    /// it was listed. Anybody with write access to the source could block the mirror with a FIFO.
    pub(in crate::exec) fn is_blocked_on_fifo(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_fifo_poll {
            return false;
        }
        self.next_fifo_poll = now + FIFO_POLL_INTERVAL;
        let any = [self.child].into_iter().chain(descendants(self.child)).any(is_opening_fifo);
        self.fifo_polls = if any { self.fifo_polls + 1 } else { 0 };
        self.fifo_polls >= MAX_FIFO_POLLS
    }

    /// Takes a sample if that is due. Returns true if the child is stalled.
    pub(in crate::exec) fn is_stalled(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_sample {
            return false;
        }
        self.next_sample = now + self.interval;
        let seen = rsync_counters(self.child).ok().filter(|seen| !seen.is_empty());
        let is_quiet =
            seen.as_ref().zip(self.last_counters.as_ref()).is_some_and(|(seen, last)| {
                seen.len() == last.len()
                    && seen.iter().zip(last).all(|(seen, last)| is_quiet(seen, last))
            });
        self.quiet_samples = if is_quiet { self.quiet_samples + 1 } else { 0 };
        self.last_counters = seen;
        self.quiet_samples >= self.max_quiet
    }
}

/// Kills a child, and terminates all its descendants, such as an ssh that would keep waiting. The
/// receiving process of a local rsync removes its temporary file when it is terminated.
pub(in crate::exec) fn kill_tree(child: Pid) {
    let descendants = descendants(child);
    // Both fail only for a process that has exited by itself.
    let _ = kill_process(child, Signal::KILL);
    for pid in descendants {
        if let Ok(descendant) = ProcessHandle::open(pid) {
            terminate(&descendant, KILL_AFTER);
        }
    }
}

/// Returns true if the process did nothing since `since` except for sending keepalives.
fn is_quiet(now: &ProcessCounters, since: &ProcessCounters) -> bool {
    let written = now.written.saturating_sub(since.written);
    let read = now.read.saturating_sub(since.read);
    let ticks = now.ticks.saturating_sub(since.ticks);
    now.sleeps
        && now.pid == since.pid
        && written <= KEEPALIVE_BYTES
        && read <= KEEPALIVE_BYTES
        && ticks < KEEPALIVE_TICKS
}

/// Reads the counters of each rsync among this process and its descendants.
fn rsync_counters(child: Pid) -> io::Result<Vec<ProcessCounters>> {
    let mut found = Vec::new();
    for pid in [child].into_iter().chain(descendants(child)) {
        // The name of a binary that was replaced has more at its end.
        if program_name(pid)?.as_encoded_bytes().starts_with(b"rsync") {
            found.push(ProcessCounters::of(pid)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stall_doubles_the_limit_until_an_rsync_exits() {
        let limit = StallLimit::new(Some(Duration::from_mins(5)));
        let minutes = || match limit.run_limit() {
            ChildLimit::Stall { interval, max_quiet } => (interval * max_quiet).as_secs() / 60,
            other => panic!("{other:?}"),
        };
        let record_stall = || limit.record(&ProcessExit::Stalled(Duration::ZERO));
        assert_eq!(minutes(), 10);
        record_stall();
        assert_eq!(minutes(), 20);
        (0..20).for_each(|_| record_stall());
        assert_eq!(minutes(), 640);
        limit.record(&ProcessExit::Exited(12));
        assert_eq!(minutes(), 10);
        assert!(matches!(StallLimit::new(None).run_limit(), ChildLimit::Unlimited));
    }

    #[test]
    fn keepalives_alone_are_no_progress() {
        let before = ProcessCounters {
            pid: Pid::from_raw(42).unwrap(),
            sleeps: true,
            read: 100,
            written: 200,
            ticks: 7,
        };
        for (now, expected) in [
            (before, true),
            (ProcessCounters { written: 232, ticks: 8, ..before }, true),
            (ProcessCounters { read: 132, written: 232, ..before }, true),
            (ProcessCounters { read: 165, ..before }, false),
            (ProcessCounters { written: 265, ..before }, false),
            (ProcessCounters { ticks: 9, ..before }, false),
            (ProcessCounters { sleeps: false, ..before }, false),
            (ProcessCounters { pid: Pid::from_raw(43).unwrap(), ..before }, false),
        ] {
            assert_eq!(is_quiet(&now, &before), expected, "{now:?}");
        }
    }
}
