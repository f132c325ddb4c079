//! One change at a time: how long until it is on the target.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use super::{Bench, wait_live};
use crate::bench::{
    figure::{Figure, Sample, percentile},
    floor::{self, Watch},
    place::{Arena, Place},
    running::Running,
    tool::{self, Mode, Order, Tool},
};

/// How many changes are measured.
const CHANGES: usize = 200;
/// How large each is.
const LENGTH: usize = 1024;
/// The quiet time before each, so that each is alone.
const PAUSE: Duration = Duration::from_millis(25);

/// Takes `tool` through a number of lone changes without a delay.
///
/// # Errors
///
/// When a change does not arrive.
pub(crate) fn measure(bench: &Bench, tool: Tool) -> io::Result<Sample> {
    let arena = Arena::new(&bench.base)?;
    let [source, target] = [arena.directory("source")?, arena.directory("target")?];
    let mut running = if tool == Tool::Floor {
        floor::start_copier(&arena, &source, &target)?
    } else {
        let targets = std::slice::from_ref(&target);
        let order = Order {
            mode: Mode::Direct,
            source: &source,
            targets,
            delay: Some(0),
            excluded: None,
            ours: &[],
            programs: None,
        };
        let mut running = tool::start(tool, &bench.ours, &order, &arena)?;
        wait_live(tool, &mut running, &source, targets)?;
        running
    };
    let times = measure_changes(&source, &target, CHANGES, || Ok(()))?;
    summary(times, &mut running)
}

/// Makes lone changes, and says of each after how many milliseconds it was on the target. After
/// each change `then` is done, and counts.
///
/// # Errors
///
/// When a change does not arrive.
pub(super) fn measure_changes(
    source: &Place,
    target: &Place,
    changes: usize,
    mut then: impl FnMut() -> io::Result<()>,
) -> io::Result<Vec<f64>> {
    let mut watch = Watch::new(target.path())?;
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

/// The name of the file that a change makes.
pub(super) fn name(change: usize) -> String {
    format!("change{change}")
}

/// The figures of lone changes.
///
/// # Errors
///
/// When the program has ended.
pub(super) fn summary(mut times: Vec<f64>, running: &mut Running) -> io::Result<Sample> {
    times.sort_by(f64::total_cmp);
    Ok(Sample::from([
        (Figure::Median, percentile(&times, 0.5)),
        (Figure::Percentile99, percentile(&times, 0.99)),
        (Figure::Memory, running.peak_memory()?),
    ]))
}
