//! The kinds of benchmark: each measures one run of one tool.

pub(crate) mod burst;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod restart;
pub(crate) mod scripts;
pub(crate) mod ssh;
pub(crate) mod startup;
pub(crate) mod targets;

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    metric::{Metric, Sample},
    process::{MeteredProcess, TIMEOUT},
    scratch::ScratchPath,
    tool::{RSYNC_OPTIONS, Tool},
    usage::ProcessUsage,
};

/// Interval between two checks of a target.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The environment of all measurements.
#[derive(Clone, Debug)]
pub(crate) struct BenchEnv {
    /// Our daemon, a release build.
    pub(crate) ours: PathBuf,
    /// Parent of the temporary directories.
    pub(crate) base: PathBuf,
}

/// Waits until `arrived` returns true, and returns the seconds since `started`.
fn wait_for_arrival(started: Instant, mut arrived: impl FnMut() -> bool) -> io::Result<f64> {
    while !arrived() {
        if started.elapsed() > TIMEOUT {
            return Err(io::Error::other("the changes do not arrive"));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Waits until `tool` has finished its startup and mirrors changes.
fn wait_live(
    tool: Tool,
    running: &mut MeteredProcess,
    source: &ScratchPath,
    targets: &[ScratchPath],
) -> io::Result<()> {
    if matches!(tool, Tool::Original | Tool::Ours) {
        running.wait_until("all syncs are live", |running| {
            let finished = |line: &&str| line.contains("Startup of") && line.contains("finished");
            running.output().lines().filter(finished).count() >= targets.len()
        })?;
        return running.wait_without_children();
    }
    // These log nothing, so a marker file is written until it arrives at the target.
    let marker = source.path().join("live?");
    let all =
        |exists: bool| targets.iter().all(|target| target.path().join("live?").exists() == exists);
    let mut written: Option<Instant> = None;
    running.wait_until("a marker arrives", |_| {
        // Not continuously, because both wait for a quiet period.
        if written.is_none_or(|when| when.elapsed() > Duration::from_secs(1)) {
            written = std::fs::write(&marker, "?").ok().map(|()| Instant::now());
        }
        all(true)
    })?;
    std::fs::remove_file(&marker)?;
    running.wait_until("a marker goes", |_| all(false))
}

/// Copies the content of `source` to `target`.
fn copy_all(source: &ScratchPath, target: &ScratchPath) -> io::Result<()> {
    let mut command = Command::new("cp");
    command.args(["-a", "--"]).arg(source.path().join(".")).arg(target.path());
    run(command)
}

/// Returns the rsync command of a sync with default options.
fn rsync(source: &ScratchPath, target: &ScratchPath) -> Command {
    let mut command = Command::new("rsync");
    command.args(RSYNC_OPTIONS).args([source.with_slash(), target.with_slash()]);
    command
}

/// Runs a program and waits for it.
pub(crate) fn run(mut command: Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

/// Runs `work`, and returns its duration and the CPU time of its children.
fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let used = ProcessUsage::of_own_children()?;
    let started = Instant::now();
    work()?;
    let wall = started.elapsed().as_secs_f64();
    let all = ProcessUsage::of_own_children()? - used;
    Ok(Sample::from([(Metric::Wall, wall), (Metric::AllCpu, all)]))
}
