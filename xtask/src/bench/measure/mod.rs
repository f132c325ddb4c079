//! The kinds of measurement: each takes one tool through one run.

pub(crate) mod latency;
pub(crate) mod quiet;
pub(crate) mod scripts;
pub(crate) mod ssh;
pub(crate) mod startup;
pub(crate) mod storm;
pub(crate) mod targets;

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    figure::{Figure, Sample},
    place::Place,
    running::{PATIENCE, Running},
    tool::{RSYNC_OPTIONS, Tool},
    usage::Usage,
};

/// How often a target is looked at.
const INTERVAL: Duration = Duration::from_millis(1);

/// What all measurements need to know.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// The release build.
    pub(crate) ours: PathBuf,
    /// Where arenas are made.
    pub(crate) base: PathBuf,
}

/// Waits until `arrived` holds, and returns the seconds since `started`.
fn wait_for_arrival(started: Instant, mut arrived: impl FnMut() -> bool) -> io::Result<f64> {
    while !arrived() {
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other("the changes do not arrive"));
        }
        thread::sleep(INTERVAL);
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Waits until `tool` has finished its first sync and carries changes.
fn wait_live(
    tool: Tool,
    running: &mut Running,
    source: &Place,
    targets: &[Place],
) -> io::Result<()> {
    if matches!(tool, Tool::Original | Tool::Ours) {
        running.wait_until("all syncs are live", |running| {
            let finished = |line: &&str| line.contains("Startup of") && line.contains("finished");
            running.output().lines().filter(finished).count() >= targets.len()
        })?;
        return running.wait_without_children();
    }
    // These tell nothing, so a file is shown to them until it comes out on the other side.
    let marker = source.path().join("live?");
    let all = |there: bool| targets.iter().all(|to| to.path().join("live?").exists() == there);
    let mut shown: Option<Instant> = None;
    running.wait_until("a marker arrives", |_| {
        // Not all the time: both wait until it is quiet.
        if shown.is_none_or(|when| when.elapsed() > Duration::from_secs(1)) {
            shown = std::fs::write(&marker, "?").ok().map(|()| Instant::now());
        }
        all(true)
    })?;
    std::fs::remove_file(&marker)?;
    running.wait_until("a marker goes", |_| all(false))
}

/// Makes `target` equal to `source`.
fn copy_all(source: &Place, target: &Place) -> io::Result<()> {
    let mut command = Command::new("cp");
    command.args(["-a", "--"]).arg(source.path().join(".")).arg(target.path());
    run(command)
}

/// One run of rsync as a sync without options of its own makes it.
fn rsync(source: &Place, target: &Place) -> Command {
    let mut command = Command::new("rsync");
    command.args(RSYNC_OPTIONS).args([source.content(), target.content()]);
    command
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

/// Runs `work`, and returns how long it took and what its children used.
fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let used = Usage::of_own_children()?;
    let started = Instant::now();
    work()?;
    let wall = started.elapsed().as_secs_f64();
    let all = Usage::of_own_children()? - used;
    Ok(Sample::from([(Figure::Wall, wall), (Figure::AllCpu, all)]))
}
