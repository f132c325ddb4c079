//! Many targets of one source: what dead ones cost the others, and what each costs in memory.

use std::{fs, io, net::TcpListener, process::Command, time::Instant};

use super::{Bench, wait_for_arrival};
use crate::bench::{
    figure::{Figure, Sample},
    place::{Arena, Place},
    running::Running,
};

/// How many changes are made, one after the other.
const ROUNDS: usize = 20;

/// What is measured. Only our own daemon takes part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Targets {
    /// Changes reach so many targets, beside one where nobody listens and one that says nothing.
    Dead(usize),
    /// The memory of each further target: from so many to so many, all idle.
    Memory(usize, usize),
}

impl Targets {
    /// Takes our daemon through it.
    ///
    /// # Errors
    ///
    /// When a change does not arrive.
    pub(crate) fn measure(self, bench: &Bench) -> io::Result<Sample> {
        match self {
            Self::Dead(number) => dead(bench, number),
            Self::Memory(few, many) => {
                let used = |number| Ok::<_, io::Error>(idle(bench, number)? * 1024.0);
                let more = used(many)? - used(few)?;
                #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
                let each = more / (many - few) as f64;
                Ok(Sample::from([(Figure::PerTarget, each)]))
            }
        }
    }
}

/// Our daemon, with so many targets.
struct Ground {
    arena: Arena,
    source: Place,
    targets: Vec<Place>,
}

impl Ground {
    fn new(bench: &Bench, number: usize) -> io::Result<Self> {
        let arena = Arena::new(&bench.base)?;
        let source = arena.directory("source")?;
        let targets = (0..number).map(|number| arena.directory(&format!("target{number}")));
        let targets = targets.collect::<io::Result<_>>()?;
        Ok(Self { arena, source, targets })
    }

    /// Starts it, and waits until it carries changes to all but the `others`.
    fn start(&self, bench: &Bench, others: &[String]) -> io::Result<Running> {
        let mut command = Command::new(&bench.ours);
        command.args(["-nodaemon", "-insist", "-delay", "0"]);
        for target in &self.targets {
            command.arg("-rsync").args([self.source.path(), target.path()]);
        }
        for target in others {
            command.arg("-rsync").arg(self.source.path()).arg(target);
        }
        let mut running = Running::start(&command, &self.arena.place("output")?)?;
        running.wait_until("all syncs are live", |running| {
            let finished = |line: &&str| line.contains("Startup of") && line.contains("finished");
            running.output().lines().filter(finished).count() >= self.targets.len()
        })?;
        Ok(running)
    }

    /// Writes a new file, and tells after how many seconds it is on all targets.
    fn change(&self, name: &str) -> io::Result<f64> {
        let started = Instant::now();
        fs::write(self.source.path().join(name), "new")?;
        let mut left: Vec<&Place> = self.targets.iter().collect();
        wait_for_arrival(started, || {
            left.retain(|target| !target.path().join(name).exists());
            left.is_empty()
        })
    }
}

/// How many times as long a change takes to all targets beside a dead and a hanging one as without
/// these. Two daemons have the same changes in turn, and stand still in between, so that a machine
/// that is busy for a while is so for both, and what one does of itself costs the other nothing.
fn dead(bench: &Bench, number: usize) -> io::Result<Sample> {
    let [refuses, hangs] =
        [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
    let url = |listener: &TcpListener| -> io::Result<String> {
        Ok(format!("rsync://127.0.0.1:{}/nothing/", listener.local_addr()?.port()))
    };
    let others = [url(&refuses)?, url(&hangs)?];
    drop(refuses);
    let grounds = [Ground::new(bench, number)?, Ground::new(bench, number)?];
    let [without, with] = &grounds;
    let daemons = [without.start(bench, &[])?, with.start(bench, &others)?];
    daemons.iter().try_for_each(Running::pause)?;
    let mut walls = [0.0; 2];
    for round in 0..ROUNDS {
        let mut pairs: Vec<_> = grounds.iter().zip(&daemons).zip(&mut walls).collect();
        if round % 2 == 1 {
            pairs.reverse();
        }
        for ((ground, daemon), wall) in pairs {
            daemon.resume()?;
            *wall += ground.change(&format!("change{round}"))?;
            daemon.pause()?;
        }
    }
    let [without, with] = walls;
    Ok(Sample::from([(Figure::Wall, with), (Figure::Times, with / without)]))
}

/// The memory of an idle daemon with so many targets, in megabytes.
fn idle(bench: &Bench, number: usize) -> io::Result<f64> {
    let ground = Ground::new(bench, number)?;
    let mut running = ground.start(bench, &[])?;
    running.wait_without_children()?;
    running.peak_memory()
}
