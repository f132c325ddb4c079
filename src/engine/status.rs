//! The status file: where everything stands, in the layout of the original.
//!
//! What the original does not tell follows behind what it does, so that programs that read its
//! file read this one, too.

use std::{
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Zoned;
use mirror_core::{
    fleet::Fleet,
    job::{Place, Scope},
    mirror::{Mirror, State},
    path::Escaped,
    queue::Stage,
    time::Moment,
};
use rustix::{
    process::Pid,
    time::{ClockId, clock_gettime},
};

use super::{member::Member, roster::Roster};
use crate::{
    report::{Category, Log, reason, write_whole},
    setup::Daemon,
    watch::Watched,
};

/// The most delays, and the most directories, that are listed one by one.
const MOST_LISTED: usize = 100_000;

/// When the status file is written, and whether it can be.
#[derive(Debug)]
pub(super) struct Status {
    path: PathBuf,
    interval: Duration,
    /// When it is written next; `None` if nothing happened since.
    due: Option<Moment>,
    is_failing: bool,
}

/// What is told beside what the fleet knows.
pub(super) struct Facts<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) roster: &'a Roster,
    pub(super) children: Vec<(Pid, Instant)>,
    pub(super) watched: &'a Watched,
    pub(super) now: Moment,
}

impl Status {
    /// A status that is due at once, if it is wanted.
    pub(super) fn new(daemon: &Daemon) -> Option<Self> {
        let path = daemon.status_file.clone()?;
        let interval = daemon.status_interval;
        Some(Self { path, interval, due: Some(Moment::ORIGIN), is_failing: false })
    }

    /// Something happened: it is written at the latest after the interval.
    pub(super) fn touch(&mut self, now: Moment) {
        self.due.get_or_insert(now + self.interval);
    }

    /// When it is written next.
    pub(super) const fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Whether it is to be written now; then the next one is due when something happens.
    pub(super) fn take_due(&mut self, now: Moment) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Writes the file. That it can't be written is told once.
    pub(super) fn write(&mut self, facts: &Facts<'_>, log: &Log) {
        let written = write_whole(&self.path, |file| report(file, facts, &Zoned::now()));
        match written {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                log.say(Category::Error, cannot_write(&self.path, &error));
            }
            Err(_) => {}
        }
    }
}

/// The words are the original's.
fn cannot_write(path: &Path, error: &io::Error) -> String {
    let path = Escaped(path.as_os_str().as_bytes());
    format!("Cannot open status file \"{path}\" :{path}: {}", reason(error))
}

fn report(file: &mut dyn Write, facts: &Facts<'_>, now: &Zoned) -> io::Result<()> {
    let date = now.strftime("%a %b %e %H:%M:%S %Y");
    write!(file, "Lsyncd status report at {date}\n\n")?;
    let mut room = MOST_LISTED;
    for mirror in facts.fleet.mirrors() {
        if let Some(member) = facts.roster.get(mirror.id()) {
            sync(file, mirror, member, &mut room)?;
        }
    }
    processes(file, &facts.children)?;
    watches(file, facts.watched)?;
    writeln!(file, "\nSyncs:")?;
    for mirror in facts.fleet.mirrors() {
        if let Some(member) = facts.roster.get(mirror.id()) {
            state(file, mirror, member, facts.now)?;
        }
    }
    Ok(())
}

fn sync(
    file: &mut dyn Write,
    mirror: &Mirror,
    member: &Member,
    room: &mut usize,
) -> io::Result<()> {
    writeln!(file, "{} source={}", member.sync.name, member.source_text())?;
    let queue = mirror.queue();
    let all = queue.counts().total();
    // What the full transfer will be about is known when the source is watched.
    let is_to_come = *mirror.state() == State::Covering && member.sync.init;
    writeln!(file, "There are {} delays", all + usize::from(is_to_come))?;
    if is_to_come {
        writeln!(file, "{:<7}Init ", "wait")?;
    }
    let listed = all.min(*room);
    *room -= listed;
    let is_starting = *mirror.state() == State::Starting;
    for (place, stage) in queue.iter().take(listed) {
        delay(file, &place, stage, is_starting)?;
    }
    if listed < all {
        writeln!(file, "and {} more", all - listed)?;
    }
    exclusions(file, member)?;
    file.write_all(b"\n\n")
}

/// What has to be done is known when it is looked at, so the type is that of the place: `Modify`
/// for an entry, `Create` for all of a directory, `Init` and `Full` for all of the source.
fn delay(file: &mut dyn Write, place: &Place, stage: Stage, is_starting: bool) -> io::Result<()> {
    let stage = match stage {
        Stage::Waiting | Stage::Resting { .. } => "wait",
        Stage::Behind => "block",
        Stage::InFlight => "active",
    };
    let Place { path, scope } = place;
    match scope {
        Scope::Tree if path.is_root() && is_starting => writeln!(file, "{stage:<7}Init "),
        Scope::Tree if path.is_root() => writeln!(file, "{stage:<7}Full /"),
        Scope::Tree => writeln!(file, "{stage:<7}Create {path}/"),
        Scope::Entry => writeln!(file, "{stage:<7}Modify {path}"),
    }
}

fn exclusions(file: &mut dyn Write, member: &Member) -> io::Result<()> {
    let exclusions = &member.sync.exclusions;
    writeln!(file, "Filtering:")?;
    for rule in &exclusions.filters {
        writeln!(file, "{}", Escaped(rule))?;
    }
    if !exclusions.excludes.is_empty() {
        writeln!(file, "From excludes:")?;
        for pattern in &exclusions.excludes {
            writeln!(file, "{}", Escaped(pattern))?;
        }
    } else if exclusions.filters.is_empty() {
        writeln!(file, "  nothing.")?;
    }
    Ok(())
}

fn processes(file: &mut dyn Write, children: &[(Pid, Instant)]) -> io::Result<()> {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(monotonic).unwrap_or_default();
    writeln!(file, "Running processes: {}", children.len())?;
    for (pid, since) in children {
        // In hundredths of a second since the machine started, as `times(2)` counts.
        let ticks = now.saturating_sub(since.elapsed()).as_millis() / 10;
        writeln!(file, "  pid={} type=1 started={ticks}.000000", pid.as_raw_nonzero())?;
    }
    file.write_all(b"\n\n")
}

fn watches(file: &mut dyn Write, watched: &Watched) -> io::Result<()> {
    let all = watched.directories.len();
    writeln!(file, "Inotify watching {all} directories")?;
    for (watch, path) in watched.directories.iter().take(MOST_LISTED) {
        writeln!(file, "  {watch}: {}/", Escaped(path).to_string().trim_end_matches('/'))?;
    }
    if all > MOST_LISTED {
        writeln!(file, "  and {} more", all - MOST_LISTED)?;
    }
    if watched.polled > 0 {
        writeln!(file, "Polling {} directories", watched.polled)?;
    }
    if let Some(remedy) = &watched.remedy {
        writeln!(file, "  {remedy}")?;
    }
    Ok(())
}

/// One line: the state in words, what is not on the target, and how old the oldest of it is.
fn state(file: &mut dyn Write, mirror: &Mirror, member: &Member, now: Moment) -> io::Result<()> {
    let counts = mirror.queue().counts();
    let state = match mirror.state() {
        State::Covering => "its source is being watched for the first time".into(),
        State::Starting => "the first full transfer".into(),
        State::Live if counts.total() == 0 => "in sync".into(),
        State::Live => "live".into(),
        State::Away(away) => {
            format!("the target is away, next try in {:.0} s", seconds(away.until - now))
        }
        State::Held { why, .. } => format!("the source is lost, {why}"),
    };
    write!(file, "{} -> {}: {state}", member.sync.name, member.target_text())?;
    if counts.total() > 0 {
        write!(file, ", {} not on the target", counts.total())?;
    }
    if counts.resting > 0 {
        write!(file, ", {} failed and tried again", counts.resting)?;
    }
    if let Some(oldest) = mirror.queue().oldest() {
        write!(file, ", oldest change {:.0} s ago", seconds(now - oldest))?;
    }
    writeln!(file)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
