//! Many changes at once: the time until the target is equal, and the cost.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Instant, SystemTime},
};

use super::{BenchEnv, copy_all, rsync, timed, wait_for_arrival, wait_live};
use crate::{
    bench::{
        arrival::{ArrivalCheck, ExpectedChanges, verify},
        floor,
        metric::{Metric, Sample},
        process::MeteredProcess,
        scratch::{ScratchDir, ScratchPath},
        tool::{self, BenchMode, DaemonSpec, RSYNC_OPTIONS, Tool},
        workload::Workload,
    },
    build::find_program,
};

/// A burst of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BurstBench {
    pub(crate) workload: Workload,
    pub(crate) mode: BenchMode,
    pub(crate) floor: BurstFloor,
    pub(crate) targets: usize,
    /// True if the target is unavailable during the changes.
    pub(crate) unavailable: bool,
}

/// The lower bound of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BurstFloor {
    /// The same system calls on the target.
    SameCalls,
    /// One run of rsync over everything, for each target.
    Rsync,
    /// One run of rsync with a list of the changes.
    RsyncWithList,
}

/// The directories of one run.
struct BurstFixture {
    scratch: ScratchDir,
    source: ScratchPath,
    targets: Vec<ScratchPath>,
}

impl BurstBench {
    /// Measures one run.
    ///
    /// # Errors
    ///
    /// If a step fails, or the target is wrong in the end.
    pub(crate) fn measure(
        &self,
        bench: &BenchEnv,
        tool: Tool,
        delay: Option<u32>,
    ) -> io::Result<Sample> {
        let fixture = self.prepare(bench)?;
        let sample = if tool == Tool::Floor {
            self.measure_floor(&fixture)?
        } else {
            self.measure_daemon(bench, tool, delay, &fixture)?
        };
        for target in &fixture.targets {
            verify(fixture.source.path(), target.path())?;
        }
        Ok(sample)
    }

    fn prepare(&self, bench: &BenchEnv) -> io::Result<BurstFixture> {
        let scratch = ScratchDir::new(&bench.base)?;
        let source = scratch.create_dir("source")?;
        self.workload.prepare(source.path())?;
        let targets: Vec<ScratchPath> = (0..self.targets)
            .map(|number| scratch.create_dir(&format!("target{number}")))
            .collect::<io::Result<_>>()?;
        for target in &targets {
            copy_all(&source, target)?;
        }
        Ok(BurstFixture { scratch, source, targets })
    }

    fn measure_daemon(
        &self,
        bench: &BenchEnv,
        tool: Tool,
        delay: Option<u32>,
        fixture: &BurstFixture,
    ) -> io::Result<Sample> {
        let gate = if self.unavailable { Some(GatedRsync::new(&fixture.scratch)?) } else { None };
        let spec = DaemonSpec {
            mode: self.mode,
            source: &fixture.source,
            targets: &fixture.targets,
            delay,
            exclude: None,
            our_args: &[],
            programs: gate.as_ref().map(|gate| &gate.programs),
        };
        let mut running = tool::start(tool, &bench.ours, &spec, &fixture.scratch)?;
        wait_live(tool, &mut running, &fixture.source, &fixture.targets)?;

        let changes = self.workload.expected_changes();
        let before = running.usage()?;
        let mut sample = match &gate {
            None => self.run_open(fixture, &changes)?,
            Some(gate) => self.run_gated(gate, &mut running, fixture, &changes)?,
        };
        if matches!(tool, Tool::Original | Tool::Ours) {
            running.wait_without_children()?;
        }
        let used = running.usage()?;
        sample.insert(Metric::OwnCpu, used.own - before.own);
        sample.insert(Metric::AllCpu, used.own + used.children - before.own - before.children);
        sample.insert(Metric::Memory, running.peak_memory()?);
        sample.insert(Metric::Overflows, overflows(&running));
        Ok(sample)
    }

    /// Makes the changes and waits for them.
    fn run_open(&self, fixture: &BurstFixture, changes: &ExpectedChanges) -> io::Result<Sample> {
        let started = Instant::now();
        self.workload.change(fixture.source.path())?;
        Ok(Sample::from([(Metric::Wall, await_changes(started, fixture, changes)?)]))
    }

    /// Makes the changes while the target is unavailable. The time starts with the first call that
    /// succeeds; the wait until then is a separate metric.
    fn run_gated(
        &self,
        gate: &GatedRsync,
        running: &mut MeteredProcess,
        fixture: &BurstFixture,
        changes: &ExpectedChanges,
    ) -> io::Result<Sample> {
        gate.close()?;
        self.workload.change(fixture.source.path())?;
        running.wait_until("rsync was attempted in vain", |_| gate.attempted.path().exists())?;
        let reopened = SystemTime::now();
        gate.open()?;
        let wall = await_changes(Instant::now(), fixture, changes)?;
        let waited = fs::metadata(gate.passed.path())?.modified()?.duration_since(reopened);
        let waited = waited.unwrap_or_default().as_secs_f64();
        Ok(Sample::from([(Metric::Wall, wall - waited), (Metric::Waited, waited)]))
    }

    fn measure_floor(&self, fixture: &BurstFixture) -> io::Result<Sample> {
        let BurstFixture { scratch, source, targets } = fixture;
        let mut sample = timed(|| {
            if !self.unavailable {
                self.workload.change(source.path())?;
            }
            self.copy_once(source, targets)
        })?;
        if self.unavailable {
            self.workload.change(source.path())?;
            sample = timed(|| self.copy_once(source, targets))?;
        }
        if matches!(self.workload, Workload::Create(_)) {
            let other = scratch.create_dir("read")?;
            self.workload.prepare(other.path())?;
            let change = || self.workload.change(other.path());
            sample.insert(Metric::OwnCpu, floor::cost_of_reading(scratch, &other, change)?);
        }
        Ok(sample)
    }

    fn copy_once(&self, source: &ScratchPath, targets: &[ScratchPath]) -> io::Result<()> {
        match self.floor {
            BurstFloor::SameCalls => {
                targets.iter().try_for_each(|target| self.workload.change(target.path()))
            }
            BurstFloor::Rsync => all_at_once(targets.iter().map(|target| rsync(source, target))),
            BurstFloor::RsyncWithList => {
                targets.iter().try_for_each(|target| self.rsync_with_list(source, target))
            }
        }
    }

    fn rsync_with_list(&self, source: &ScratchPath, target: &ScratchPath) -> io::Result<()> {
        let [links, ..] = RSYNC_OPTIONS;
        let mut rsync = Command::new("rsync")
            .args([links, "--from0", "--files-from=-", "--delete-missing-args", "--force"])
            .args([source.with_slash(), target.with_slash()])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = rsync.stdin.take() {
            let mut list = BufWriter::new(&mut stdin);
            for path in self.workload.expected_changes().into_keys() {
                write!(list, "/{}\0", path.display())?;
            }
            list.flush()?;
        }
        let status = rsync.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("rsync: {status}"))) }
    }
}

fn await_changes(
    started: Instant,
    fixture: &BurstFixture,
    changes: &ExpectedChanges,
) -> io::Result<f64> {
    let mut checks: Vec<ArrivalCheck<'_>> =
        fixture.targets.iter().map(|target| ArrivalCheck::new(target.path(), changes)).collect();
    wait_for_arrival(started, || checks.iter_mut().all(ArrivalCheck::is_complete))
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
fn overflows(running: &MeteredProcess) -> f64 {
    let output = running.output();
    output.lines().filter(|line| line.to_ascii_lowercase().contains("overflow")).count() as f64
}

/// An `rsync` that fails as if the target were unavailable, as long as its gate is closed.
struct GatedRsync {
    programs: ScratchPath,
    closed: ScratchPath,
    attempted: ScratchPath,
    passed: ScratchPath,
}

impl GatedRsync {
    fn new(scratch: &ScratchDir) -> io::Result<Self> {
        let gate = Self {
            programs: scratch.create_dir("programs")?,
            closed: scratch.path("closed")?,
            attempted: scratch.path("attempted")?,
            passed: scratch.path("passed")?,
        };
        let real = find_program("rsync").ok_or_else(|| io::Error::other("no rsync"))?;
        let script = format!(
            "#!/bin/sh\n\
             if [ -e '{closed}' ]; then : > '{attempted}'; exit 12; fi\n\
             [ -e '{passed}' ] || : > '{passed}'\n\
             exec '{rsync}' \"$@\"\n",
            closed = gate.closed.path().display(),
            attempted = gate.attempted.path().display(),
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
        // Resets the mark of the startup, so that the next one is that of the first call after
        // reopening.
        fs::remove_file(self.passed.path())
    }

    fn open(&self) -> io::Result<()> {
        fs::remove_file(self.closed.path())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::run, *};

    #[test]
    fn rsync_fails_while_the_gate_is_closed() {
        if find_program("rsync").is_none() {
            println!("skipped: this needs rsync");
            return;
        }
        let scratch = ScratchDir::new(&std::env::temp_dir()).unwrap();
        let gate = GatedRsync::new(&scratch).unwrap();
        let rsync = || {
            let mut command = Command::new(gate.programs.path().join("rsync"));
            command.arg("--version").stdout(Stdio::null());
            run(command)
        };
        rsync().unwrap();
        gate.close().unwrap();
        assert!(rsync().is_err() && gate.attempted.path().exists());
        gate.open().unwrap();
        assert!(rsync().is_ok() && gate.passed.path().exists());
    }
}
