//! The startup: the first full transfer.

use std::{io, process::Command, time::Instant};

use super::{BenchEnv, copy_all, rsync, run, timed, wait_live};
use crate::bench::{
    arrival::verify,
    metric::{Metric, Sample},
    scratch::{ScratchDir, ScratchPath},
    tool::{self, BenchMode, DaemonSpec, Tool},
    workload,
};

/// The work at startup.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartupBench {
    /// None: this number of directories is already equal. With arguments for our daemon.
    Equal(usize, &'static [&'static str]),
    /// Everything: this number of small files is copied to an empty target.
    Empty(usize),
}

impl StartupBench {
    /// Measures the time from the start until it is live.
    ///
    /// # Errors
    ///
    /// If a step fails, or the target is wrong in the end.
    pub(crate) fn measure(self, bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
        let scratch = ScratchDir::new(&bench.base)?;
        let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
        match self {
            Self::Equal(number, _) => {
                workload::create_dirs(source.path(), number)?;
                copy_all(&source, &target)?;
            }
            Self::Empty(number) => {
                for directory in 0..100 {
                    let directory = source.path().join(format!("d{directory}"));
                    workload::create_files(&directory, number / 100, &[b'x'; 1024])?;
                }
            }
        }
        let sample = match tool {
            Tool::Floor => timed(|| match self {
                Self::Equal(..) => run(rsync(&source, &target)),
                Self::Empty(_) => copy_all(&source, &target),
            })?,
            Tool::RsyncArchive => timed(|| run(rsync_archive(&source, &target)))?,
            Tool::Original | Tool::Ours | Tool::Watchman | Tool::InotifyLoop => {
                let (mode, our_args) = match self {
                    Self::Equal(_, args) => (BenchMode::Rsync, args),
                    Self::Empty(_) => (BenchMode::Direct, [].as_slice()),
                };
                let spec = DaemonSpec {
                    mode,
                    source: &source,
                    targets: std::slice::from_ref(&target),
                    delay: None,
                    exclude: None,
                    our_args,
                    programs: None,
                };
                measure_daemon(bench, tool, &spec, &scratch)?
            }
        };
        verify(source.path(), target.path())?;
        Ok(sample)
    }
}

/// Measures the time until the daemon is live.
fn measure_daemon(
    bench: &BenchEnv,
    tool: Tool,
    spec: &DaemonSpec<'_>,
    scratch: &ScratchDir,
) -> io::Result<Sample> {
    let started = Instant::now();
    let mut running = tool::start(tool, &bench.ours, spec, scratch)?;
    wait_live(tool, &mut running, spec.source, spec.targets)?;
    let wall = started.elapsed().as_secs_f64();
    let used = running.usage()?;
    Ok(Sample::from([
        (Metric::Wall, wall),
        (Metric::OwnCpu, used.own),
        (Metric::AllCpu, used.own + used.children),
        (Metric::Memory, running.peak_memory()?),
    ]))
}

fn rsync_archive(source: &ScratchPath, target: &ScratchPath) -> Command {
    let mut command = Command::new("rsync");
    command.arg("-a").args([source.with_slash(), target.with_slash()]);
    command
}
