//! Many changes at once: how long until the target is equal, and at what cost.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Instant, SystemTime},
};

use super::{Bench, copy_all, rsync, timed, wait_for_arrival, wait_live};
use crate::bench::{
    expected::{Arrival, Changes, verify},
    figure::{Figure, Sample},
    floor,
    place::{Arena, Place},
    running::Running,
    scene::Scene,
    tool::{self, Mode, Order, RSYNC_OPTIONS, Tool},
};

/// A storm of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    /// What changes.
    pub(crate) scene: Scene,
    /// How it is carried.
    pub(crate) mode: Mode,
    /// What the floor is.
    pub(crate) floor: Floor,
    /// How many targets there are.
    pub(crate) targets: usize,
    /// Whether the target is away while the changes come.
    pub(crate) away: bool,
}

/// The least that could be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// The same calls on the target.
    SameCalls,
    /// One run of rsync over everything, for each target.
    Rsync,
    /// One run of rsync that is told what has changed.
    RsyncWithList,
}

/// The directories of one run.
struct Ground {
    arena: Arena,
    source: Place,
    targets: Vec<Place>,
}

impl Storm {
    /// Takes `tool` through the storm.
    ///
    /// # Errors
    ///
    /// When something cannot be done, or the target is wrong in the end.
    pub(crate) fn measure(
        &self,
        bench: &Bench,
        tool: Tool,
        delay: Option<u32>,
    ) -> io::Result<Sample> {
        let ground = self.prepare(bench)?;
        let sample = if tool == Tool::Floor {
            self.measure_floor(&ground)?
        } else {
            self.measure_daemon(bench, tool, delay, &ground)?
        };
        for target in &ground.targets {
            verify(ground.source.path(), target.path())?;
        }
        Ok(sample)
    }

    fn prepare(&self, bench: &Bench) -> io::Result<Ground> {
        let arena = Arena::new(&bench.base)?;
        let source = arena.directory("source")?;
        self.scene.prepare(source.path())?;
        let targets: Vec<Place> = (0..self.targets)
            .map(|number| arena.directory(&format!("target{number}")))
            .collect::<io::Result<_>>()?;
        for target in &targets {
            copy_all(&source, target)?;
        }
        Ok(Ground { arena, source, targets })
    }

    fn measure_daemon(
        &self,
        bench: &Bench,
        tool: Tool,
        delay: Option<u32>,
        ground: &Ground,
    ) -> io::Result<Sample> {
        let gate = if self.away { Some(Gate::new(&ground.arena)?) } else { None };
        let order = Order {
            mode: self.mode,
            source: &ground.source,
            targets: &ground.targets,
            delay,
            excluded: None,
            ours: &[],
            programs: gate.as_ref().map(|gate| &gate.programs),
        };
        let mut running = tool::start(tool, &bench.ours, &order, &ground.arena)?;
        wait_live(tool, &mut running, &ground.source, &ground.targets)?;

        let changes = self.scene.changes();
        let before = running.usage()?;
        let mut sample = match &gate {
            None => self.pass(ground, &changes)?,
            Some(gate) => self.pass_gate(gate, &mut running, ground, &changes)?,
        };
        if matches!(tool, Tool::Original | Tool::Ours) {
            running.wait_without_children()?;
        }
        let used = running.usage()?;
        sample.insert(Figure::OwnCpu, used.own - before.own);
        sample.insert(Figure::AllCpu, used.own + used.children - before.own - before.children);
        sample.insert(Figure::Memory, running.peak_memory()?);
        sample.insert(Figure::Overflows, overflows(&running));
        Ok(sample)
    }

    /// Makes the changes and waits for them.
    fn pass(&self, ground: &Ground, changes: &Changes) -> io::Result<Sample> {
        let started = Instant::now();
        self.scene.change(ground.source.path())?;
        Ok(Sample::from([(Figure::Wall, await_changes(started, ground, changes)?)]))
    }

    /// Makes the changes while the target is away. The clock starts with the first call that gets
    /// through; how long that took after the target was back is told beside it.
    fn pass_gate(
        &self,
        gate: &Gate,
        running: &mut Running,
        ground: &Ground,
        changes: &Changes,
    ) -> io::Result<Sample> {
        gate.close()?;
        self.scene.change(ground.source.path())?;
        running.wait_until("rsync was tried in vain", |_| gate.tried.path().exists())?;
        let back = SystemTime::now();
        gate.open()?;
        let wall = await_changes(Instant::now(), ground, changes)?;
        let waited = fs::metadata(gate.passed.path())?.modified()?.duration_since(back);
        let waited = waited.unwrap_or_default().as_secs_f64();
        Ok(Sample::from([(Figure::Wall, wall - waited), (Figure::Waited, waited)]))
    }

    fn measure_floor(&self, ground: &Ground) -> io::Result<Sample> {
        let Ground { arena, source, targets } = ground;
        let mut sample = timed(|| {
            if !self.away {
                self.scene.change(source.path())?;
            }
            self.copy_once(source, targets)
        })?;
        if self.away {
            self.scene.change(source.path())?;
            sample = timed(|| self.copy_once(source, targets))?;
        }
        if matches!(self.scene, Scene::Create(_)) {
            let other = arena.directory("read")?;
            self.scene.prepare(other.path())?;
            let change = || self.scene.change(other.path());
            sample.insert(Figure::OwnCpu, floor::cost_of_reading(arena, &other, change)?);
        }
        Ok(sample)
    }

    fn copy_once(&self, source: &Place, targets: &[Place]) -> io::Result<()> {
        match self.floor {
            Floor::SameCalls => {
                targets.iter().try_for_each(|target| self.scene.change(target.path()))
            }
            Floor::Rsync => all_at_once(targets.iter().map(|target| rsync(source, target))),
            Floor::RsyncWithList => {
                targets.iter().try_for_each(|target| self.rsync_with_list(source, target))
            }
        }
    }

    fn rsync_with_list(&self, source: &Place, target: &Place) -> io::Result<()> {
        let [links, ..] = RSYNC_OPTIONS;
        let mut rsync = Command::new("rsync")
            .args([links, "--from0", "--files-from=-", "--delete-missing-args", "--force"])
            .args([source.content(), target.content()])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = rsync.stdin.take() {
            let mut list = BufWriter::new(&mut stdin);
            for path in self.scene.changes().into_keys() {
                write!(list, "/{}\0", path.display())?;
            }
            list.flush()?;
        }
        let status = rsync.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("rsync: {status}"))) }
    }
}

fn await_changes(started: Instant, ground: &Ground, changes: &Changes) -> io::Result<f64> {
    let mut arrivals: Vec<Arrival<'_>> =
        ground.targets.iter().map(|target| Arrival::new(target.path(), changes)).collect();
    wait_for_arrival(started, || arrivals.iter_mut().all(Arrival::is_complete))
}

fn all_at_once(commands: impl Iterator<Item = Command>) -> io::Result<()> {
    let children: Vec<_> =
        commands.map(|mut command| command.spawn()).collect::<io::Result<_>>()?;
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("rsync: {status}")));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn overflows(running: &Running) -> f64 {
    let output = running.output();
    output.lines().filter(|line| line.to_ascii_lowercase().contains("overflow")).count() as f64
}

/// An `rsync` that fails as if the target were away, as long as its gate is closed.
struct Gate {
    programs: Place,
    closed: Place,
    tried: Place,
    passed: Place,
}

impl Gate {
    fn new(arena: &Arena) -> io::Result<Self> {
        let gate = Self {
            programs: arena.directory("programs")?,
            closed: arena.place("closed")?,
            tried: arena.place("tried")?,
            passed: arena.place("passed")?,
        };
        let real = tool::find("rsync").ok_or_else(|| io::Error::other("no rsync"))?;
        let script = format!(
            "#!/bin/sh\n\
             if [ -e '{closed}' ]; then : > '{tried}'; exit 12; fi\n\
             [ -e '{passed}' ] || : > '{passed}'\n\
             exec '{rsync}' \"$@\"\n",
            closed = gate.closed.path().display(),
            tried = gate.tried.path().display(),
            passed = gate.passed.path().display(),
            rsync = real.display(),
        );
        let program = gate.programs.path().join("rsync");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(gate)
    }

    fn close(&self) -> io::Result<()> {
        fs::write(self.closed.path(), "")?;
        // The startup has passed; what counts is the first call after the target is back.
        fs::remove_file(self.passed.path())
    }

    fn open(&self) -> io::Result<()> {
        fs::remove_file(self.closed.path())
    }
}

/// Shows that the gate does what it is for.
#[cfg(test)]
mod tests {
    use super::{super::run, *};

    #[test]
    fn a_closed_gate_fails_like_a_target_that_is_away() {
        if tool::find("rsync").is_none() {
            println!("skipped: this needs rsync");
            return;
        }
        let arena = Arena::new(&std::env::temp_dir()).unwrap();
        let gate = Gate::new(&arena).unwrap();
        let rsync = || {
            let mut command = Command::new(gate.programs.path().join("rsync"));
            command.arg("--version").stdout(Stdio::null());
            run(command)
        };
        rsync().unwrap();
        gate.close().unwrap();
        assert!(rsync().is_err() && gate.tried.path().exists());
        gate.open().unwrap();
        assert!(rsync().is_ok() && gate.passed.path().exists());
    }
}
