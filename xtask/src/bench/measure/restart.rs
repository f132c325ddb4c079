//! The restart of a daemon that has mirrored the same source before.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{BenchEnv, copy_all, timed, wait_live};
use crate::bench::{
    arrival::verify,
    floor,
    metric::{Metric, Sample},
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
    tool::{self, BenchMode, DaemonSpec, Tool},
    workload,
};

/// Time limit for the end of a daemon, which writes a last snapshot.
const END: Duration = Duration::from_mins(1);

/// The restart with an unchanged source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestartBench {
    /// The number of directories.
    pub(crate) directories: usize,
    /// The number of files in each of them.
    pub(crate) files: usize,
}

impl RestartBench {
    /// Measures the time from the second start of ours, with a snapshot, until it is live; from a
    /// start of the original, which compares both sides; and that of a walk over the source.
    ///
    /// # Errors
    ///
    /// If a step fails, or ours transfers anything.
    pub(crate) fn measure(self, bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
        let scratch = ScratchDir::new(&bench.base)?;
        let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
        workload::create_dirs(source.path(), self.directories)?;
        fill(source.path(), self.files)?;
        if tool == Tool::Floor {
            return timed(|| floor::walk(&source));
        }
        copy_all(&source, &target)?;
        let sample = if tool == Tool::Ours {
            let configuration = write_configuration(&scratch, &source, &target)?;
            let start = || {
                let mut command = tool.lsyncd(&bench.ours)?;
                command.arg("-nodaemon").arg(&configuration);
                MeteredProcess::start(&command, &scratch.path("output")?)
            };
            let mut first = start()?;
            wait_live(tool, &mut first, &source, std::slice::from_ref(&target))?;
            first.terminate(Signal::TERM, END)?;
            drop(first);
            let (sample, running) = measure_start(tool, &source, &target, start)?;
            if !running.output().contains("nothing has changed since the last snapshot") {
                return Err(io::Error::other(running.last_lines(20)));
            }
            sample
        } else {
            let spec = DaemonSpec {
                mode: BenchMode::Rsync,
                source: &source,
                targets: std::slice::from_ref(&target),
                delay: None,
                exclude: None,
                our_args: &[],
                programs: None,
            };
            let start = || tool::start(tool, &bench.ours, &spec, &scratch);
            measure_start(tool, &source, &target, start)?.0
        };
        verify(source.path(), target.path())?;
        Ok(sample)
    }
}

/// Creates this number of files in each directory at and below `directory`.
fn fill(directory: &Path, files: usize) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fill(&entry?.path(), files)?;
    }
    (0..files).try_for_each(|file| fs::write(directory.join(format!("f{file}")), "content"))
}

fn write_configuration(
    scratch: &ScratchDir,
    source: &ScratchPath,
    target: &ScratchPath,
) -> io::Result<std::path::PathBuf> {
    let state = scratch.create_dir("state")?;
    let path = scratch.path("restart.lua")?.path().to_owned();
    let mut file = fs::File::create(&path)?;
    writeln!(file, "settings {{ stateDir = [[{}]] }}", state.path().display())?;
    writeln!(
        file,
        "sync {{ default.rsync, source = [[{}]], target = [[{}]] }}",
        source.path().display(),
        target.path().display(),
    )?;
    Ok(path)
}

/// Measures a start until the daemon is live, and the memory that it keeps.
fn measure_start(
    tool: Tool,
    source: &ScratchPath,
    target: &ScratchPath,
    start: impl FnOnce() -> io::Result<MeteredProcess>,
) -> io::Result<(Sample, MeteredProcess)> {
    let started = Instant::now();
    let mut running = start()?;
    wait_live(tool, &mut running, source, std::slice::from_ref(target))?;
    let wall = started.elapsed().as_secs_f64();
    let used = running.usage()?;
    let sample = Sample::from([
        (Metric::Wall, wall),
        (Metric::OwnCpu, used.own),
        (Metric::AllCpu, used.own + used.children),
        (Metric::Memory, running.peak_memory()?),
        (Metric::KeptMemory, running.memory()?),
    ]);
    Ok((sample, running))
}
