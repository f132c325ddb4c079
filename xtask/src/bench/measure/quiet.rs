//! What a daemon costs when there is nothing for it to do.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use super::{Bench, copy_all, wait_for_arrival, wait_live};
use crate::bench::{
    figure::{Figure, Sample},
    floor,
    place::{Arena, Place},
    scene,
    tool::{self, Mode, Order, Tool},
};

/// How many files come into being in excluded places; each gives two events.
const EXCLUDED_FILES: usize = 25_000;
/// How long an idle daemon is watched, and over how many directories.
const IDLE: (Duration, usize) = (Duration::from_secs(30), 10_000);

/// Why a place is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excluded {
    /// It lies in a directory that is.
    ByDirectory,
    /// Its name matches.
    ByPattern,
}

impl Excluded {
    const fn pattern(self) -> &'static str {
        match self {
            Self::ByDirectory => "/busy/",
            Self::ByPattern => "*.tmp",
        }
    }

    /// Takes `tool` through many changes that are none of its business.
    ///
    /// # Errors
    ///
    /// When something cannot be done.
    pub(crate) fn measure(self, bench: &Bench, tool: Tool) -> io::Result<Sample> {
        let arena = Arena::new(&bench.base)?;
        let [source, target] = [arena.directory("source")?, arena.directory("target")?];
        fs::create_dir(source.path().join("busy"))?;
        if tool == Tool::Floor {
            let own = floor::cost_of_reading(&arena, &source, || make_files(&source))?;
            return Ok(Sample::from([(Figure::OwnCpu, own)]));
        }
        let targets = std::slice::from_ref(&target);
        let order = Order {
            mode: Mode::Rsync,
            source: &source,
            targets,
            delay: Some(0),
            excluded: Some(self.pattern()),
            ours: &["-watch", "inotify"],
            programs: None,
        };
        let mut running = tool::start(tool, &bench.ours, &order, &arena)?;
        wait_live(tool, &mut running, &source, targets)?;
        let before = running.usage()?;
        make_files(&source)?;
        // What comes after all those events is not excluded; when it arrives, they are through.
        fs::write(source.path().join("last"), "")?;
        let last = target.path().join("last");
        wait_for_arrival(Instant::now(), || last.exists())?;
        let used = running.usage()?;
        Ok(Sample::from([
            (Figure::OwnCpu, used.own - before.own),
            (Figure::Memory, running.peak_memory()?),
        ]))
    }
}

fn make_files(source: &Place) -> io::Result<()> {
    let busy = source.path().join("busy");
    (0..EXCLUDED_FILES).try_for_each(|file| fs::write(busy.join(format!("{file}.tmp")), "x"))
}

/// Watches an idle `tool`.
///
/// It gets a file system of its own: a mark of fanotify on one that others use wakes it for their
/// changes, which is no idling.
///
/// # Errors
///
/// When something cannot be done.
pub(crate) fn measure_idle(bench: &Bench, tool: Tool) -> io::Result<Sample> {
    let arena = Arena::new(&bench.base)?;
    let alone = arena.directory("alone")?;
    let measure = || {
        alone.mount_for_this_thread()?;
        measure_idle_here(&Bench { base: alone.path().to_owned(), ..bench.clone() }, tool)
    };
    let measured = thread::scope(|scope| scope.spawn(measure).join());
    measured.unwrap_or_else(|_| Err(io::Error::other("the measurement ended before its time")))
}

fn measure_idle_here(bench: &Bench, tool: Tool) -> io::Result<Sample> {
    let (duration, directories) = IDLE;
    let arena = Arena::new(&bench.base)?;
    let [source, target] = [arena.directory("source")?, arena.directory("target")?];
    scene::directories(source.path(), directories)?;
    copy_all(&source, &target)?;
    let targets = std::slice::from_ref(&target);
    let order = Order {
        mode: Mode::Rsync,
        source: &source,
        targets,
        delay: None,
        excluded: None,
        ours: &[],
        programs: None,
    };
    let mut running = tool::start(tool, &bench.ours, &order, &arena)?;
    wait_live(tool, &mut running, &source, targets)?;
    // What it still does right after its start is no idling.
    thread::sleep(Duration::from_secs(1));
    let before = running.wake_ups()?;
    thread::sleep(duration);
    Ok(Sample::from([
        (Figure::WakeUps, running.wake_ups()? - before),
        (Figure::Memory, running.peak_memory()?),
    ]))
}
