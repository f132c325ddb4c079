//! Many targets of one source: the influence of dead ones on the others, and the memory of each.

use std::{fs, io, net::TcpListener, process::Command, time::Instant};

use super::{BenchEnv, wait_for_arrival};
use crate::bench::{
    metric::{Metric, Sample},
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
};

/// Number of consecutive changes.
const ROUNDS: usize = 20;

/// A benchmark of our daemon only.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetsBench {
    /// Changes to this number of targets, beside one that refuses and one that hangs.
    Dead(usize),
    /// The memory of each further target: from the first number to the second, all idle.
    Memory(usize, usize),
}

impl TargetsBench {
    /// Measures our daemon.
    ///
    /// # Errors
    ///
    /// If a change does not arrive.
    pub(crate) fn measure(self, bench: &BenchEnv) -> io::Result<Sample> {
        match self {
            Self::Dead(number) => measure_dead(bench, number),
            Self::Memory(few, many) => {
                let used =
                    |number| Ok::<_, io::Error>(measure_idle_memory(bench, number)? * 1024.0);
                let more = used(many)? - used(few)?;
                #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
                let each = more / (many - few) as f64;
                Ok(Sample::from([(Metric::PerTarget, each)]))
            }
        }
    }
}

/// A source with several targets.
struct TargetsFixture {
    scratch: ScratchDir,
    source: ScratchPath,
    targets: Vec<ScratchPath>,
}

impl TargetsFixture {
    fn new(bench: &BenchEnv, number: usize) -> io::Result<Self> {
        let scratch = ScratchDir::new(&bench.base)?;
        let source = scratch.create_dir("source")?;
        let targets = (0..number).map(|number| scratch.create_dir(&format!("target{number}")));
        let targets = targets.collect::<io::Result<_>>()?;
        Ok(Self { scratch, source, targets })
    }

    /// Starts the daemon, and waits until all targets but the `others` are live.
    fn start(&self, bench: &BenchEnv, others: &[String]) -> io::Result<MeteredProcess> {
        let mut command = Command::new(&bench.ours);
        command.args(["-nodaemon", "-insist", "-delay", "0"]);
        for target in &self.targets {
            command.arg("-rsync").args([self.source.path(), target.path()]);
        }
        for target in others {
            command.arg("-rsync").arg(self.source.path()).arg(target);
        }
        let mut running = MeteredProcess::start(&command, &self.scratch.path("output")?)?;
        running.wait_until("all syncs are live", |running| {
            let finished = |line: &&str| line.contains("Startup of") && line.contains("finished");
            running.output().lines().filter(finished).count() >= self.targets.len()
        })?;
        Ok(running)
    }

    /// Writes a new file, and returns the seconds until it is on all targets.
    fn change(&self, name: &str) -> io::Result<f64> {
        let started = Instant::now();
        fs::write(self.source.path().join(name), "new")?;
        let mut pending: Vec<&ScratchPath> = self.targets.iter().collect();
        wait_for_arrival(started, || {
            pending.retain(|target| !target.path().join(name).exists());
            pending.is_empty()
        })
    }
}

/// Measures the ratio of the time of a change to all targets beside a refusing and a hanging one to
/// that without these. Two daemons get the same changes in turn and are stopped in between, so that
/// temporary load of the machine affects both, and neither slows down the other.
fn measure_dead(bench: &BenchEnv, number: usize) -> io::Result<Sample> {
    let [refuses, hangs] =
        [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
    let url = |listener: &TcpListener| -> io::Result<String> {
        Ok(format!("rsync://127.0.0.1:{}/nothing/", listener.local_addr()?.port()))
    };
    let others = [url(&refuses)?, url(&hangs)?];
    drop(refuses);
    let fixtures = [TargetsFixture::new(bench, number)?, TargetsFixture::new(bench, number)?];
    let [without, with] = &fixtures;
    let daemons = [without.start(bench, &[])?, with.start(bench, &others)?];
    daemons.iter().try_for_each(MeteredProcess::pause)?;
    let mut walls = [0.0; 2];
    for round in 0..ROUNDS {
        let mut pairs: Vec<_> = fixtures.iter().zip(&daemons).zip(&mut walls).collect();
        if round % 2 == 1 {
            pairs.reverse();
        }
        for ((fixture, daemon), wall) in pairs {
            daemon.resume()?;
            *wall += fixture.change(&format!("change{round}"))?;
            daemon.pause()?;
        }
    }
    let [without, with] = walls;
    Ok(Sample::from([(Metric::Wall, with), (Metric::Times, with / without)]))
}

/// Measures the memory of an idle daemon with this number of targets, in megabytes.
fn measure_idle_memory(bench: &BenchEnv, number: usize) -> io::Result<f64> {
    let fixture = TargetsFixture::new(bench, number)?;
    let mut running = fixture.start(bench, &[])?;
    running.wait_without_children()?;
    running.peak_memory()
}
