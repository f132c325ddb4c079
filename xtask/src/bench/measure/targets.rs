//! Many targets of one source: what dead ones cost the others, and what each costs in memory.

use std::{fs, io, net::TcpListener, process::Command, time::Instant};

use super::{Bench, wait_for_arrival};
use crate::bench::{
    figure::{Figure, Sample},
    place::{Arena, Place},
    running::Running,
    tool::Tool,
};

/// How many changes are made, one after the other.
const ROUNDS: usize = 5;

/// What is measured. Only our own daemon takes part; as the floor it has no dead targets.
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
    pub(crate) fn measure(self, bench: &Bench, tool: Tool) -> io::Result<Sample> {
        match self {
            Self::Dead(number) => dead(bench, number, tool == Tool::Ours),
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
}

fn dead(bench: &Bench, number: usize, with_dead: bool) -> io::Result<Sample> {
    let ground = Ground::new(bench, number)?;
    let [refuses, hangs] =
        [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
    let url = |listener: &TcpListener| -> io::Result<String> {
        Ok(format!("rsync://127.0.0.1:{}/nothing/", listener.local_addr()?.port()))
    };
    let others = if with_dead { vec![url(&refuses)?, url(&hangs)?] } else { Vec::new() };
    drop(refuses);
    let running = ground.start(bench, &others)?;
    let before = running.usage()?;
    let mut wall = 0.0;
    for round in 0..ROUNDS {
        let name = format!("change{round}");
        let started = Instant::now();
        fs::write(ground.source.path().join(&name), "new")?;
        let mut left: Vec<&Place> = ground.targets.iter().collect();
        wall += wait_for_arrival(started, || {
            left.retain(|target| !target.path().join(&name).exists());
            left.is_empty()
        })?;
    }
    let used = running.usage()?;
    Ok(Sample::from([
        (Figure::Wall, wall),
        (Figure::OwnCpu, used.own - before.own),
        (Figure::Memory, running.peak_memory()?),
    ]))
}

/// The memory of an idle daemon with so many targets, in megabytes.
fn idle(bench: &Bench, number: usize) -> io::Result<f64> {
    let ground = Ground::new(bench, number)?;
    let mut running = ground.start(bench, &[])?;
    running.wait_without_children()?;
    running.peak_memory()
}
