//! One daemon under churn and faults, with checkpoints.

use std::{
    fs, io,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    checkpoint::{self, Checkpoint, ask},
    churn::SoakChurn,
    driver::FaultDriver,
    gauges::ProcessGauges,
    lags::BatchLog,
    options::SoakOptions,
    setup::SoakSetup,
};
use crate::{
    bench::{process::MeteredProcess, scratch::ScratchDir},
    damage::leftovers::{VARIABLE, wait_for_none},
};

/// Interval between two steps of the faults.
const STEP: Duration = Duration::from_millis(50);
/// Interval between two requests for the last batches.
const HISTORY_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two samples of memory and descriptors.
const GAUGE_INTERVAL: Duration = Duration::from_secs(10);
/// Number of checkpoints.
const CHECKPOINTS: u32 = 12;
/// The checkpoint with which all later ones are compared.
const FIRST_COMPARED: usize = 2;
/// Time limit for the exit of the daemon.
const EXIT_TIMEOUT: Duration = Duration::from_mins(1);

/// The results of a run.
#[derive(Debug)]
pub(crate) struct SoakResults {
    /// A message for each figure that is not flat.
    pub(crate) growth: Vec<String>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) batches: BatchLog,
    pub(crate) faults: Vec<(&'static str, u64)>,
    pub(crate) changes: u64,
    /// The largest resident memory of all samples in KiB, and the largest numbers.
    pub(crate) peak: ProcessGauges,
}

/// A running soak.
pub(crate) struct SoakRun<'a> {
    setup: SoakSetup,
    scratch: &'a ScratchDir,
    daemon: MeteredProcess,
    churn: &'a SoakChurn,
    faults: FaultDriver,
    batches: BatchLog,
    checkpoints: Vec<Checkpoint>,
    peak: ProcessGauges,
    start: Instant,
}

/// Runs the daemon for the time of the options.
///
/// # Errors
///
/// Returns what is wrong.
pub(crate) fn run(
    options: &SoakOptions,
    program: &Path,
    scratch: &ScratchDir,
) -> Result<SoakResults, String> {
    let text = |error: io::Error| format!("the setup failed: {error}");
    let setup = SoakSetup::create(scratch).map_err(text)?;
    let churn = SoakChurn::create(&setup.sources, options.seed).map_err(text)?;
    setup.write_config(None).map_err(text)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let daemon = start_daemon(&setup, program, scratch).map_err(text)?;
        let peak = ProcessGauges::read(&daemon.pid().to_string()).map_err(text)?;
        let mut run = SoakRun {
            setup,
            scratch,
            daemon,
            churn: &churn,
            faults: FaultDriver::new(options.seed),
            batches: BatchLog::default(),
            checkpoints: Vec::new(),
            peak,
            start: Instant::now(),
        };
        let result = run.first_transfer();
        let load = scope.spawn(|| churn.run(options.seed, &stop));
        let result = result.and_then(|()| run.play(options.time));
        stop.store(true, Ordering::Relaxed);
        let changed = load.join().unwrap_or_else(|_| Err(io::Error::other("it has panicked")));
        let changed = changed.map_err(|error| format!("the source could not be changed: {error}"));
        let result = result.and(changed).and_then(|()| run.stop());
        if result.is_err() {
            println!("{}", run.evidence());
        }
        result.map(|()| run.results())
    })
}

fn start_daemon(
    setup: &SoakSetup,
    program: &Path,
    scratch: &ScratchDir,
) -> io::Result<MeteredProcess> {
    let mut command = Command::new(program);
    command.arg("-nodaemon").arg(setup.run_file("config.lua"));
    // The user's ssh configuration must not affect it.
    command.env("HOME", setup.run_file(""));
    command.env(VARIABLE, setup.socket());
    MeteredProcess::start(&command, &scratch.path("run/log")?)
}

impl SoakRun<'_> {
    /// Waits until all targets are complete for the first time.
    fn first_transfer(&mut self) -> Result<(), String> {
        let socket = self.setup.socket();
        let ready = self.daemon.wait_until("the daemon answers", |_| socket.exists());
        ready.map_err(|error| error.to_string())?;
        checkpoint::flush(&mut self.setup)?;
        println!("all targets are complete after {:.1} s", self.start.elapsed().as_secs_f64());
        Ok(())
    }

    fn play(&mut self, time: Duration) -> Result<(), String> {
        self.start = Instant::now();
        for number in 1..=CHECKPOINTS {
            self.disturb(self.start + time / CHECKPOINTS * number)?;
            self.check()?;
        }
        Ok(())
    }

    /// Returns a message for each figure that is not flat.
    fn growth(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let compared = self.checkpoints.get(FIRST_COMPARED - 1..).unwrap_or_default();
        if let Some((first, later)) = compared.split_first() {
            for checkpoint in later {
                let changes = checkpoint.gauges.changes_since(first.gauges);
                let minute = checkpoint.minute();
                wrong.extend(changes.into_iter().map(|it| format!("at minute {minute}: {it}")));
            }
        }
        wrong
    }

    /// Lets faults happen until a time.
    fn disturb(&mut self, until: Instant) -> Result<(), String> {
        let (mut next_gauge, mut next_history) = (Instant::now(), Instant::now());
        while Instant::now() < until {
            let pid = self.daemon.pid();
            let windows = self.faults.step(&mut self.setup, pid, self.scratch);
            let windows = windows.map_err(|error| error.to_string())?;
            self.batches.add_windows(windows);
            self.check_daemon()?;
            if Instant::now() >= next_history {
                next_history += HISTORY_INTERVAL;
                self.note_batches()?;
            }
            if Instant::now() >= next_gauge {
                next_gauge += GAUGE_INTERVAL;
                self.note_gauges()?;
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    fn check_daemon(&self) -> Result<(), String> {
        self.daemon
            .exit_reason()
            .map_or(Ok(()), |how| Err(format!("the daemon has ended by itself: {how}")))
    }

    fn note_batches(&mut self) -> Result<(), String> {
        let answer = ask(&self.setup, "history", ",\"limit\":1000")?;
        self.batches.add(&answer)
    }

    fn note_gauges(&mut self) -> Result<(), String> {
        let gauges = self.gauges()?;
        self.peak = gauges.greatest(self.peak);
        let seconds = self.start.elapsed().as_secs();
        let (changes, batches) = (self.churn.changes(), self.batches.batches);
        let faults = self.faults.names();
        println!("{seconds:5} s: {gauges}; {changes} changes, {batches} batches; faults: {faults}");
        Ok(())
    }

    fn gauges(&self) -> Result<ProcessGauges, String> {
        ProcessGauges::read(&self.daemon.pid().to_string()).map_err(|error| error.to_string())
    }

    /// Ends all faults, waits until everything is on the targets, and compares.
    fn check(&mut self) -> Result<(), String> {
        let churn = self.churn;
        let paused = churn.pause();
        let pid = self.daemon.pid();
        let windows = self.faults.end_all(&mut self.setup, pid, self.scratch);
        let windows = windows.map_err(|error| error.to_string())?;
        self.batches.add_windows(windows);
        let started = Instant::now();
        checkpoint::flush(&mut self.setup)?;
        let flushed = started.elapsed();
        checkpoint::compare(&self.setup)?;
        checkpoint::wait_until_quiet(&self.setup, &mut self.daemon)?;
        self.note_batches()?;
        self.check_daemon()?;
        let gauges = checkpoint::quiet_gauges(&self.daemon)?;
        let checkpoint = Checkpoint { at: self.start.elapsed(), flushed, gauges };
        println!("checkpoint: {checkpoint}");
        self.checkpoints.push(checkpoint);
        drop(paused);
        Ok(())
    }

    /// Ends the daemon, and checks that nothing is left of it.
    fn stop(&mut self) -> Result<(), String> {
        let ended = self.daemon.terminate(Signal::TERM, EXIT_TIMEOUT);
        ended.map_err(|error| error.to_string())?;
        let mark = self.setup.socket().display().to_string();
        let mut left = wait_for_none(&mark, &self.setup.servers());
        let state = fs::read_dir(self.setup.run_file("state")).into_iter().flatten().flatten();
        let temporary = state
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "new"));
        left.extend(temporary.map(|path| path.display().to_string()));
        if self.daemon.output().contains("panicked") {
            left.push("a thread of the daemon has panicked".into());
        }
        if left.is_empty() { Ok(()) } else { Err(format!("left:\n{}", left.join("\n"))) }
    }

    fn evidence(&self) -> String {
        /// Number of lines of the log.
        const SHOWN: usize = 100;
        let faults = self.faults.names();
        format!("-- faults in force: {faults} --\n-- log --\n{}", self.daemon.last_lines(SHOWN))
    }

    fn results(self) -> SoakResults {
        let faults = self.faults.counts().iter().map(|(name, count)| (*name, *count)).collect();
        let growth = self.growth();
        let Self { checkpoints, batches, peak, churn, .. } = self;
        SoakResults { growth, checkpoints, batches, faults, changes: churn.changes(), peak }
    }
}
