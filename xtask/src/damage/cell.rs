//! One cell: a daemon under load, a fault, and what is right afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    control::{self, is_complete, is_held},
    disk::enter_mount_namespace,
    facts::FactBook,
    fault::{FaultInForce, clock_library, use_rsync},
    leftovers::{VARIABLE, wait_for_none},
    load::DamageDriver,
    matrix::{DamageCell, DamageFault, DamageKind, DamageLoad},
    sentinels::TargetSentinels,
    setup::{DamageSetup, unmount_all},
    state_disk,
    status_watch::StatusWatch,
};
use crate::{
    bench::scratch::ScratchDir,
    build,
    torture::{
        compare::differences,
        daemon::{DaemonLaunch, IN_NAMESPACE, TortureDaemon},
        history::ChangeHistory,
        snapshot::{TreeSnapshot, path_text, snapshot},
    },
};

/// Time limit of a condition.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Interval between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The age from which on a change must be known to the daemon.
const GRACE: Duration = Duration::from_secs(3);
/// The same where directories are polled.
const GRACE_OF_POLLING: Duration = Duration::from_secs(40);
/// Time for which the fault lasts under load: long enough that a change is older than [`GRACE`].
const FAULT_TIME: Duration = Duration::from_millis(4500);
/// The same without load.
const IDLE_FAULT_TIME: Duration = Duration::from_millis(1500);
/// Number of changes before the fault.
const CHANGES_BEFORE: u64 = 25;
/// Number of differences in a report.
const SHOWN: usize = 12;
/// The end of the message about a start with a snapshot.
const FROM_SNAPSHOT: &str = "since the last snapshot";

/// The environment of all cells.
#[derive(Debug)]
pub(crate) struct DamageEnvironment<'a> {
    pub(crate) program: &'a Path,
    pub(crate) base: &'a Path,
    pub(crate) may_mount: bool,
    pub(crate) old_rsync: Option<&'a Path>,
    pub(crate) seed: u64,
}

/// Runs a cell, and returns a line about the answers of the daemon.
///
/// # Errors
///
/// Returns a report. The directory is kept in this case.
pub(crate) fn run(cell: DamageCell, environment: &DamageEnvironment<'_>) -> Result<String, String> {
    // A thread of its own, whose mounts vanish with it.
    thread::scope(|scope| {
        let cell = scope.spawn(|| run_in_thread(cell, environment));
        cell.join().unwrap_or_else(|_| Err("the thread of the cell has panicked".into()))
    })
}

fn run_in_thread(cell: DamageCell, environment: &DamageEnvironment<'_>) -> Result<String, String> {
    let prepare = || {
        if environment.may_mount {
            enter_mount_namespace()?;
        }
        ScratchDir::with_prefix("damage-", environment.base)
    };
    let mut scratch = prepare().map_err(|error| error.to_string())?;
    let mut report = String::new();
    let result = DamageSetup::create(cell, environment.seed, &scratch, environment.may_mount)
        .map_err(|error| format!("the setup failed: {error}"))
        .and_then(|setup| run_with(&setup, environment, &scratch, &mut report));
    let unmounted = unmount_all(&scratch).map_err(|error| error.to_string());
    let result = result.and_then(|states| unmounted.map(|()| states));
    result.map_err(|fault| {
        let directory = scratch.keep().display().to_string();
        let seed = environment.seed;
        let text = format!(
            "{cell}, seed {seed}: {fault}\n{report}kept: {directory}\nrepeat: cargo xtask damage \
             --kind {} --fault {} --load {} --seed {seed}",
            cell.kind.name(),
            cell.fault.name(),
            cell.load.name(),
        );
        let _ = fs::write(Path::new(&directory).join("report"), &text);
        text
    })
}

/// Signals to the threads of a cell.
#[derive(Debug, Default)]
struct CellPhases {
    begin_load: AtomicBool,
    stop_load: AtomicBool,
    stop_watch: AtomicBool,
}

/// A running cell.
struct DamageRun<'a> {
    setup: &'a DamageSetup,
    environment: &'a DamageEnvironment<'a>,
    daemon: TortureDaemon<'a>,
    driver: &'a DamageDriver<'a>,
    watch: &'a StatusWatch<'a>,
    phases: &'a CellPhases,
    /// Files of the target that may not disappear.
    sentinels: Option<TargetSentinels>,
}

fn run_with(
    setup: &DamageSetup,
    environment: &DamageEnvironment<'_>,
    scratch: &ScratchDir,
    report: &mut String,
) -> Result<String, String> {
    let text = |error: io::Error| error.to_string();
    let (book, history) = (FactBook::new(&setup.target), ChangeHistory::new());
    let driver = DamageDriver { setup, book: &book, history: &history, seed: environment.seed };
    let is_polled = setup.cell.fault == DamageFault::WatchLimit;
    let grace = if is_polled { GRACE_OF_POLLING } else { GRACE };
    let watch = StatusWatch::new(&setup.socket(), &book, grace);
    setup
        .config()
        .and_then(|config| fs::write(setup.run_file("config.lua"), config))
        .map_err(text)?;
    let phases = CellPhases::default();
    thread::scope(|scope| {
        let launch = launch(setup).map_err(text)?;
        // The daemon exits with the thread that starts it, which is this one.
        let daemon = TortureDaemon::start(environment.program, scratch, launch).map_err(text)?;
        scope.spawn(|| watch.run(&phases.stop_watch));
        let load = scope.spawn(|| {
            while !phases.begin_load.load(Ordering::Relaxed) {
                thread::sleep(POLL_INTERVAL);
            }
            driver.run(&phases.stop_load)
        });
        let (driver, watch, phases) = (&driver, &watch, &phases);
        let mut run =
            DamageRun { setup, environment, daemon, driver, watch, phases, sentinels: None };
        let outcome = run.play();
        phases.stop_load.store(true, Ordering::Relaxed);
        phases.begin_load.store(true, Ordering::Relaxed);
        let changed = load.join().unwrap_or_else(|_| Err(io::Error::other("it has panicked")));
        let outcome = outcome
            .and(changed.map_err(|error| format!("the source could not be changed: {error}")))
            .and_then(|()| run.verify());
        phases.stop_watch.store(true, Ordering::Relaxed);
        let outcome = outcome.and_then(|()| run.stop());
        if outcome.is_err() {
            *report = run.evidence();
        }
        outcome.map(|()| watch.summary())
    })
}

/// Returns the circumstances in which the daemon of a cell starts.
fn launch(setup: &DamageSetup) -> io::Result<DaemonLaunch> {
    let mut launch = DaemonLaunch::default();
    launch.environment.push((VARIABLE.to_owned(), setup.socket().display().to_string()));
    if setup.cell.fault == DamageFault::WatchLimit {
        launch.prefix = IN_NAMESPACE.map(str::to_owned).into();
    }
    if setup.cell.fault == DamageFault::ClockStep {
        fs::write(setup.run_file("clock"), "+0")?;
        let library = clock_library().unwrap_or_default().display().to_string();
        let clock = setup.run_file("clock").display().to_string();
        let on = |name: &str| (name.to_owned(), "1".to_owned());
        launch.environment.extend([
            ("LD_PRELOAD".to_owned(), library),
            ("FAKETIME_TIMESTAMP_FILE".to_owned(), clock),
            on("FAKETIME_NO_CACHE"),
            on("FAKETIME_DONT_FAKE_MONOTONIC"),
            on("FAKETIME_DONT_RESET"),
            on("NO_FAKE_STAT"),
        ]);
    }
    if setup.cell.fault == DamageFault::OldRsync {
        use_rsync(setup, &build::find_program("rsync").unwrap_or_default())?;
    }
    Ok(launch)
}

impl DamageRun<'_> {
    /// Lets the fault happen under load, and does what an administrator has to do.
    fn play(&mut self) -> Result<(), String> {
        let cell = self.setup.cell;
        self.wait("the first transfer is complete", |this| this.watch.is_in_sync())?;
        self.watch_sentinels()?;
        let before = self.target_names();
        self.phases.begin_load.store(true, Ordering::Relaxed);
        match cell.load {
            DamageLoad::Idle => {}
            DamageLoad::Churn => {
                self.wait("the load is active", |this| {
                    this.driver.book.changes() > CHANGES_BEFORE
                })?;
            }
            DamageLoad::Big => {
                self.wait("the big file is on its way", |this| this.target_names() != before)?;
            }
        }
        if cell.fault.exchanges_target() {
            self.check_sentinels()?;
            self.sentinels = None;
        }
        let book = self.driver.book;
        let old_rsync = self.environment.old_rsync;
        let fault = FaultInForce::begin(self.setup, &self.daemon, book, old_rsync)
            .map_err(|error| format!("the fault cannot begin: {error}"))?;
        if !cell.fault.is_momentary() {
            let is_idle = cell.load == DamageLoad::Idle;
            self.stay(if is_idle { IDLE_FAULT_TIME } else { FAULT_TIME })?;
        }
        if cell.fault == DamageFault::WatchLimit {
            self.change("facts/unwatched/directory/file")?;
            // Otherwise the limit may be gone before the daemon gets to the directory.
            self.wait("a directory is polled", |this| {
                this.watch.missed_effect(cell.fault).is_none()
            })?;
        }
        if cell.fault == DamageFault::StateDiskFull {
            self.exhaust_state_disk()?;
        }
        fault.end(&mut self.daemon).map_err(|error| format!("the fault cannot end: {error}"))?;
        self.administer()?;
        self.phases.stop_load.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the source until the daemon has warned of all consequences of a full disk.
    fn exhaust_state_disk(&self) -> Result<(), String> {
        let mut number = 0;
        self.wait("the daemon warns of the full disk", |this| {
            number += 1;
            let made = this.change(&format!("facts/unsaved/{number}"));
            let filled = state_disk::keep_full(this.setup);
            made.is_ok() && filled.is_ok() && state_disk::missing_warning(&this.daemon).is_none()
        })
    }

    /// Kills the daemon once it has a snapshot again, changes the source, and starts it again.
    fn restart_from_snapshot(&mut self) -> Result<(), String> {
        self.wait("there is a snapshot again", |this| state_disk::has_snapshot(this.setup))?;
        self.flush()?;
        self.daemon.terminate(Signal::KILL).map_err(|error| error.to_string())?;
        self.change("facts/unwatched")?;
        self.daemon.start_process().map_err(|error| error.to_string())?;
        self.flush()?;
        self.compare()?;
        if self.daemon.has_logged(FROM_SNAPSHOT) {
            return Ok(());
        }
        Err("no start has used a snapshot".into())
    }

    /// Waits for a condition.
    fn wait(
        &self,
        description: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        let start = Instant::now();
        while !condition(self) {
            self.check_daemon()?;
            if start.elapsed() > TIMEOUT {
                return Err(format!("waited in vain until {description}"));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Lets the fault last.
    fn stay(&self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.setup.cell.fault != DamageFault::Killed {
                self.check_daemon()?;
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn check_daemon(&self) -> Result<(), String> {
        self.daemon.failure().map_or(Ok(()), Err)
    }

    /// Returns the names in the target.
    fn target_names(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.setup.target).into_iter().flatten().flatten();
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        names.sort();
        names
    }

    /// Makes one change of the source.
    fn change(&self, path: &str) -> Result<(), String> {
        let made = self.driver.create(path, 5000);
        made.map_err(|error| format!("the source could not be changed: {error}"))
    }

    /// Does what the documents require of an administrator after the fault.
    fn administer(&self) -> Result<(), String> {
        let DamageCell { kind, fault, load } = self.setup.cell;
        // The daemon can't see such an exchange: `docs/decisions/0015-target-identity.md`.
        let is_seen = match kind {
            DamageKind::Rsync | DamageKind::Direct => true,
            DamageKind::Module | DamageKind::RemoteShell | DamageKind::Rsyncssh => {
                fault == DamageFault::TargetRemoved && load != DamageLoad::Idle
            }
            DamageKind::Script => false,
        };
        if fault.exchanges_target() && !is_seen {
            self.ask("resync", "")?;
        }
        Ok(())
    }

    fn ask(&self, command: &str, fields: &str) -> Result<String, String> {
        let start = Instant::now();
        // After a start the socket is not there at once.
        let answer = loop {
            match control::ask(&self.setup.socket(), command, fields, TIMEOUT * 2) {
                Ok(answer) => break answer,
                Err(error) if start.elapsed() > TIMEOUT => {
                    return Err(format!("{command} failed: {error}"));
                }
                Err(_) => self.check_daemon()?,
            }
            thread::sleep(POLL_INTERVAL);
        };
        control::accepted(command, answer)
    }

    /// Checks everything that must hold once all changes are on the target.
    fn verify(&mut self) -> Result<(), String> {
        if self.setup.cell.fault == DamageFault::StateDiskFull {
            self.restart_from_snapshot()?;
        }
        self.change("facts/last")?;
        let source = self.read(&self.setup.origin)?;
        self.flush()?;
        self.compare()?;
        // One request may be under way.
        let before = self.watch.answers() + 1;
        self.wait("the status is in sync", |this| {
            this.watch.answers() > before && this.watch.is_in_sync()
        })?;
        if let Some(why) = self.watch.missed_effect(self.setup.cell.fault) {
            return Err(format!("the fault had no effect: {why}"));
        }
        self.check_sentinels()?;
        if let Some(lie) = self.watch.lie() {
            return Err(lie);
        }
        if self.read(&self.setup.origin)? != source {
            return Err("the daemon has changed its source".into());
        }
        if fs::read(self.setup.canary.join("file")).ok().as_deref() != Some(b"unharmed") {
            return Err("something outside of the target was changed".into());
        }
        self.daemon.excessive_usage().map_or(Ok(()), Err)
    }

    /// Waits until everything is on the target. Where the documents say that deletions are held, it
    /// releases them.
    fn flush(&self) -> Result<(), String> {
        let timeout = format!(",\"timeout\":{}", TIMEOUT.as_secs());
        let mut answer = self.ask("flush", &timeout)?;
        let holds_foreign = self.setup.cell.fault == DamageFault::TargetReplaced;
        if !is_complete(&answer) && holds_foreign && is_held(&answer) {
            if !self.setup.target.join("foreign").exists() {
                return Err("a foreign file was deleted without consent".into());
            }
            self.ask("release", "")?;
            answer = self.ask("flush", &timeout)?;
        }
        if is_complete(&answer) { Ok(()) } else { Err(format!("flush is incomplete: {answer}")) }
    }

    fn read(&self, path: &Path) -> Result<TreeSnapshot, String> {
        let _ = self;
        snapshot(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }

    fn compare(&self) -> Result<(), String> {
        let options = self.setup.cell.kind.compare_options();
        let (source, target) = (self.read(&self.setup.source)?, self.read(&self.setup.target)?);
        let found = differences(options, &source, &target);
        if found.is_empty() {
            return Ok(());
        }
        let mut lines = vec![format!("{} differences after the flush", found.len())];
        for (path, difference) in found.iter().take(SHOWN) {
            lines.push(format!("target {}: {difference}", path_text(path)));
            let whole = path.strip_prefix(b"/churn").unwrap_or(path);
            let changes = self.driver.history.changes_of(whole);
            lines.extend(changes.into_iter().map(|change| format!("    {change}")));
        }
        Err(lines.join("\n"))
    }

    fn watch_sentinels(&mut self) -> Result<(), String> {
        let roots = ["keep", "inner"].map(|name| self.setup.target.join(name));
        let sentinels = TargetSentinels::watch(&roots).map_err(|error| error.to_string())?;
        self.sentinels = Some(sentinels);
        Ok(())
    }

    fn check_sentinels(&self) -> Result<(), String> {
        let Some(sentinels) = &self.sentinels else { return Ok(()) };
        let lost = sentinels.disappeared().map_err(|error| error.to_string())?;
        match lost.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} files were deleted that the source still has, such as {first}",
                lost.len()
            )),
        }
    }

    /// Ends the daemon, and checks that nothing is left of it.
    fn stop(&mut self) -> Result<(), String> {
        self.daemon.terminate(Signal::TERM).map_err(|error| error.to_string())?;
        let mark = self.setup.socket().display().to_string();
        let left = wait_for_none(&mark, &self.setup.servers());
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("{} processes are left:\n{}", left.len(), left.join("\n")))
    }

    fn evidence(&self) -> String {
        format!(
            "-- states --\n{}\n-- status --\n{}\n-- threads --\n{}{}",
            self.watch.summary(),
            self.daemon.status(),
            self.daemon.threads(),
            self.daemon.log_tail(),
        )
    }
}
