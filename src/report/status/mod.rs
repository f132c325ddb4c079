//! The status: the original's blocks to the letter, so that what reads them goes on to; before them a
//! line for each sync, and behind them what else the original does not tell.
//!
//! When it is written, the engine says.

mod file;
mod script;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use jiff::{SignedDuration, Zoned};
use mirror_core::{
    fleet::Member,
    input::Gate,
    job::{Failure, Scope},
    mirror::{Cause, Delay, Mirror, State, What, scripted::Scripted},
    path::Escaped,
    queue::Stage,
    time::Moment,
};

use super::text::DATE;
pub use file::StatusFile;

/// How many delays are listed at most, of all syncs together; the others are counted.
const MOST_DELAYS: usize = 10_000;

/// So many delays of a sync are listed in any case.
const FEWEST_DELAYS: usize = 20;

/// How many places that failed are named for each sync.
const MOST_FAILED: usize = 20;

/// What there is to tell at a moment.
#[derive(Debug)]
pub struct Status<'a> {
    /// All syncs, in their order.
    pub syncs: Vec<SyncStatus<'a>>,
    /// The programs that run.
    pub processes: Vec<Process>,
    /// The directories that are watched one by one.
    pub watches: Watches<'a>,
    /// What else there is to say of the watching: lines.
    pub notes: Vec<String>,
    /// Whether the daemon has ended with this.
    pub is_last: bool,
    /// The time by the clock of the mirrors.
    pub now: Moment,
    /// The same by the clock on the wall.
    pub clock: Zoned,
}

/// What is left in a status file in whose place there is another one, or none.
#[must_use]
pub fn farewell(other: Option<&Path>, clock: &Zoned) -> Vec<u8> {
    let date = clock.strftime(DATE);
    let what = match other {
        Some(other) => format!("written to {}", Escaped(other.as_os_str().as_bytes())),
        None => "not written any more".into(),
    };
    format!("Lsyncd status report at {date}\n\nFrom now on the status is {what}.\n").into_bytes()
}

/// One sync.
#[derive(Clone, Debug)]
pub struct SyncStatus<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its source, without a slash at the end.
    pub source: &'a Path,
    /// The rules of the user.
    pub filters: &'a [Vec<u8>],
    /// Its target.
    pub target: &'a OsStr,
    /// The patterns of the user.
    pub excludes: &'a [Vec<u8>],
    /// What it is about.
    pub mirror: Tracked<'a>,
    /// Which deletions are held, and what to do about it: sentences.
    pub held: Vec<String>,
}

/// A mirror of either sort.
#[derive(Clone, Copy, Debug)]
pub enum Tracked<'a> {
    /// With a target of ours.
    Built(&'a Mirror),
    /// With a script.
    Scripted(&'a Scripted),
}

impl<'a> From<&'a Member> for Tracked<'a> {
    fn from(member: &'a Member) -> Self {
        match member {
            Member::Built(mirror) => Self::Built(mirror),
            Member::Scripted(mirror) => Self::Scripted(mirror),
        }
    }
}

/// A program that runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it was started, in ticks of `times(2)`.
    pub started: u64,
}

/// The directories that are watched one by one.
#[derive(Clone, Copy, Debug)]
pub struct Watches<'a> {
    /// How many there are.
    pub count: usize,
    /// Some of them, if not all: the number of the watch, and an absolute path without a slash at
    /// the end.
    pub listed: &'a [(i32, Vec<u8>)],
}

impl Status<'_> {
    /// The status as it stands in the file.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // It can't fail in memory.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "Lsyncd status report at {}\n", self.clock.strftime(DATE))?;
        if self.is_last {
            writeln!(out, "The daemon has stopped.\n")?;
        }
        writeln!(out, "Syncs:")?;
        self.syncs.iter().try_for_each(|sync| self.write_state(sync, out))?;
        writeln!(out)?;
        let most = MOST_DELAYS.checked_div(self.syncs.len()).unwrap_or_default();
        for sync in &self.syncs {
            sync.write(out, most.max(FEWEST_DELAYS))?;
        }
        self.watches.write(out)?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        writeln!(out, "\nRunning processes: {}", self.processes.len())?;
        for Process { pid, started } in &self.processes {
            writeln!(out, "  pid={pid} type=1 started={started}.000000")?;
        }
        Ok(())
    }

    /// In words, how a sync is.
    fn write_state(&self, sync: &SyncStatus<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let (name, target) = (Escaped(sync.name.as_bytes()), Escaped(sync.target.as_bytes()));
        let mirror = match sync.mirror {
            Tracked::Built(mirror) => mirror,
            Tracked::Scripted(mirror) => {
                write!(out, "{name}, a script: ")?;
                if self.is_last {
                    writeln!(out, "stopped, {}", script::left(mirror))?;
                } else {
                    script::write_state(mirror, out)?;
                }
                return script::write_failed(mirror, |moment| self.date(moment), out);
            }
        };
        let count = mirror.delay_count();
        write!(out, "{name} -> {target}: ")?;
        if self.is_last {
            write!(out, "stopped")?;
        } else {
            self.write_phase(mirror, count, out)?;
        }
        if !sync.held.is_empty() {
            let deletions: u64 = mirror.held().iter().map(|held| held.count).sum();
            write!(out, ", {deletions} deletions held")?;
        }
        if count > 0 {
            write!(out, ", {count} not on the target")?;
        }
        if mirror.open_count() > 0 {
            write!(out, ", {} being written", mirror.open_count())?;
        }
        if let Some(oldest) = mirror.oldest() {
            write!(out, ", oldest change at {}", self.date(oldest))?;
        }
        writeln!(out)?;
        sync.held.iter().try_for_each(|held| writeln!(out, "  {held}"))?;
        self.write_failed(mirror, out)
    }

    fn write_phase(&self, mirror: &Mirror, count: usize, out: &mut Vec<u8>) -> io::Result<()> {
        if mirror.gate() == Gate::Closed {
            write!(out, "waits for its tunnel, ")?;
        }
        match mirror.state() {
            State::Covering => write!(out, "its source is being watched for the first time"),
            State::Starting => write!(out, "the first full transfer"),
            State::Live if count == 0 && mirror.held().is_empty() => write!(out, "in sync"),
            State::Live => write!(out, "live"),
            State::Away(away) => {
                let what = match away.cause {
                    Cause::Target => "the target is away",
                    Cause::Hook => "what follows a batch failed",
                };
                if away.until == Moment::NEVER {
                    write!(out, "{what}, waits for SIGHUP")?;
                } else {
                    write!(out, "{what}, next try at {}", self.date(away.until))?;
                }
                write_trouble(mirror.trouble(), out)
            }
            State::Held { why, .. } => write!(out, "the source is lost, {why}"),
        }
    }

    fn write_failed(&self, mirror: &Mirror, out: &mut Vec<u8>) -> io::Result<()> {
        let all = mirror.queue().counts().resting;
        for (place, stage) in mirror.queue().resting().take(MOST_FAILED) {
            let Stage::Resting { until, tries } = stage else { continue };
            let date = self.date(until);
            let why = mirror.reason(&place.path).map_or(String::new(), |why| format!(": {why}"));
            writeln!(out, "  failed, try {tries}, the next at {date}: {}{why}", place.path)?;
        }
        tell_rest(out, all.saturating_sub(MOST_FAILED), "")
    }

    /// A moment as a date.
    fn date(&self, moment: Moment) -> impl std::fmt::Display {
        let ahead = SignedDuration::try_from(moment.since(self.now)).unwrap_or(SignedDuration::MAX);
        let behind = SignedDuration::try_from(self.now.since(moment)).unwrap_or_default();
        let at = self.clock.checked_add(ahead.saturating_sub(behind));
        at.map_or_else(|_| "the end of time".into(), |at| at.strftime(DATE).to_string())
    }
}

impl SyncStatus<'_> {
    fn write(&self, out: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let (name, source) = (self.name.as_bytes(), self.source.as_os_str().as_bytes());
        let count = match self.mirror {
            Tracked::Built(mirror) => mirror.delay_count(),
            Tracked::Scripted(mirror) => mirror.queue().len(),
        };
        writeln!(out, "{} source={}/", Escaped(name), Escaped(source))?;
        writeln!(out, "There are {count} delays")?;
        match self.mirror {
            Tracked::Built(mirror) => {
                mirror.delays().take(most).try_for_each(|delay| write_delay(&delay, out))?;
            }
            Tracked::Scripted(mirror) => {
                let mut entries = mirror.queue().iter().take(most);
                entries.try_for_each(|entry| script::write_entry(entry, out))?;
            }
        }
        tell_rest(out, count.saturating_sub(most), "")?;
        writeln!(out, "Filtering:")?;
        write_lines(self.filters, out)?;
        if !self.excludes.is_empty() {
            writeln!(out, "From excludes:")?;
            write_lines(self.excludes, out)?;
        }
        if self.filters.is_empty() && self.excludes.is_empty() {
            writeln!(out, "  nothing.")?;
        }
        writeln!(out, "\n")
    }
}

impl Watches<'_> {
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "Inotify watching {} directories", self.count)?;
        for (watch, path) in self.listed {
            writeln!(out, "  {watch}: {}/", Escaped(path))?;
        }
        tell_rest(out, self.count.saturating_sub(self.listed.len()), "")
    }
}

fn write_trouble(trouble: Option<&Failure>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(Failure { code, why }) = trouble else { return Ok(()) };
    write!(out, ", {why}")?;
    code.map_or(Ok(()), |code| write!(out, " (exit code {code})"))
}

fn write_lines(lines: &[Vec<u8>], out: &mut Vec<u8>) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{}", Escaped(line)))
}

/// What has to be done is found out when it is done, so the type is that of the place: `Modify` for
/// an entry, `Create` for all of a directory.
fn write_delay(delay: &Delay, out: &mut Vec<u8>) -> io::Result<()> {
    let stage = match delay.stage {
        Stage::Waiting | Stage::Resting { .. } => "wait",
        Stage::Behind => "block",
        Stage::InFlight => "active",
    };
    write!(out, "{stage:<7}")?;
    match &delay.what {
        // The blank at the end is the original's.
        What::Init => writeln!(out, "Init "),
        What::Full => writeln!(out, "Full /"),
        What::Place(place) => match place.scope {
            Scope::Entry => writeln!(out, "Modify {}", place.path),
            Scope::Tree => writeln!(out, "Create {}/", place.path),
        },
    }
}

fn tell_rest(out: &mut Vec<u8>, count: usize, indent: &str) -> io::Result<()> {
    if count > 0 { writeln!(out, "{indent}  and {count} more") } else { Ok(()) }
}
