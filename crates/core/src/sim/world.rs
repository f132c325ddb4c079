//! A simulated fleet with sources, targets, lossy sources of events, workers, and a clock that the
//! scenario advances.

mod checks;

use alloc::{
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{mem, time::Duration};

use crate::{
    effect::Effect,
    fleet::{Fleet, FleetLimits, Replacement},
    flush::{FlushPath, FlushRequest},
    fs_event::{FsEvent, FsEventKind, MirrorId, RootGone},
    input::{Input, Signal, TargetLink},
    job::{DirtyPath, Failure, Job, JobEnd, JobId, Outcome, Work},
    mirror::{Insist, Mirror, MirrorSettings, SyncMember},
    path::TreePath,
    queue::{Debounce, PathSet},
    sim::{
        CheckResult,
        change::TreeChange,
        flush::SimFlushes,
        late_files::LateFiles,
        lossy_source::{Loss, LossySource},
        random::SimRng,
        scenario::{Scenario, ScenarioStep},
        tree::SimTree,
        wake_until,
        worker::{JobFault, SimWorker, TreePair, steps},
    },
    time::Moment,
};

/// Number of disks.
const DISKS: usize = 3;

/// The simulated world.
pub(crate) struct FleetWorld {
    now: Moment,
    fleet: Fleet,
    /// The source, and other disks that may be mounted in its place.
    disks: [SimTree; DISKS],
    /// The disk that is mounted.
    mounted: Option<usize>,
    /// The disk that is accepted as the source.
    accepted: usize,
    /// Number of times that the directory was exchanged: a job of an older generation finds out
    /// when it ends.
    generation: usize,
    /// True if the targets are reachable.
    targets_up: bool,
    sims: Vec<SimMirror>,
    /// Maximum number of concurrent jobs of each mirror.
    jobs_per_mirror: usize,
    /// Faults of the next jobs.
    faults: Vec<JobFault>,
    flushes: SimFlushes,
}

/// State of one mirror and of its predecessors.
struct SimMirror {
    mirror: MirrorId,
    target: SimTree,
    lossy_source: LossySource,
    /// True if the source was reported to the fleet as covered, and not uncovered since.
    is_covered: bool,
    /// True if the lossy source receives events.
    is_watched: bool,
    jobs: Vec<SimJob>,
    late: LateFiles,
}

/// A running job.
struct SimJob {
    id: JobId,
    /// The generation in which it started.
    generation: usize,
    mirror: MirrorId,
    work: Work,
    worker: SimWorker,
}

/// Plays a scenario to its end, then runs until everything is quiet. Returns the number of
/// successful flushes.
///
/// # Errors
///
/// If an invariant was violated, or a target does not equal its source in the end.
pub(crate) fn play(scenario: &Scenario, loss: Loss) -> Result<usize, String> {
    let mut world = FleetWorld::new(scenario, loss);
    let mut effects = Vec::new();
    world.fleet.begin(&mut effects);
    world.perform(effects)?;
    for step in &scenario.steps {
        world.step(step).map_err(|why| format!("{step}: {why}"))?;
        world.flushes.note(&world.disks[world.accepted]);
        world.check_sync_claims().map_err(|why| format!("{step}: {why}"))?;
    }
    world.end()?;
    Ok(world.flushes.complete)
}

/// Returns settings with which no failure stops a mirror.
fn settings(init: bool, max_jobs: usize) -> MirrorSettings {
    let (pace, filter, connection) = (Debounce::default(), Arc::default(), None);
    let open_wait = crate::queue::OpenWait::default();
    MirrorSettings {
        host: crate::mirror::TargetHost::Remote,
        debounce: pace,
        open_wait,
        delete: crate::plan::options::DeletePolicy::Always,
        init,
        has_snapshots: false,
        insist: Insist::Always,
        filter,
        target_link: TargetLink::Up,
        max_jobs,
        connection,
    }
}

impl FleetWorld {
    fn new(scenario: &Scenario, loss: Loss) -> Self {
        // Initially the targets are as empty as the source.
        let settings = settings(scenario.init, scenario.jobs_per_mirror);
        let limits = FleetLimits { max_jobs: scenario.max_jobs, onepass: false };
        let fleet = Fleet::new(vec![settings; scenario.mirrors], limits);
        let sim = |mirror: &Mirror| SimMirror {
            mirror: mirror.id(),
            target: SimTree::new(),
            lossy_source: LossySource::new(loss),
            is_covered: false,
            is_watched: false,
            jobs: Vec::new(),
            late: LateFiles::default(),
        };
        Self {
            now: Moment::ORIGIN,
            sims: fleet.mirrors().map(sim).collect(),
            fleet,
            disks: core::array::from_fn(|_| SimTree::new()),
            mounted: Some(0),
            accepted: 0,
            generation: 0,
            targets_up: true,
            jobs_per_mirror: scenario.jobs_per_mirror,
            faults: Vec::new(),
            flushes: SimFlushes::default(),
        }
    }

    fn step(&mut self, step: &ScenarioStep) -> CheckResult {
        match step {
            ScenarioStep::Change(change) => {
                // Another disk is not watched.
                let Some(mounted) = self.mounted else { return Ok(()) };
                let events = change.apply(&mut self.disks[mounted]);
                for sim in self.sims.iter_mut().filter(|sim| sim.is_watched) {
                    sim.lossy_source.record(events.iter().cloned());
                }
            }
            ScenarioStep::Deliver(seed) => return self.deliver(&mut SimRng::new(*seed)),
            ScenarioStep::Wait(wait) => return self.wait(*wait),
            ScenarioStep::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            ScenarioStep::Fault(fault) => self.faults.push(*fault),
            ScenarioStep::Unmount => self.mount(None, RootGone::Unmounted),
            ScenarioStep::Mount => self.mount(Some(self.accepted), RootGone::Replaced),
            ScenarioStep::Disk(number) => self.mount(Some(*number), RootGone::Unmounted),
            ScenarioStep::Exchange(seed) => self.exchange(&mut SimRng::new(*seed)),
            ScenarioStep::Accept => self.accepted = self.mounted.unwrap_or(self.accepted),
            ScenarioStep::TargetLink(open) => return self.set_target_link(*open),
            ScenarioStep::Hangup => return self.handle(Input::Signal(Signal::Hangup)),
            ScenarioStep::Full => {
                for at in 0..self.sims.len() {
                    self.handle(Input::FullDue(self.sims[at].mirror))?;
                }
            }
            ScenarioStep::Replace(seed) => return self.replace(&mut SimRng::new(*seed)),
            ScenarioStep::Flush(path, wait) => return self.flush(path, *wait),
            ScenarioStep::Pause(is_paused) => return self.set_paused(*is_paused),
        }
        Ok(())
    }

    fn flush(&mut self, path: &TreePath, wait: Duration) -> CheckResult {
        self.deliver(&mut SimRng::new(1))?;
        let until = (!wait.is_zero()).then(|| self.now + wait);
        for at in 0..self.sims.len() {
            let (mirror, path) = (self.sims[at].mirror, path.clone());
            let id = self.flushes.begin(mirror, path.clone(), &self.disks[self.accepted]);
            let paths = vec![FlushPath { mirror, path }];
            self.handle(Input::Flush(FlushRequest { id, paths, until }))?;
        }
        Ok(())
    }

    fn set_paused(&mut self, is_paused: bool) -> CheckResult {
        (0..self.sims.len())
            .try_for_each(|at| self.handle(Input::SetPaused(self.sims[at].mirror, is_paused)))
    }

    /// Replaces some of the mirrors, and rotates their order.
    fn replace(&mut self, random: &mut SimRng) -> CheckResult {
        let all: Vec<_> = self.fleet.mirrors().map(Mirror::id).collect();
        let mut entrants = Vec::new();
        let mut sims: Vec<_> = all.iter().map(|&it| self.index_of(it)).collect();
        sims.rotate_left(random.below(all.len()));
        for &at in &sims {
            let sim = &mut self.sims[at];
            if random.once_in(2) {
                entrants.push(Replacement::Keep(sim.mirror));
                continue;
            }
            // A replacement has to wait for all its predecessors on the target.
            let after = sim.jobs.iter().map(|it| it.mirror).chain([sim.mirror]).collect();
            entrants.push(Replacement::Add {
                spec: settings(true, self.jobs_per_mirror).into(),
                after,
                predecessor: None,
            });
            sim.is_covered = false;
            sim.is_watched = false;
            sim.lossy_source.clear();
            sim.late.clear();
        }
        let mut effects = Vec::new();
        let ids = self.fleet.replace(entrants, self.now, &mut effects);
        for (at, id) in sims.into_iter().zip(ids) {
            self.sims[at].mirror = id;
            self.fleet.handle(Input::TargetLink(id, self.target_link()), self.now, &mut effects);
        }
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    fn index_of(&self, mirror: MirrorId) -> usize {
        self.sims.iter().position(|sim| sim.mirror == mirror).unwrap()
    }

    fn set_target_link(&mut self, open: bool) -> CheckResult {
        self.targets_up = open;
        for at in 0..self.sims.len() {
            self.handle(Input::TargetLink(self.sims[at].mirror, self.target_link()))?;
        }
        Ok(())
    }

    fn target_link(&self) -> TargetLink {
        if self.targets_up { TargetLink::Up } else { TargetLink::Down }
    }

    /// Mounts a disk, or none, in place of the source.
    fn mount(&mut self, disk: Option<usize>, how: RootGone) {
        if self.mounted != disk {
            self.mounted = disk;
            self.lose_watches(how);
        }
    }

    /// Replaces the mounted directory by another one on the same disk.
    fn exchange(&mut self, random: &mut SimRng) {
        let Some(disk) = self.mounted else { return };
        for _ in 0..random.below(6) {
            TreeChange::random(&self.disks[disk], random).apply(&mut self.disks[disk]);
        }
        self.lose_watches(RootGone::Replaced);
    }

    fn lose_watches(&mut self, how: RootGone) {
        self.generation += 1;
        for sim in &mut self.sims {
            if mem::take(&mut sim.is_watched) {
                sim.lossy_source.record([FsEventKind::RootGone(how)]);
            }
        }
    }

    /// Returns the tree of the accepted source.
    fn source(&self) -> &SimTree {
        &self.disks[self.accepted]
    }

    fn deliver(&mut self, random: &mut SimRng) -> CheckResult {
        for at in 0..self.sims.len() {
            let mirror = self.sims[at].mirror;
            for event in self.sims[at].lossy_source.drain(random) {
                self.handle(Input::FsEvent(FsEvent { mirror, kind: event }))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, wait: Duration) -> CheckResult {
        let end = self.now + wait;
        wake_until(self, end, Self::next_wakeup, Self::wake_up)?;
        self.now = end;
        Ok(())
    }

    fn next_wakeup(&self) -> Option<Moment> {
        let late = self.sims.iter().filter_map(|sim| sim.late.due());
        self.fleet.next_wakeup().into_iter().chain(late).min()
    }

    fn wake_up(&mut self, at: Moment) -> CheckResult {
        self.now = self.now.max(at);
        for sim in &mut self.sims {
            sim.late.rename(&mut sim.target, self.now);
        }
        let mut effects = Vec::new();
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    /// Executes one step of each job.
    fn work(&mut self) -> CheckResult {
        for at in 0..self.sims.len() {
            let ids: Vec<_> = self.sims[at].jobs.iter().map(|it| it.id).collect();
            for job in ids {
                if let Some(outcome) = self.work_on(at, job)? {
                    self.handle(Input::JobEnded(JobEnd::new(job, outcome)))?;
                }
            }
        }
        Ok(())
    }

    fn work_on(&mut self, sim: usize, job: JobId) -> Result<Option<Outcome>, String> {
        let Self { now, disks, mounted, accepted, generation, sims, .. } = self;
        let SimMirror { mirror, target, jobs, late, .. } = &mut sims[sim];
        let Some(at) = jobs.iter().position(|it| it.id == job) else { return Ok(None) };
        let source = mounted.filter(|it| it == accepted).map(|disk| &disks[disk]);
        let outcome = jobs[at].worker.step(&mut TreePair { source, target })?;
        if let Some(outcome) = &outcome {
            late.job_ended(job, outcome, *now);
            // A mirror without a predecessor knows nothing of earlier jobs.
            let file = jobs[at].worker.late_file(source).filter(|_| jobs[at].mirror == *mirror);
            if let Some(file) = file {
                late.add(file);
            }
        }
        if outcome.is_some() && jobs.remove(at).generation != *generation {
            return Ok(Some(Outcome::SourceGone(Failure::new("it was replaced meanwhile"))));
        }
        Ok(outcome)
    }

    fn handle(&mut self, input: Input) -> CheckResult {
        let mut effects = Vec::new();
        self.fleet.handle(input, self.now, &mut effects);
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> CheckResult {
        for effect in effects {
            match effect {
                Effect::Cover(mirror) => self.cover(mirror)?,
                Effect::Uncover(mirror) => {
                    for sim in self.sims.iter_mut().filter(|sim| sim.mirror == mirror) {
                        sim.is_covered = false;
                        sim.is_watched = false;
                    }
                }
                Effect::Start(job) => self.start(&job)?,
                Effect::Stop(job) => self.stop(job),
                Effect::Forget(mirror) => {
                    let mut jobs = self.sims.iter().flat_map(|sim| &sim.jobs);
                    if jobs.any(|job| job.mirror == mirror) {
                        return Err(format!("mirror {} was dismissed too soon", mirror.0));
                    }
                }
                Effect::CallScript(..) | Effect::ListDirectory { .. } | Effect::Compare(_) => {
                    return Err("there is neither a script nor a snapshot here".into());
                }
                Effect::Flushed(end) => {
                    let mirror = self.flushes.mirror(end.id).ok_or("an answer without a flush")?;
                    // It may have been replaced.
                    let sim = self.sims.iter().find(|sim| sim.mirror == mirror);
                    self.flushes.end(&end, |flush| match sim {
                        None => Err("its mirror is gone".into()),
                        Some(sim) if sim.late.is_outdated() => Ok(()),
                        Some(sim) => flush.check(&sim.target),
                    })?;
                }
                Effect::Report(_) => {}
                Effect::Exit(code) => return Err(format!("the daemon ended with {code}")),
            }
        }
        Ok(())
    }

    fn sim(&mut self, mirror: MirrorId) -> &mut SimMirror {
        let at = self.index_of(mirror);
        &mut self.sims[at]
    }

    fn cover(&mut self, mirror: MirrorId) -> CheckResult {
        let is_right = self.mounted == Some(self.accepted);
        let sim = self.sim(mirror);
        sim.is_covered = is_right;
        sim.is_watched = is_right;
        self.handle(if is_right {
            Input::Covered(mirror)
        } else {
            Input::CannotCover { mirror, reason: "another one stands there, or none".to_string() }
        })
    }

    fn start(&mut self, job: &Job) -> CheckResult {
        if !self.targets_up {
            return Err(format!("job {} began without a way to its target", job.id.0));
        }
        let fault = if self.faults.is_empty() { JobFault::None } else { self.faults.remove(0) };
        let (jobs_per_mirror, generation) = (self.jobs_per_mirror, self.generation);
        let is_paused = self.fleet.mirrors().any(|it| it.id() == job.mirror && it.is_paused());
        let sim = self.sim(job.mirror);
        if is_paused {
            return Err(format!("job {} began although it is paused", job.id.0));
        }
        if !sim.is_covered {
            return Err(format!("job {} began without a source", job.id.0));
        }
        if let Some(other) = sim.jobs.iter().find(|it| may_meet(it, job)) {
            return Err(format!("job {} began where job {} works", job.id.0, other.id.0));
        }
        if sim.jobs.len() >= jobs_per_mirror {
            return Err(format!("job {} is one too many", job.id.0));
        }
        let (work, worker) =
            (job.work.clone(), SimWorker::new(&job.work, fault, jobs_per_mirror > 1));
        sim.jobs.push(SimJob { id: job.id, generation, mirror: job.mirror, work, worker });
        Ok(())
    }

    fn stop(&mut self, stopped: JobId) {
        for job in self.sims.iter_mut().flat_map(|sim| &mut sim.jobs) {
            if job.id == stopped {
                job.worker.stop();
            }
        }
    }

    /// Runs until nothing is left to do. Then the targets must equal the source.
    fn end(&mut self) -> CheckResult {
        self.faults.clear();
        self.mount(Some(self.accepted), RootGone::Replaced);
        self.set_target_link(true)?;
        self.set_paused(false)?;
        self.deliver(&mut SimRng::new(0))?;
        for _ in 0..1_000 {
            while self.sims.iter().any(|sim| !sim.jobs.is_empty()) {
                self.work()?;
            }
            self.check_sync_claims()?;
            let Some(at) = self.next_wakeup() else {
                return self.check_quiet();
            };
            self.wake_up(at)?;
        }
        Err("it never comes to rest".into())
    }
}

/// Returns true if two jobs could work on overlapping paths.
fn may_meet(running: &SimJob, job: &Job) -> bool {
    let paths: PathSet = steps(&job.work).1.iter().collect();
    let meets = |other: &DirtyPath| paths.overlaps(&other.path, other.scope);
    running.mirror != job.mirror || steps(&running.work).1.iter().any(meets)
}
