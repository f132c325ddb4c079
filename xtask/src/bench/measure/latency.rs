//! The latency of single changes.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use super::{BenchEnv, wait_live};
use crate::bench::{
    floor::{self, DirectoryWatch},
    metric::{Metric, Sample, percentile},
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
    tool::{self, BenchMode, DaemonSpec, Tool},
};

/// Number of measured changes.
const CHANGES: usize = 200;
/// Length of each file in bytes.
const LENGTH: usize = 1024;
/// The pause before each change, which isolates it.
const PAUSE: Duration = Duration::from_millis(25);

/// Measures single changes without a delay.
///
/// # Errors
///
/// If a change does not arrive.
pub(crate) fn measure(bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
    let scratch = ScratchDir::new(&bench.base)?;
    let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
    let mut running = if tool == Tool::Floor {
        floor::start_copier(&scratch, &source, &target)?
    } else {
        let targets = std::slice::from_ref(&target);
        let spec = DaemonSpec {
            mode: BenchMode::Direct,
            source: &source,
            targets,
            delay: Some(0),
            exclude: None,
            our_args: &[],
            programs: None,
        };
        let mut running = tool::start(tool, &bench.ours, &spec, &scratch)?;
        wait_live(tool, &mut running, &source, targets)?;
        running
    };
    let times = measure_changes(&source, &target, CHANGES, || Ok(()))?;
    summary(times, &mut running)
}

/// Makes single changes, and returns their latencies in milliseconds. Each includes `then`, which
/// runs after the change.
///
/// # Errors
///
/// If a change does not arrive.
pub(super) fn measure_changes(
    source: &ScratchPath,
    target: &ScratchPath,
    changes: usize,
    mut then: impl FnMut() -> io::Result<()>,
) -> io::Result<Vec<f64>> {
    let mut watch = DirectoryWatch::new(target.path())?;
    let mut times = Vec::with_capacity(changes);
    for number in 0..changes {
        thread::sleep(PAUSE);
        let name = name(number);
        let started = Instant::now();
        fs::write(source.path().join(&name), [b'x'; LENGTH])?;
        then()?;
        watch.wait_for_file(target.path(), &name, LENGTH as u64)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// Returns the name of the file that a change creates.
pub(super) fn name(change: usize) -> String {
    format!("change{change}")
}

/// Returns the metrics of single changes.
///
/// # Errors
///
/// If the program has exited.
pub(super) fn summary(mut times: Vec<f64>, running: &mut MeteredProcess) -> io::Result<Sample> {
    times.sort_by(f64::total_cmp);
    Ok(Sample::from([
        (Metric::Median, percentile(&times, 0.5)),
        (Metric::Percentile99, percentile(&times, 0.99)),
        (Metric::Memory, running.peak_memory()?),
    ]))
}
