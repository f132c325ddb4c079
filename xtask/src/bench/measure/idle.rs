//! The cost of a daemon without work: excluded changes, and no changes at all.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use super::{BenchEnv, copy_all, wait_for_arrival, wait_live};
use crate::bench::{
    floor,
    metric::{Metric, Sample},
    scratch::{ScratchDir, ScratchPath},
    tool::{self, BenchMode, DaemonSpec, Tool},
    workload,
};

/// Number of files that are created with excluded paths; each causes two events.
const EXCLUDED_FILES: usize = 25_000;
/// Duration of the measurement of an idle daemon, and its number of directories.
const IDLE: (Duration, usize) = (Duration::from_secs(30), 10_000);

/// The reason for which a path is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExclusionBench {
    /// Its directory is excluded.
    ByDirectory,
    /// Its name matches a pattern.
    ByPattern,
}

impl ExclusionBench {
    const fn pattern(self) -> &'static str {
        match self {
            Self::ByDirectory => "/busy/",
            Self::ByPattern => "*.tmp",
        }
    }

    /// Measures many excluded changes.
    ///
    /// # Errors
    ///
    /// If a step fails.
    pub(crate) fn measure(self, bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
        let scratch = ScratchDir::new(&bench.base)?;
        let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
        fs::create_dir(source.path().join("busy"))?;
        if tool == Tool::Floor {
            let own = floor::cost_of_reading(&scratch, &source, || create_files(&source))?;
            return Ok(Sample::from([(Metric::OwnCpu, own)]));
        }
        let targets = std::slice::from_ref(&target);
        let spec = DaemonSpec {
            mode: BenchMode::Rsync,
            source: &source,
            targets,
            delay: Some(0),
            exclude: Some(self.pattern()),
            our_args: &["-watch", "inotify"],
            programs: None,
        };
        let mut running = tool::start(tool, &bench.ours, &spec, &scratch)?;
        wait_live(tool, &mut running, &source, targets)?;
        let before = running.usage()?;
        create_files(&source)?;
        // The last change is not excluded. Once it arrives, all earlier events are processed.
        fs::write(source.path().join("last"), "")?;
        let last = target.path().join("last");
        wait_for_arrival(Instant::now(), || last.exists())?;
        let used = running.usage()?;
        Ok(Sample::from([
            (Metric::OwnCpu, used.own - before.own),
            (Metric::Memory, running.peak_memory()?),
        ]))
    }
}

fn create_files(source: &ScratchPath) -> io::Result<()> {
    let busy = source.path().join("busy");
    (0..EXCLUDED_FILES).try_for_each(|file| fs::write(busy.join(format!("{file}.tmp")), "x"))
}

/// Measures an idle `tool`.
///
/// It gets a private file system: a fanotify mark on a shared one would wake it for unrelated
/// changes.
///
/// # Errors
///
/// If a step fails.
pub(crate) fn measure_idle(bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
    let scratch = ScratchDir::new(&bench.base)?;
    let alone = scratch.create_dir("alone")?;
    let measure = || {
        alone.mount_for_this_thread()?;
        measure_idle_here(&BenchEnv { base: alone.path().to_owned(), ..bench.clone() }, tool)
    };
    let measured = thread::scope(|scope| scope.spawn(measure).join());
    measured.unwrap_or_else(|_| Err(io::Error::other("the measurement ended before its time")))
}

fn measure_idle_here(bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
    let (duration, directories) = IDLE;
    let scratch = ScratchDir::new(&bench.base)?;
    let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
    workload::create_dirs(source.path(), directories)?;
    copy_all(&source, &target)?;
    let targets = std::slice::from_ref(&target);
    let spec = DaemonSpec {
        mode: BenchMode::Rsync,
        source: &source,
        targets,
        delay: None,
        exclude: None,
        our_args: &[],
        programs: None,
    };
    let mut running = tool::start(tool, &bench.ours, &spec, &scratch)?;
    wait_live(tool, &mut running, &source, targets)?;
    // Skips the work right after its start.
    thread::sleep(Duration::from_secs(1));
    let before = running.wake_ups()?;
    thread::sleep(duration);
    Ok(Sample::from([
        (Metric::WakeUps, running.wake_ups()? - before),
        (Metric::Memory, running.peak_memory()?),
    ]))
}
