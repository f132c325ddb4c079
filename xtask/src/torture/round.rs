//! One round: bursts of changes, each followed by a comparison of all trees.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, PermissionsExt},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat},
    process::Signal,
};

use super::{
    compare::{Difference, differences},
    daemon::{TortureDaemon, can_limit_watches},
    history::ChangeHistory,
    mutator::{TreeMutator, is_excluded},
    plan::{Disturbance, RoundPlan, RoundStorage, SyncLayout, WatchLimit},
    random::TortureRng,
    setup::RoundSetup,
    snapshot::{TreeSnapshot, path_text, snapshot},
};
use crate::bench::{scratch::ScratchDir, sshd::Sshd};

/// Time limit until everything is in sync.
const SYNC_TIMEOUT: Duration = Duration::from_mins(2);
/// Tolerated time of a false report that everything is in sync, due to events not yet read.
const GRACE: Duration = Duration::from_secs(6);
/// The same where most directories are polled.
const GRACE_OF_POLLING: Duration = Duration::from_secs(40);
/// Time that late changes, and a further one, get to arrive after a fault.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(40);
/// Number of differences in a report.
const SHOWN: usize = 8;
/// Number of changes, two events each, that overflows inotify's queue.
const OVERFLOW: usize = 9000;

/// The environment of all rounds.
#[derive(Debug)]
pub(crate) struct RoundEnvironment<'a> {
    pub(crate) program: &'a Path,
    pub(crate) memory: &'a Path,
    pub(crate) disk: &'a Path,
    pub(crate) sshd: Option<&'a Sshd>,
}

/// The reason for which a round did not pass.
#[derive(Debug)]
pub(crate) enum RoundError {
    /// It could not run.
    Skipped(String),
    /// The daemon misbehaved.
    Fault(String),
}

impl From<io::Error> for RoundError {
    fn from(error: io::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

/// Runs a round, and returns the number of changes.
///
/// # Errors
///
/// Returns a report. The directories are kept in this case.
pub(crate) fn run(plan: &RoundPlan, environment: &RoundEnvironment<'_>) -> Result<u64, RoundError> {
    let base = match plan.storage {
        RoundStorage::Memory => environment.memory,
        RoundStorage::Disk => environment.disk,
    };
    let mut scratch = ScratchDir::with_prefix("torture-", base)?;
    let history = ChangeHistory::new();
    let mut report = String::new();
    let result = Round::start(plan, environment, &scratch, &history).and_then(|mut round| {
        let result = round.run();
        if let Err(RoundError::Fault(_)) = &result {
            report = round.evidence();
        }
        result
    });
    match result {
        Ok(()) => Ok(history.count()),
        Err(RoundError::Fault(fault)) => {
            let directory = scratch.keep().display().to_string();
            let text = format!("{plan}\n{fault}\n{report}kept: {directory}");
            let _ = fs::write(Path::new(&directory).join("report"), &text);
            Err(RoundError::Fault(text))
        }
        Err(skipped) => Err(skipped),
    }
}

struct Round<'a> {
    plan: &'a RoundPlan,
    environment: &'a RoundEnvironment<'a>,
    scratch: &'a ScratchDir,
    history: &'a ChangeHistory,
    setup: RoundSetup,
    daemon: TortureDaemon<'a>,
    random: TortureRng,
}

impl<'a> Round<'a> {
    fn start(
        plan: &'a RoundPlan,
        environment: &'a RoundEnvironment<'a>,
        scratch: &'a ScratchDir,
        history: &'a ChangeHistory,
    ) -> Result<Self, RoundError> {
        let setup = RoundSetup::create(plan, scratch)?;
        let config = setup.config(plan, plan.delay, environment.sshd, scratch)?;
        fs::write(scratch.path("run/config.lua")?.path(), config)?;
        if plan.watch_limit == WatchLimit::Few && !can_limit_watches() {
            let reason = format!("{plan}: there can be no user namespace with its own limit here");
            return Err(RoundError::Skipped(reason));
        }
        let daemon = TortureDaemon::start(environment.program, scratch, plan.watch_limit.into())?;
        let random = TortureRng::new(plan.seed ^ 0xdead);
        Ok(Self { plan, environment, scratch, history, setup, daemon, random })
    }

    fn run(&mut self) -> Result<(), RoundError> {
        for burst in 0..self.plan.bursts {
            // In one of three rounds the changes overlap with the startup.
            if burst > 0 || !self.plan.seed.is_multiple_of(3) {
                self.wait_in_sync(burst * 2)?;
            }
            self.check_fanotify()?;
            self.history.add_marker(&format!("-- burst {burst} --"));
            self.burst(burst)?;
            self.history.add_marker("-- quiet --");
            self.wait_in_sync(burst * 2 + 1)?;
        }
        Ok(())
    }

    /// Skips a round for fanotify where it is not available.
    fn check_fanotify(&self) -> Result<(), RoundError> {
        let fanotify = self.daemon.status().contains("Fanotify watching");
        if self.plan.watch == "fanotify" && self.daemon.is_in_sync(self.plan.syncs()) && !fanotify {
            return Err(RoundError::Skipped(format!("{}: fanotify can't watch there", self.plan)));
        }
        Ok(())
    }

    fn burst(&mut self, number: u32) -> Result<(), RoundError> {
        let source = self.setup.pairs.first().map(|pair| pair.source.path().to_owned());
        let source = source.ok_or_else(|| io::Error::other("no source"))?;
        let paths =
            [&*source, self.setup.outside.path(), self.setup.canary.path()].map(Path::to_owned);
        let mut mutators = Vec::new();
        for thread in 0..self.plan.threads {
            let thread = thread + u64::from(number) * self.plan.threads;
            let paths = [&*paths[0], &*paths[1], &*paths[2]];
            mutators.push(TreeMutator::new(self.plan, thread, self.history, paths)?);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for mutator in &mut mutators {
                let stop = &stop;
                scope.spawn(move || mutator.run(stop));
            }
            // The daemon is restarted by this thread, because it exits with the thread that started
            // it.
            let result = self.disturb(&source);
            stop.store(true, Ordering::Relaxed);
            result
        })?;
        let linked: BTreeSet<u64> =
            mutators.iter().flat_map(|mutator| mutator.linked().iter().copied()).collect();
        Ok(touch(&source, &linked)?)
    }

    fn disturb(&mut self, source: &Path) -> io::Result<()> {
        let until = Instant::now() + self.plan.burst_duration;
        if self.plan.disturbance == Disturbance::None {
            thread::sleep(self.plan.burst_duration);
        }
        let mut overflowed = false;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(self.random.below(250)));
            let pause = Duration::from_millis(self.random.below(400));
            match self.plan.disturbance {
                Disturbance::None => {}
                Disturbance::Pauses if self.random.once_in(2) => {
                    self.daemon.disturb_child(&mut self.random, pause);
                }
                Disturbance::Pauses => self.while_stopped(|| {
                    thread::sleep(pause);
                    Ok(())
                })?,
                Disturbance::Reloads => self.reload()?,
                Disturbance::Kills => {
                    let signal = self.random.pick(&[Signal::KILL, Signal::KILL, Signal::TERM]);
                    self.history.add_marker(&format!("-- {signal:?} --"));
                    self.daemon.restart(signal)?;
                }
                Disturbance::Overflows if overflowed => {}
                Disturbance::Overflows => {
                    overflowed = true;
                    self.while_stopped(|| flood(source))?;
                }
            }
        }
        Ok(())
    }

    fn while_stopped(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.history.add_marker("-- stopped --");
        self.daemon.signal(Signal::STOP);
        let result = act();
        self.daemon.signal(Signal::CONT);
        self.history.add_marker("-- continued --");
        result
    }

    /// Has it reload its configuration, which may have changed.
    fn reload(&mut self) -> io::Result<()> {
        let delay = self.random.pick(&[self.plan.delay, Some("0.2"), Some("0.5")]);
        let config = self.setup.config(self.plan, delay, self.environment.sshd, self.scratch)?;
        let path = self.scratch.path("run/config.lua")?;
        let new = self.scratch.path("run/config.new")?;
        fs::write(new.path(), config)?;
        fs::rename(new.path(), path.path())?;
        self.history.add_marker(&format!("-- SIGHUP, delay {delay:?} --"));
        self.daemon.signal(Signal::HUP);
        Ok(())
    }

    /// Waits until the daemon reports that everything is in sync, and verifies it.
    fn wait_in_sync(&mut self, mark: u32) -> Result<(), RoundError> {
        for pair in &self.setup.pairs {
            if !pair.source.path().starts_with(self.scratch.path("target0")?.path()) {
                fs::write(pair.source.path().join("mark"), mark.to_string())?;
            }
        }
        let before = self.unmirrored_trees()?;
        let start = Instant::now();
        let mut in_sync_since: Option<Instant> = None;
        let grace = match self.plan.watch_limit {
            WatchLimit::Unlimited => GRACE,
            WatchLimit::Few => GRACE_OF_POLLING,
        };
        loop {
            if let Some(failure) = self.daemon.failure() {
                return Err(RoundError::Fault(failure));
            }
            let reports_in_sync =
                self.daemon.is_in_sync(self.plan.syncs()) && self.marks_arrived(mark);
            in_sync_since =
                if reports_in_sync { in_sync_since.or(Some(Instant::now())) } else { None };
            // Compares repeatedly, because the first report may predate an unread event.
            let in_sync_for = in_sync_since.map_or(Duration::ZERO, |since| since.elapsed());
            if in_sync_for > POLL_INTERVAL * 5 || start.elapsed() > SYNC_TIMEOUT {
                let found = self.differences();
                if found.is_empty() && start.elapsed() <= SYNC_TIMEOUT {
                    break;
                }
                if in_sync_for > grace || start.elapsed() > SYNC_TIMEOUT {
                    let fault = if in_sync_for > grace {
                        "the daemon reports that everything is in sync, but it is not"
                    } else {
                        "the daemon does not report that everything is in sync"
                    };
                    return Err(RoundError::Fault(format!("{fault}:\n{}", self.explain(&found))));
                }
                thread::sleep(POLL_INTERVAL * 5);
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.check_side_effects(&before)
    }

    fn marks_arrived(&self, mark: u32) -> bool {
        let wanted = mark.to_string();
        self.setup.pairs.iter().all(|pair| {
            let file = pair.target.path().join("mark");
            fs::read_to_string(file).is_ok_and(|found| found == wanted)
        })
    }

    /// Returns all trees that the daemon must not change.
    fn unmirrored_trees(&self) -> io::Result<Vec<TreeSnapshot>> {
        let source = self.setup.pairs.first().map(|pair| pair.source.path());
        let others = [self.setup.outside.path(), self.setup.canary.path()];
        others.into_iter().chain(source).map(snapshot).collect()
    }

    fn check_side_effects(&self, before: &[TreeSnapshot]) -> Result<(), RoundError> {
        let mut wrong = self.setup.lost_excluded_files();
        if !self.plan.excludes {
            wrong.clear();
        }
        if self.unmirrored_trees()? != before {
            wrong.push("the daemon has changed its source, or something outside".into());
        }
        wrong.extend(self.daemon.excessive_usage());
        if wrong.is_empty() { Ok(()) } else { Err(RoundError::Fault(wrong.join("\n"))) }
    }

    fn differences(&self) -> Vec<(usize, Difference)> {
        let mut all = Vec::new();
        for (number, pair) in self.setup.pairs.iter().enumerate() {
            let (source, target) = (snapshot(pair.source.path()), snapshot(pair.target.path()));
            // A directory may vanish while it is read, as long as the daemon is active.
            let found = match (source, target) {
                (Ok(source), Ok(target)) => differences(pair.compare, &source, &target),
                (Err(error), _) | (_, Err(error)) => vec![(Vec::new(), error.to_string())],
            };
            all.extend(found.into_iter().map(|difference| (number, difference)));
        }
        all
    }

    fn explain(&self, found: &[(usize, Difference)]) -> String {
        let mut lines = vec![format!("{} differences", found.len())];
        for (number, (path, difference)) in found.iter().take(SHOWN) {
            let out = if is_excluded(path) { " (excluded)" } else { "" };
            lines.push(format!("target{number} {}: {difference}{out}", path_text(path)));
            let whole = match (self.plan.layout, number) {
                (SyncLayout::Nested, 1) => [b"/in".as_slice(), path].concat(),
                _ => path.clone(),
            };
            lines.extend(
                self.history.changes_of(&whole).into_iter().map(|change| format!("    {change}")),
            );
        }
        lines.join("\n")
    }

    fn evidence(&self) -> String {
        let (status, threads) = (self.daemon.status(), self.daemon.threads());
        let probe = self.probe();
        format!(
            "-- status --\n{status}\n-- threads --\n{threads}-- probe --\n{probe}\n{}logs: {}\n",
            self.daemon.log_tail(),
            self.daemon.log_directory().display(),
        )
    }

    /// Distinguishes events that are late, those that are lost, and a directory of which no event
    /// is reported any more.
    fn probe(&self) -> String {
        if self.daemon.failure().is_some() {
            return "none, since the daemon is gone".into();
        }
        let start = Instant::now();
        while start.elapsed() < PROBE_TIMEOUT && !self.differences().is_empty() {
            thread::sleep(POLL_INTERVAL * 5);
        }
        let found = self.differences();
        let waited = start.elapsed().as_secs_f64();
        let late = format!("{} differences after {waited:.1} s more", found.len());
        let Some((number, (path, _))) = found.first() else { return late };
        let Some(pair) = self.setup.pairs.get(*number) else { return late };
        let path = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        let is_dir = |path: &&Path| pair.source.path().join(path).is_dir();
        let directory = path.ancestors().skip(1).find(is_dir).unwrap_or(Path::new(""));
        let file = directory.join("probe");
        if let Err(error) = fs::write(pair.source.path().join(&file), "new") {
            return format!("{late}; {}: {error}", file.display());
        }
        let target = pair.target.path().join(&file);
        let start = Instant::now();
        while start.elapsed() < PROBE_TIMEOUT && !target.exists() {
            thread::sleep(POLL_INTERVAL);
        }
        let arrived = if target.exists() { "arrives" } else { "does not arrive" };
        let left = self.differences().len();
        format!("{late}; {} is created and {arrived}; then {left} differences", file.display())
    }
}

/// Overflows inotify's queue. It alternates between files because equal consecutive events merge.
pub(crate) fn flood(source: &Path) -> io::Result<()> {
    let files = ["flood", "and flow"].map(|name| source.join(name));
    files.iter().try_for_each(|file| fs::write(file, "water"))?;
    for number in 0..OVERFLOW {
        for file in &files {
            let mode = if number % 2 == 0 { 0o600 } else { 0o644 };
            fs::set_permissions(file, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Touches the files of these inodes. A write through a name that was removed before the daemon
/// looked reveals nothing of the other names: `docs/configuration.md` says so.
fn touch(directory: &Path, inodes: &BTreeSet<u64>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let stat = entry.metadata()?;
        if stat.is_dir() {
            touch(&entry.path(), inodes)?;
        } else if stat.is_file() && inodes.contains(&entry.ino()) {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}
