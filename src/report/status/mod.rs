//! Content of the status file. The blocks of the original are reproduced literally, so that
//! existing readers continue to work. A line for each sync precedes them, and further information
//! follows them.
//!
//! The engine decides when it is written.

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
    input::TargetLink,
    job::{Failure, Scope},
    mirror::{
        Availability, AwayCause, Backlog, Delay, DelayKind, Mirror, SourceState, SyncMember,
        TargetState, scripted::ScriptedMirror,
    },
    path::Escaped,
    queue::Stage,
    time::Moment,
};

use super::text::DATE;
pub use file::StatusFile;

/// Maximum number of listed delays of all syncs together; the others are counted.
const MAX_DELAYS: usize = 10_000;

/// Number of delays that are listed for each sync in any case.
const MIN_DELAYS_PER_SYNC: usize = 20;

/// Maximum number of failed paths listed for each sync.
const MAX_FAILED: usize = 20;

/// Status at one moment.
#[derive(Debug)]
pub struct StatusReport<'a> {
    /// All syncs, in the order of the configuration.
    pub syncs: Vec<SyncStatus<'a>>,
    /// The running programs.
    pub processes: Vec<RunningProcess>,
    /// The directories that are watched individually.
    pub watches: WatchSummary<'a>,
    /// Further lines about the watches.
    pub notes: Vec<String>,
    /// True if the daemon exits after this status.
    pub is_final: bool,
    /// Current time of the mirrors' clock.
    pub now: Moment,
    /// Current wall-clock time.
    pub clock: Zoned,
}

/// Returns the final content of a status file that is no longer written, or replaced by another
/// one.
#[must_use]
pub fn superseded_notice(other: Option<&Path>, clock: &Zoned) -> Vec<u8> {
    let date = clock.strftime(DATE);
    let reason = match other {
        Some(other) => format!("the status is now in {}", Escaped(other.as_os_str().as_bytes())),
        None => "the status file was disabled".into(),
    };
    let notice = format!("This file is no longer updated: {reason}.");
    format!("Lsyncd status report at {date}\n\n{notice}\n").into_bytes()
}

/// Status of one sync.
#[derive(Clone, Debug)]
pub struct SyncStatus<'a> {
    /// Display name.
    pub name: &'a str,
    /// Source path without a trailing slash.
    pub source: &'a Path,
    /// Filter rules of the user.
    pub filters: &'a [Vec<u8>],
    /// Its target.
    pub target: &'a OsStr,
    /// Exclude patterns of the user.
    pub excludes: &'a [Vec<u8>],
    /// Its mirror.
    pub mirror: MirrorRef<'a>,
    /// Held deletions with their remedies, as sentences.
    pub held: Vec<String>,
}

/// Reference to a mirror of either kind.
#[derive(Clone, Copy, Debug)]
pub enum MirrorRef<'a> {
    /// A mirror with a built-in target.
    Built(&'a Mirror),
    /// A mirror with a script.
    Scripted(&'a ScriptedMirror),
}

impl<'a> From<&'a Member> for MirrorRef<'a> {
    fn from(member: &'a Member) -> Self {
        match member {
            Member::BuiltIn(mirror) => Self::Built(mirror),
            Member::Scripted(mirror) => Self::Scripted(mirror),
        }
    }
}

/// A running program.
#[derive(Clone, Copy, Debug)]
pub struct RunningProcess {
    /// Process id.
    pub pid: i32,
    /// Start time in ticks of `times(2)`.
    pub started: u64,
}

/// The directories that are watched individually.
#[derive(Clone, Copy, Debug)]
pub struct WatchSummary<'a> {
    /// Number of watches.
    pub count: usize,
    /// Some or all of them: watch number, and absolute path without a trailing slash.
    pub listed: &'a [(i32, Vec<u8>)],
}

impl StatusReport<'_> {
    /// Formats the status as the content of the file.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory can't fail.
        let _ = self.write(&mut text);
        text
    }

    /// Formats the status for the log: without the single delays, filters and watches.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        let mut text = Vec::new();
        // Writing to memory can't fail.
        let _ = self.write_short(&mut text);
        String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect()
    }

    fn write_short(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.syncs.iter().try_for_each(|sync| self.write_state(sync, out))?;
        writeln!(out, "Inotify watching {} directories", self.watches.count)?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        write!(out, "Running processes: {}", self.processes.len())?;
        for (at, process) in self.processes.iter().enumerate() {
            write!(out, "{}{}", if at == 0 { ", with pid " } else { ", " }, process.pid)?;
        }
        writeln!(out)
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "Lsyncd status report at {}\n", self.clock.strftime(DATE))?;
        if self.is_final {
            writeln!(out, "The daemon has stopped.\n")?;
        }
        writeln!(out, "Syncs:")?;
        self.syncs.iter().try_for_each(|sync| self.write_state(sync, out))?;
        writeln!(out)?;
        let most = MAX_DELAYS.checked_div(self.syncs.len()).unwrap_or_default();
        for sync in &self.syncs {
            sync.write(out, most.max(MIN_DELAYS_PER_SYNC))?;
        }
        self.watches.write(out)?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        writeln!(out, "\nRunning processes: {}", self.processes.len())?;
        for RunningProcess { pid, started } in &self.processes {
            writeln!(out, "  pid={pid} type=1 started={started}.000000")?;
        }
        Ok(())
    }

    /// Writes a readable line about the state of a sync.
    fn write_state(&self, sync: &SyncStatus<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let (name, target) = (Escaped(sync.name.as_bytes()), Escaped(sync.target.as_bytes()));
        let mirror = match sync.mirror {
            MirrorRef::Built(mirror) => mirror,
            MirrorRef::Scripted(mirror) => {
                write!(out, "{name}, a script: ")?;
                if self.is_final {
                    writeln!(out, "stopped, {}", script::remaining_events(mirror))?;
                } else {
                    script::write_state(mirror, out)?;
                }
                let next_try = |at| self.next_try(mirror.source(), mirror.target_link(), at);
                return script::write_failed(mirror, self.is_final, next_try, out);
            }
        };
        write!(out, "{name} -> {target}: ")?;
        if self.is_final {
            write!(out, "stopped")?;
        } else {
            self.write_phase(mirror, out)?;
        }
        if !sync.held.is_empty() {
            let deletions: u64 = mirror.held().map(|held| held.count).sum();
            write!(out, ", {deletions} deletions held")?;
        }
        self.write_backlog(mirror.backlog(), out)?;
        if mirror.open_count() > 0 {
            write!(out, ", {} being written", mirror.open_count())?;
        }
        if let Some(oldest) = mirror.oldest().and_then(|oldest| self.date(oldest)) {
            write!(out, ", oldest change at {oldest}")?;
        }
        writeln!(out)?;
        sync.held.iter().try_for_each(|held| writeln!(out, "  {held}"))?;
        self.write_failed(mirror, out)
    }

    fn write_phase(&self, mirror: &Mirror, out: &mut Vec<u8>) -> io::Result<()> {
        if mirror.target_link() == TargetLink::Down {
            write!(out, "waiting for its tunnel, ")?;
        }
        if let Some(reason) = mirror.source().why_unavailable() {
            return write!(out, "source unavailable: {reason}");
        }
        if *mirror.source().availability() == Availability::Covering {
            return write!(out, "setting up watches");
        }
        match mirror.target() {
            TargetState::Starting => write!(out, "starting"),
            TargetState::Live
                if mirror.backlog() == Backlog::Nothing && mirror.held().next().is_none() =>
            {
                write!(out, "in sync")
            }
            TargetState::Live => write!(out, "live"),
            TargetState::Away(away) => {
                let what = match away.cause {
                    AwayCause::Target => "transfer failed",
                    AwayCause::Hook => "onSynced failed",
                };
                write!(out, "{what}")?;
                // That it waits for a tunnel is written already.
                if mirror.target_link() == TargetLink::Up || away.until == Moment::NEVER {
                    let next = self.next_try(mirror.source(), TargetLink::Up, away.until);
                    write!(out, ", {next}")?;
                }
                write_failure(mirror.last_failure(), out)
            }
        }
    }

    fn write_backlog(&self, backlog: Backlog, out: &mut Vec<u8>) -> io::Result<()> {
        match backlog {
            Backlog::Nothing => Ok(()),
            Backlog::FullTransfer { is_first, is_running } => {
                let first = if is_first { "first " } else { "" };
                let stage = if is_running && !self.is_final { "is running" } else { "is due" };
                write!(out, ", {first}full transfer {stage}")
            }
            Backlog::Paths(count) => write!(out, ", {count} not on the target"),
            Backlog::AfterHook(count) => write!(out, ", {count} waiting for the next call"),
        }
    }

    fn write_failed(&self, mirror: &Mirror, out: &mut Vec<u8>) -> io::Result<()> {
        let all = mirror.queue().counts().backing_off;
        for (dirty, stage) in mirror.queue().backing_off().take(MAX_FAILED) {
            let Stage::BackingOff { retry_at: until, tries } = stage else { continue };
            // Nothing is tried while the target is paused.
            let until = match mirror.target() {
                TargetState::Away(away) => until.max(away.until),
                TargetState::Starting | TargetState::Live => until,
            };
            let next_try = self.next_try(mirror.source(), mirror.target_link(), until);
            let next_try = if self.is_final { String::new() } else { format!(", {next_try}") };
            let why = mirror.reason(&dirty.path);
            let why = why.map_or(String::new(), |why| format!(": {}", first_line(why)));
            writeln!(out, "  failed, try {tries}{next_try}: {}{why}", dirty.path)?;
        }
        write_omitted_count(out, all.saturating_sub(MAX_FAILED), "")
    }

    /// Describes the next try of a target or path, at this time or when it is possible again. If
    /// the calendar ends before, only an operator can cause one.
    fn next_try(&self, source: &SourceState, link: TargetLink, at: Moment) -> String {
        let Some(date) = self.date(at) else { return "waits for SIGHUP".into() };
        match (source.availability(), link) {
            (Availability::Covering | Availability::Gone { .. }, _) => {
                "waits for its source".into()
            }
            (Availability::Covered, TargetLink::Down) => "waits for its tunnel".into(),
            (Availability::Covered, TargetLink::Up) => format!("next try at {date}"),
        }
    }

    /// Formats a moment as a date. `None` if the calendar ends before.
    fn date(&self, moment: Moment) -> Option<String> {
        let ahead = SignedDuration::try_from(moment.since(self.now)).unwrap_or(SignedDuration::MAX);
        let behind = SignedDuration::try_from(self.now.since(moment)).unwrap_or_default();
        let at = self.clock.checked_add(ahead.saturating_sub(behind)).ok()?;
        Some(at.strftime(DATE).to_string())
    }
}

impl SyncStatus<'_> {
    fn write(&self, out: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let (name, source) = (self.name.as_bytes(), self.source.as_os_str().as_bytes());
        let count = match self.mirror {
            MirrorRef::Built(mirror) => mirror.delay_count(),
            MirrorRef::Scripted(mirror) => mirror.queue().len(),
        };
        writeln!(out, "{} source={}/", Escaped(name), Escaped(source))?;
        writeln!(out, "There are {count} delays")?;
        match self.mirror {
            MirrorRef::Built(mirror) => {
                mirror.delays().take(most).try_for_each(|delay| write_delay(&delay, out))?;
            }
            MirrorRef::Scripted(mirror) => {
                let mut entries = mirror.queue().iter().take(most);
                entries.try_for_each(|entry| script::write_entry(entry, out))?;
            }
        }
        write_omitted_count(out, count.saturating_sub(most), "")?;
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

impl WatchSummary<'_> {
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "Inotify watching {} directories", self.count)?;
        for (watch, path) in self.listed {
            writeln!(out, "  {watch}: {}/", Escaped(path))?;
        }
        write_omitted_count(out, self.count.saturating_sub(self.listed.len()), "")
    }
}

fn write_failure(trouble: Option<&Failure>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(Failure { code, message }) = trouble else { return Ok(()) };
    write!(out, ", {}", first_line(message))?;
    code.map_or(Ok(()), |code| write!(out, " (exit code {code})"))
}

/// Returns the first line of an error. The others are the traceback of a script, which is logged.
#[must_use]
pub fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

fn write_lines(lines: &[Vec<u8>], out: &mut Vec<u8>) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{}", Escaped(line)))
}

/// Writes one delay. Jobs find out the needed work when they run, so the type depends on the scope:
/// `Modify` for an entry, `Create` for a whole directory.
fn write_delay(delay: &Delay, out: &mut Vec<u8>) -> io::Result<()> {
    let stage = match delay.stage {
        Stage::Waiting | Stage::BackingOff { .. } => "wait",
        Stage::Deferred => "block",
        Stage::InFlight => "active",
    };
    write!(out, "{stage:<7}")?;
    match &delay.kind {
        // The trailing blank is in the original.
        DelayKind::Init => writeln!(out, "Init "),
        DelayKind::Full => writeln!(out, "Full /"),
        DelayKind::Path(dirty) => match dirty.scope {
            Scope::Entry => writeln!(out, "Modify {}", dirty.path),
            Scope::Tree => writeln!(out, "Create {}/", dirty.path),
        },
    }
}

fn write_omitted_count(out: &mut Vec<u8>, count: usize, indent: &str) -> io::Result<()> {
    if count > 0 { writeln!(out, "{indent}  and {count} more") } else { Ok(()) }
}
