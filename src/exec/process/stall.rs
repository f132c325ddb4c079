//! Whether an rsync that talks to another machine still gets on.
//!
//! Its own `--timeout` does not end one that sends: while it waits for the other side it sends a
//! sign of life of 4 bytes in half of that time, and takes that it could be sent for an answer
//! (seen with 3.5.0). So it waits for ever for a host whose processes stand still, and for a line
//! that takes bytes and passes none on, as long as these few find room in a buffer. And at times, when
//! what is sent vanishes meanwhile, it and the other side wait for each other, and tell each other for
//! ever that they live.

use std::{
    fs, io,
    path::Path,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::child::{End, Limit};

/// So many looks that show nothing, two in the time of `--timeout`, mean that it hangs. They are
/// counted, since no child gets on in a machine that sleeps.
const LOOKS: u32 = 4;

/// How often it is looked whether one waits for a fifo.
const GLANCE: Duration = Duration::from_secs(3);

/// So many such looks, one after the other, are enough.
const GLANCES: u32 = 2;

/// Where a process waits in the kernel that opens a fifo which nobody writes to: `fs/pipe.c`.
const OPENS_A_FIFO: &str = "wait_for_partner";

/// How often their number is doubled: for a `--timeout` of five minutes, up to ten hours.
const MOST_DOUBLED: u32 = 6;

/// What signs of life alone read or write between two looks is less.
const MORE_THAN_SIGNS_OF_LIFE: u64 = 64;

/// What waking up to send them alone takes, in clock ticks, is less.
const TICKS_OF_WORK: u64 = 2;

/// How long the rsyncs of one mirror may do nothing.
///
/// Where one was ended, the next may take twice as long: the other side may have been at work all
/// the same, such as an rsync that reads a very large file for `--checksum`, and must come to an end
/// some time. A host that stands still is none the worse for it, since whoever waits for it goes on
/// when it does.
#[derive(Debug)]
pub(in crate::exec) struct Patience {
    silence: Option<Duration>,
    ended: AtomicU32,
}

impl Patience {
    /// With this `--timeout`; `None` if there is none.
    pub(in crate::exec) const fn new(silence: Option<Duration>) -> Self {
        Self { silence, ended: AtomicU32::new(0) }
    }

    /// What holds for the next rsync.
    pub(in crate::exec) fn limit(&self) -> Limit {
        let doubled = 1 << self.ended.load(Ordering::Relaxed).min(MOST_DOUBLED);
        self.silence.map_or(Limit::Endless, |silence| Limit::Quiet {
            every: silence / 2,
            looks: LOOKS * doubled,
        })
    }

    /// So one ended.
    pub(in crate::exec) fn learn(&self, end: &End) {
        if matches!(end, End::Hung(_)) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        } else {
            self.ended.store(0, Ordering::Relaxed);
        }
    }
}

/// Watches a child, and what it has started.
#[derive(Debug)]
pub(in crate::exec) struct Pulse {
    child: Pid,
    every: Duration,
    most: u32,
    next: Instant,
    quiet: u32,
    last: Option<Vec<Vitals>>,
    glance: Instant,
    waiting: u32,
}

impl Pulse {
    /// Watches this child as [`Limit::Quiet`] says.
    pub(in crate::exec) fn new(child: Pid, every: Duration, looks: u32) -> Self {
        let now = Instant::now();
        let (next, glance) = (now + every, now + GLANCE);
        Self { child, every, most: looks, next, quiet: 0, last: None, glance, waiting: 0 }
    }

    /// How long it may do nothing.
    pub(in crate::exec) fn most(&self) -> Duration {
        self.every * self.most
    }

    /// When to look the next time.
    pub(in crate::exec) fn next(&self) -> Instant {
        self.next.min(self.glance)
    }

    /// Looks, if it is time to: `true` if one of them waits until somebody writes to a fifo.
    ///
    /// rsync (3.5.0) opens a file so that it waits for ever if that has become a fifo since it was
    /// listed; with a fifo anybody who may write in the source could keep it from going on.
    pub(in crate::exec) fn waits_for_writer(&mut self) -> bool {
        let now = Instant::now();
        if now < self.glance {
            return false;
        }
        self.glance = now + GLANCE;
        let is_waiting = |pid: Pid| {
            let path = format!("/proc/{}/wchan", pid.as_raw_nonzero());
            fs::read_to_string(path).is_ok_and(|place| place.trim_end() == OPENS_A_FIFO)
        };
        let any = [self.child].into_iter().chain(descendants(self.child)).any(is_waiting);
        self.waiting = if any { self.waiting + 1 } else { 0 };
        self.waiting >= GLANCES
    }

    /// Looks, if it is time to: `true` if the child hangs.
    pub(in crate::exec) fn hangs(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + self.every;
        let seen = rsyncs(self.child).ok().filter(|seen| !seen.is_empty());
        let is_quiet = seen.as_ref().zip(self.last.as_ref()).is_some_and(|(seen, last)| {
            seen.len() == last.len()
                && seen.iter().zip(last).all(|(seen, last)| seen.is_quiet(last))
        });
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
        self.last = seen;
        self.quiet >= self.most
    }
}

/// Ends a child and all that it has started, such as the ssh that would wait on.
pub(in crate::exec) fn end_all(child: Pid) {
    for pid in [child].into_iter().chain(descendants(child)) {
        // It fails only for one that has ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// What tells of a process whether it gets on, from `proc_pid_io(5)` and `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vitals {
    pid: Pid,
    /// It waits, for something that may never come: not for a disk, and nobody has stopped it.
    sleeps: bool,
    /// Bytes that it has read, of whatever.
    read: u64,
    /// Bytes that it has written.
    written: u64,
    /// Time of a processor that it has had, in clock ticks.
    ticks: u64,
}

impl Vitals {
    /// `None` if it is no rsync.
    fn of_rsync(pid: Pid) -> io::Result<Option<Self>> {
        let proc = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
        let program = fs::read_link(proc.join("exe"))?;
        // What was replaced while it runs has a ` (deleted)` behind its name.
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
        // The name of the program, in brackets, may hold anything.
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

    /// Whether it has done nothing since then but to send signs of life.
    fn is_quiet(&self, since: &Self) -> bool {
        let written = self.written.saturating_sub(since.written);
        let read = self.read.saturating_sub(since.read);
        let ticks = self.ticks.saturating_sub(since.ticks);
        self.sleeps
            && self.pid == since.pid
            && written <= MORE_THAN_SIGNS_OF_LIFE
            && read <= MORE_THAN_SIGNS_OF_LIFE
            && ticks < TICKS_OF_WORK
    }
}

/// Each rsync among this process and its descendants.
fn rsyncs(child: Pid) -> io::Result<Vec<Vitals>> {
    let all = [child].into_iter().chain(descendants(child));
    all.filter_map(|pid| Vitals::of_rsync(pid).transpose()).collect()
}

/// What a process has started, and so on. Who has gone into the background is not among it.
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
    // A program with several threads is no rsync, and no shell around one.
    let of = of.as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: &str = "rchar: 100\nwchar: 200\nsyscr: 7\nread_bytes: 0\n";

    fn vitals(io: &str, state: &str, ticks: (u64, u64)) -> Option<Vitals> {
        let (user, system) = ticks;
        let stat =
            format!("42 (a) S (b) {state} 1 42 42 0 -1 4194560 99 0 0 0 {user} {system} 0 0");
        Vitals::parse(Pid::from_raw(42).unwrap(), io, &stat)
    }

    #[test]
    fn who_was_ended_gets_twice_the_time_until_one_ends_by_itself() {
        let patience = Patience::new(Some(Duration::from_mins(5)));
        let minutes = || match patience.limit() {
            Limit::Quiet { every, looks } => (every * looks).as_secs() / 60,
            other => panic!("{other:?}"),
        };
        let hung = || patience.learn(&End::Hung(Duration::ZERO));
        assert_eq!(minutes(), 10);
        hung();
        assert_eq!(minutes(), 20);
        (0..20).for_each(|_| hung());
        assert_eq!(minutes(), 640);
        patience.learn(&End::Exited(12));
        assert_eq!(minutes(), 10);
        assert!(matches!(Patience::new(None).limit(), Limit::Endless));
    }

    #[test]
    fn what_the_kernel_tells_is_understood() {
        let seen = vitals(IO, "S", (3, 4)).unwrap();
        assert_eq!((seen.sleeps, seen.read, seen.written, seen.ticks), (true, 100, 200, 7));
        assert!(!vitals(IO, "D", (3, 4)).unwrap().sleeps);
        assert_eq!(vitals("wchar: 200\n", "S", (3, 4)), None);
        let myself = rustix::process::getpid();
        let of_myself = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        assert!(Vitals::parse(myself, &of_myself("io"), &of_myself("stat")).is_some());
    }

    #[test]
    fn only_signs_of_life_are_no_sign_of_life() {
        let before = vitals(IO, "S", (3, 4)).unwrap();
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
            let now = vitals(io, state, ticks).unwrap();
            assert_eq!(now.is_quiet(&before), is_quiet, "{io} {state} {ticks:?}");
        }
        let another = Vitals { pid: Pid::from_raw(43).unwrap(), ..before };
        assert!(!another.is_quiet(&before));
    }
}
