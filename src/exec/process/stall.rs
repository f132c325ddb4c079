//! Stall detection: watches the I/O counters of rsync processes from outside.
//!
//! A sending rsync never hits its own `--timeout`: while it waits for the other side it sends a
//! keepalive of 4 bytes in half of that time, and takes the successful write for an answer (seen
//! with 3.5.0). So it waits for ever for a host whose processes are stopped, and for a connection
//! that accepts bytes and delivers none, as long as the keepalives fit into a buffer. In addition,
//! when files vanish during a transfer, both sides sometimes wait for each other and exchange
//! keepalives for ever.

use std::{
    fs, io,
    path::Path,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

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

/// Kernel function in which a process sleeps that opens a FIFO without a writer: `fs/pipe.c`.
const FIFO_OPEN_WCHAN: &str = "wait_for_partner";

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
    last_counters: Option<Vec<IoCounters>>,
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
        let is_waiting = |pid: Pid| {
            let path = format!("/proc/{}/wchan", pid.as_raw_nonzero());
            fs::read_to_string(path).is_ok_and(|place| place.trim_end() == FIFO_OPEN_WCHAN)
        };
        let any = [self.child].into_iter().chain(descendants(self.child)).any(is_waiting);
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
                    && seen.iter().zip(last).all(|(seen, last)| seen.is_quiet(last))
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
        if let Ok(descendant) = pidfd_open(pid, PidfdFlags::empty()) {
            terminate(&descendant, KILL_AFTER);
        }
    }
}

/// I/O and CPU counters of one rsync process, from `proc_pid_io(5)` and `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IoCounters {
    pid: Pid,
    /// In interruptible sleep, which may never end: neither waiting for a disk nor stopped.
    sleeps: bool,
    /// Bytes read, from any descriptor.
    read: u64,
    /// Bytes written.
    written: u64,
    /// CPU time used, in clock ticks.
    ticks: u64,
}

impl IoCounters {
    /// Reads the counters. Returns `None` if the process is no rsync.
    fn of_rsync(pid: Pid) -> io::Result<Option<Self>> {
        let proc = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
        let program = fs::read_link(proc.join("exe"))?;
        // The kernel appends ` (deleted)` to the name of a binary that was replaced.
        let name = program.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.starts_with(b"rsync") {
            return Ok(None);
        }
        let io = fs::read_to_string(proc.join("io"))?;
        let stat = fs::read_to_string(proc.join("stat"))?;
        Self::parse(pid, &io, &stat).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(pid: Pid, io: &str, stat: &str) -> Option<Self> {
        let bytes = |name| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        // The program name, in parentheses, can contain any character.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| u64::from_str(field).ok());
        Some(Self {
            pid,
            sleeps: *fields.first()? == "S",
            read: bytes("rchar:")?,
            written: bytes("wchar:")?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }

    /// Returns true if the process did nothing since `since` except for sending keepalives.
    fn is_quiet(&self, since: &Self) -> bool {
        let written = self.written.saturating_sub(since.written);
        let read = self.read.saturating_sub(since.read);
        let ticks = self.ticks.saturating_sub(since.ticks);
        self.sleeps
            && self.pid == since.pid
            && written <= KEEPALIVE_BYTES
            && read <= KEEPALIVE_BYTES
            && ticks < KEEPALIVE_TICKS
    }
}

/// Reads the counters of each rsync among this process and its descendants.
fn rsync_counters(child: Pid) -> io::Result<Vec<IoCounters>> {
    let all = [child].into_iter().chain(descendants(child));
    all.filter_map(|pid| IoCounters::of_rsync(pid).transpose()).collect()
}

/// Returns the descendants of a process. Processes that moved to the background are not among them.
fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = children(of);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

fn children(of: Pid) -> Vec<Pid> {
    // Neither rsync nor a shell around it has several threads.
    let of = of.as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: &str = "rchar: 100\nwchar: 200\nsyscr: 7\nread_bytes: 0\n";

    fn counters(io: &str, state: &str, ticks: (u64, u64)) -> Option<IoCounters> {
        let (user, system) = ticks;
        let stat =
            format!("42 (a) S (b) {state} 1 42 42 0 -1 4194560 99 0 0 0 {user} {system} 0 0");
        IoCounters::parse(Pid::from_raw(42).unwrap(), io, &stat)
    }

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
    fn proc_io_and_stat_are_parsed() {
        let seen = counters(IO, "S", (3, 4)).unwrap();
        assert_eq!((seen.sleeps, seen.read, seen.written, seen.ticks), (true, 100, 200, 7));
        assert!(!counters(IO, "D", (3, 4)).unwrap().sleeps);
        assert_eq!(counters("wchar: 200\n", "S", (3, 4)), None);
        let myself = rustix::process::getpid();
        let of_myself = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        assert!(IoCounters::parse(myself, &of_myself("io"), &of_myself("stat")).is_some());
    }

    #[test]
    fn keepalives_alone_are_no_progress() {
        let before = counters(IO, "S", (3, 4)).unwrap();
        for (io, state, ticks, is_quiet) in [
            (IO, "S", (3, 4), true),
            ("rchar: 100\nwchar: 232\n", "S", (3, 5), true),
            ("rchar: 132\nwchar: 232\n", "S", (3, 4), true),
            ("rchar: 165\nwchar: 200\n", "S", (3, 4), false),
            ("rchar: 100\nwchar: 265\n", "S", (3, 4), false),
            (IO, "S", (4, 5), false),
            (IO, "D", (3, 4), false),
            (IO, "R", (3, 4), false),
            (IO, "T", (3, 4), false),
        ] {
            let now = counters(io, state, ticks).unwrap();
            assert_eq!(now.is_quiet(&before), is_quiet, "{io} {state} {ticks:?}");
        }
        let another = IoCounters { pid: Pid::from_raw(43).unwrap(), ..before };
        assert!(!another.is_quiet(&before));
    }
}
