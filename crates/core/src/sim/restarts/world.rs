//! A simulated daemon that is stopped, killed and started again.

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
    fleet::{Fleet, FleetLimits},
    fs_event::{FsEvent, FsEventKind, MirrorId, RootGone},
    guard::MaxDelete,
    input::{Input, Signal, TargetLink},
    job::{DirtyPath, Job, JobEnd, JobId},
    mirror::{Insist, Mirror, MirrorSettings, SyncMember},
    path::TreePath,
    queue::{Debounce, OpenWait},
    sim::{
        CheckResult,
        change::TreeChange,
        guarded::copier::{SimBudgets, SimCopier, SimGuard, visible_part},
        lossy_source::{Loss, LossySource},
        random::SimRng,
        restarts::{
            disk::SourceDisk,
            scenario::{RestartScenario, RestartStep},
            snapshots::{Omission, SimPhase, SimSnapshot, SimSnapshots, WalkEnd},
        },
        scenario::ScenarioStep,
        tree::{SimNode, SimTree},
        wake_until,
        worker::JobFault,
    },
    snapshot::SourceComparison,
    time::Moment,
};

/// The world of a scenario.
struct RestartWorld {
    now: Moment,
    loss: Loss,
    jobs: usize,
    omission: Omission,
    disk: SourceDisk,
    is_mounted: bool,
    targets_up: bool,
    targets: Vec<SimTarget>,
    stored: Option<SimSnapshot>,
    daemon: Option<SimDaemon>,
    faults: Vec<JobFault>,
    counts: RestartCounts,
}

/// Numbers of comparisons of a target, to show that the scenarios are not trivial.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RestartCounts {
    /// Those with all differences.
    pub(super) reduced: usize,
    /// Those with the result that everything has to be transferred.
    pub(super) full: usize,
}

struct SimTarget {
    tree: SimTree,
    guard: SimGuard,
    /// True if it was once transferred as a whole when it was not empty: then files of equal size
    /// and time may differ.
    is_compared_by_time: bool,
}

/// A running daemon.
struct SimDaemon {
    fleet: Fleet,
    links: Vec<SimLink>,
    snapshots: SimSnapshots,
    /// Mirrors that wait for a comparison.
    waiting: Vec<usize>,
}

/// State of one mirror.
struct SimLink {
    /// Events that happened before the barrier.
    before: LossySource,
    events: LossySource,
    is_watched: bool,
    jobs: Vec<SimRunning>,
}

struct SimRunning {
    id: JobId,
    copier: SimCopier,
}

/// Plays a scenario to its end.
///
/// # Errors
///
/// If an invariant was violated, or a target does not equal its source in the end.
pub(super) fn play(
    scenario: &RestartScenario,
    omission: Omission,
) -> Result<RestartCounts, String> {
    let mut world = RestartWorld::new(scenario, omission);
    world.start()?;
    for step in &scenario.steps {
        world.step(step).map_err(|why| format!("{step}: {why}"))?;
        world.check_sync_claims().map_err(|why| format!("{step}: {why}"))?;
    }
    world.faults.clear();
    world.is_mounted = true;
    world.targets_up = true;
    world.end()?;
    // A restart of a complete target changes nothing, whether the daemon was killed before or not.
    world.take_snapshot()?;
    world.daemon = None;
    world.end().map_err(|why| format!("after a last kill: {why}"))?;
    world.stop(0)?;
    world.end().map_err(|why| format!("after a last stop: {why}"))?;
    Ok(world.counts)
}

impl RestartWorld {
    fn new(scenario: &RestartScenario, omission: Omission) -> Self {
        let budgets =
            if scenario.holds { SimBudgets::OBSERVED_ONLY } else { SimBudgets::UNLIMITED };
        let target = |_| SimTarget {
            tree: SimTree::new(),
            guard: SimGuard::new(budgets),
            is_compared_by_time: scenario.loss != Loss::Never,
        };
        Self {
            now: Moment::ORIGIN,
            loss: scenario.loss,
            jobs: scenario.jobs,
            omission,
            disk: SourceDisk::new(scenario.clock),
            is_mounted: true,
            targets_up: true,
            targets: (0..scenario.mirrors).map(target).collect(),
            stored: None,
            daemon: None,
            faults: vec![],
            counts: RestartCounts::default(),
        }
    }

    fn step(&mut self, step: &RestartStep) -> CheckResult {
        match step {
            RestartStep::Other(step) => return self.other_step(step),
            RestartStep::Start => return self.start(),
            RestartStep::Kill => self.daemon = None,
            RestartStep::Stop(seed) => return self.stop(*seed),
            RestartStep::Begin => {
                let Some(daemon) = self.daemon.as_mut().filter(|_| self.is_mounted) else {
                    return Ok(());
                };
                daemon.snapshots.begin(&mut daemon.fleet, self.stored.as_ref());
                self.start_barrier();
            }
            RestartStep::Read(seed) => return self.read(&mut SimRng::new(*seed)),
            RestartStep::Barrier => return self.pass_barrier(),
            RestartStep::Commit => self.commit(),
            RestartStep::Fail => self.fail(),
        }
        Ok(())
    }

    fn other_step(&mut self, step: &ScenarioStep) -> CheckResult {
        match step {
            ScenarioStep::Change(change) if self.is_mounted => self.change(change),
            ScenarioStep::Deliver(seed) => return self.deliver(&mut SimRng::new(*seed)),
            ScenarioStep::Wait(wait) => return self.wait(*wait),
            ScenarioStep::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            ScenarioStep::Fault(fault) => self.faults.push(*fault),
            ScenarioStep::Unmount => self.unmount(),
            ScenarioStep::Mount => self.is_mounted = true,
            ScenarioStep::TargetLink(open) => {
                self.targets_up = *open;
                let link = self.target_link();
                return self.handle_all(|mirror| Input::TargetLink(mirror, link));
            }
            ScenarioStep::Hangup => return self.handle(Input::Signal(Signal::Hangup)),
            ScenarioStep::Full => return self.handle_all(Input::FullDue),
            ScenarioStep::Pause(is_paused) => {
                return self.handle_all(|mirror| Input::SetPaused(mirror, *is_paused));
            }
            ScenarioStep::Change(_)
            | ScenarioStep::Disk(_)
            | ScenarioStep::Exchange(_)
            | ScenarioStep::Accept
            | ScenarioStep::Replace(_)
            | ScenarioStep::Flush(..) => {}
        }
        Ok(())
    }

    fn change(&mut self, change: &TreeChange) {
        let events = self.disk.apply(change, self.now);
        let links = self.daemon.iter_mut().flat_map(|daemon| &mut daemon.links);
        for link in links.filter(|link| link.is_watched) {
            link.events.record(events.iter().cloned());
        }
    }

    fn unmount(&mut self) {
        self.is_mounted = false;
        self.fail();
        for link in self.daemon.iter_mut().flat_map(|daemon| &mut daemon.links) {
            if mem::take(&mut link.is_watched) {
                link.events.record([FsEventKind::RootGone(RootGone::Unmounted)]);
            }
        }
    }

    fn target_link(&self) -> TargetLink {
        if self.targets_up { TargetLink::Up } else { TargetLink::Down }
    }

    fn start(&mut self) -> CheckResult {
        if self.daemon.is_some() {
            return Ok(());
        }
        let settings = settings(self.jobs, self.target_link());
        let fleet = Fleet::new(vec![settings; self.targets.len()], FleetLimits::default());
        let link = |_| SimLink {
            before: LossySource::new(self.loss),
            events: LossySource::new(self.loss),
            is_watched: false,
            jobs: vec![],
        };
        let links = (0..self.targets.len()).map(link).collect();
        let snapshots = SimSnapshots::new(self.omission);
        let daemon = self.daemon.insert(SimDaemon { fleet, links, snapshots, waiting: vec![] });
        let mut effects = vec![];
        daemon.fleet.begin(&mut effects);
        self.perform(effects)
    }

    /// Stops the daemon, which writes a last snapshot.
    fn stop(&mut self, seed: u64) -> CheckResult {
        let mut random = SimRng::new(seed);
        if let Some(daemon) = self.daemon.as_mut().filter(|_| self.is_mounted) {
            let last = daemon.snapshots.read_last(&mut daemon.fleet, self.stored.as_ref());
            if let Some(mut walk) = last {
                self.change_meanwhile(seed, &mut random);
                while !walk.step(&self.disk, self.now, &mut random) {
                    self.change_meanwhile(seed, &mut random);
                }
                self.start_barrier_now();
                self.change_meanwhile(seed, &mut random);
                if self.omission != Omission::Barrier {
                    self.deliver_before_barrier(&mut random)?;
                }
                let Self { daemon, stored, .. } = self;
                if let Some(daemon) = daemon {
                    daemon.snapshots.write_last(walk.records, &mut daemon.fleet, stored);
                }
            }
        }
        self.daemon = None;
        Ok(())
    }

    fn change_meanwhile(&mut self, seed: u64, random: &mut SimRng) {
        if seed > 0 && random.once_in(4) {
            let change = TreeChange::random(self.disk.tree(), random);
            self.change(&change);
        }
    }

    fn fail(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        match daemon.snapshots.phase {
            SimPhase::Reading(_) | SimPhase::AtBarrier(_) | SimPhase::Writing(_) => {
                daemon.snapshots.fail();
            }
            SimPhase::Idle | SimPhase::Comparing(_) => {}
        }
    }

    fn read(&mut self, random: &mut SimRng) -> CheckResult {
        let Some(daemon) = self.daemon.as_mut().filter(|_| self.is_mounted) else {
            return Ok(());
        };
        if !daemon.waiting.is_empty() && !daemon.snapshots.is_compared {
            daemon.snapshots.start_comparison(self.stored.as_ref());
        }
        match daemon.snapshots.walk(&self.disk, self.now, random) {
            WalkEnd::None => {}
            WalkEnd::Compared(walk) => {
                let targets = daemon.links.len();
                let snapshots = &mut daemon.snapshots;
                let answers = snapshots.end_comparison(walk, self.stored.as_ref(), targets);
                for at in mem::take(&mut daemon.waiting) {
                    self.answer(at, answers[at].clone())?;
                }
            }
            WalkEnd::Read(walk) => {
                daemon.snapshots.end_reading(walk);
                self.start_barrier_now();
            }
        }
        Ok(())
    }

    fn answer(&mut self, at: usize, comparison: SourceComparison) -> CheckResult {
        match comparison {
            SourceComparison::Differences(_) => self.counts.reduced += 1,
            SourceComparison::Unknown { .. } => {
                self.counts.full += 1;
                let SimTarget { tree, is_compared_by_time, .. } = &mut self.targets[at];
                *is_compared_by_time |= *tree != SimTree::new();
            }
        }
        self.handle(Input::Compared(mirror_id(at), comparison))
    }

    /// Takes a snapshot without an interruption.
    fn take_snapshot(&mut self) -> CheckResult {
        let read = (0..100).map(RestartStep::Read);
        let end = [RestartStep::Barrier, RestartStep::Commit];
        [RestartStep::Begin].into_iter().chain(read).chain(end).try_for_each(|it| self.step(&it))
    }

    /// Starts the barrier if the records are there already.
    fn start_barrier(&mut self) {
        let daemon = self.daemon.as_ref();
        if daemon.is_some_and(|it| matches!(it.snapshots.phase, SimPhase::AtBarrier(_))) {
            self.start_barrier_now();
        }
    }

    fn start_barrier_now(&mut self) {
        for link in self.daemon.iter_mut().flat_map(|daemon| &mut daemon.links) {
            link.before.append(&mut link.events);
        }
    }

    fn pass_barrier(&mut self) -> CheckResult {
        let phase = self.daemon.as_ref().map(|daemon| &daemon.snapshots.phase);
        if !matches!(phase, Some(SimPhase::AtBarrier(_))) {
            return Ok(());
        }
        if self.omission != Omission::Barrier {
            self.deliver_before_barrier(&mut SimRng::new(1))?;
        }
        let Some(SimDaemon { snapshots, fleet, .. }) = &mut self.daemon else { return Ok(()) };
        if let SimPhase::AtBarrier(records) = mem::replace(&mut snapshots.phase, SimPhase::Idle) {
            snapshots.write(records, fleet);
        }
        Ok(())
    }

    fn commit(&mut self) {
        let Some(SimDaemon { snapshots, .. }) = &mut self.daemon else { return };
        if let SimPhase::Writing(_) = snapshots.phase
            && let SimPhase::Writing(new) = mem::replace(&mut snapshots.phase, SimPhase::Idle)
        {
            snapshots.commit(new, &mut self.stored);
        }
    }

    fn deliver_before_barrier(&mut self, random: &mut SimRng) -> CheckResult {
        self.drain(random, |link| &mut link.before)
    }

    fn deliver(&mut self, random: &mut SimRng) -> CheckResult {
        self.deliver_before_barrier(random)?;
        self.drain(random, |link| &mut link.events)
    }

    fn drain(
        &mut self,
        random: &mut SimRng,
        source: fn(&mut SimLink) -> &mut LossySource,
    ) -> CheckResult {
        for at in 0..self.targets.len() {
            let Some(daemon) = &mut self.daemon else { return Ok(()) };
            for kind in source(&mut daemon.links[at]).drain(random) {
                if let FsEventKind::RootGone(_) = kind {
                    self.targets[at].is_compared_by_time = true;
                }
                self.handle(Input::FsEvent(FsEvent { mirror: mirror_id(at), kind }))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, wait: Duration) -> CheckResult {
        let end = self.now + wait;
        wake_until(self, end, |world| world.daemon.as_ref()?.fleet.next_wakeup(), Self::wake_up)?;
        self.now = end;
        Ok(())
    }

    fn wake_up(&mut self, at: Moment) -> CheckResult {
        self.now = self.now.max(at);
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let mut effects = vec![];
        daemon.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    /// Executes one step of each job.
    fn work(&mut self) -> CheckResult {
        for at in 0..self.targets.len() {
            let Some(daemon) = &mut self.daemon else { return Ok(()) };
            let source = self.is_mounted.then_some(self.disk.tree());
            let mut ended = vec![];
            daemon.links[at].jobs.retain_mut(|job| {
                let outcome = job.copier.step(source, &mut self.targets[at].tree);
                let goes_on = outcome.is_none();
                ended.extend(outcome.map(|outcome| JobEnd::new(job.id, outcome)));
                goes_on
            });
            for end in ended {
                self.handle(Input::JobEnded(end))?;
            }
        }
        Ok(())
    }

    fn handle_all(&mut self, input: impl Fn(MirrorId) -> Input) -> CheckResult {
        (0..self.targets.len()).try_for_each(|at| self.handle(input(mirror_id(at))))
    }

    fn handle(&mut self, input: Input) -> CheckResult {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let mut effects = vec![];
        daemon.fleet.handle(input, self.now, &mut effects);
        daemon.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> CheckResult {
        for effect in effects {
            let Some(daemon) = &mut self.daemon else { return Ok(()) };
            match effect {
                Effect::Cover(mirror) => {
                    daemon.links[index(mirror)].is_watched = self.is_mounted;
                    // When it is back, it is transferred as a whole.
                    self.targets[index(mirror)].is_compared_by_time |= !self.is_mounted;
                    let reason = "it is not mounted".to_string();
                    self.handle(if self.is_mounted {
                        Input::Covered(mirror)
                    } else {
                        Input::CannotCover { mirror, reason }
                    })?;
                }
                Effect::Uncover(mirror) => daemon.links[index(mirror)].is_watched = false,
                Effect::Compare(mirror) if daemon.snapshots.is_compared => {
                    let reason = "the sync is new";
                    self.answer(index(mirror), SourceComparison::unknown(reason))?;
                }
                Effect::Compare(mirror) => daemon.waiting.push(index(mirror)),
                Effect::Start(job) => self.start_job(&job),
                Effect::Stop(stopped) => {
                    let mut jobs = daemon.links.iter_mut().flat_map(|link| &mut link.jobs);
                    if let Some(job) = jobs.find(|job| job.id == stopped) {
                        job.copier.fault = JobFault::Again(0);
                    }
                }
                Effect::Forget(_) | Effect::Report(_) => {}
                Effect::CallScript(..)
                | Effect::ListDirectory { .. }
                | Effect::Flushed(_)
                | Effect::Exit(_) => return Err("there is nothing of that here".into()),
            }
        }
        Ok(())
    }

    fn start_job(&mut self, job: &Job) {
        let Some(daemon) = &mut self.daemon else { return };
        let at = index(job.mirror);
        let target = &mut self.targets[at];
        daemon.snapshots.note_job(at, job, &mut self.stored);
        let fault = if self.faults.is_empty() { JobFault::None } else { self.faults.remove(0) };
        target.guard.holds_observed.set(job.work.observed().may_include_held);
        let copier = SimCopier::new(job, &target.guard, fault);
        daemon.links[at].jobs.push(SimRunning { id: job.id, copier });
    }

    /// Checks that a mirror claims to be in sync only if it is.
    fn check_sync_claims(&self) -> CheckResult {
        let Some(daemon) = self.daemon.as_ref().filter(|_| self.is_mounted) else {
            return Ok(());
        };
        for (at, mirror) in daemon.fleet.mirrors().enumerate() {
            let link = &daemon.links[at];
            let all_told = link.is_watched && link.before.is_drained() && link.events.is_drained();
            if all_told && is_quiet(mirror) {
                self.check_equal(at, mirror)?;
            }
        }
        Ok(())
    }

    /// Checks that a target equals the source, except for held deletions.
    fn check_equal(&self, at: usize, mirror: &Mirror) -> CheckResult {
        let SimTarget { tree: target, is_compared_by_time, .. } = &self.targets[at];
        let part = if *is_compared_by_time { visible_part } else { |node: SimNode| node };
        let source = self.disk.tree();
        let mut different = source.paths().chain(target.paths()).filter(|path| {
            let [is, should] = [target, source].map(|tree| tree.get(path).map(part));
            is != should && !is_held(mirror, path)
        });
        different.next().map_or(Ok(()), |path| {
            let (is, should) = (target.get(path), source.get(path));
            Err(format!("target {at}: {path} is {is:?} and should be {should:?}"))
        })
    }

    /// Runs until nothing is left to do. Then the targets must equal the source.
    fn end(&mut self) -> CheckResult {
        self.start()?;
        let link = self.target_link();
        self.handle_all(|mirror| Input::TargetLink(mirror, link))?;
        self.handle_all(|mirror| Input::SetPaused(mirror, false))?;
        self.deliver(&mut SimRng::new(0))?;
        self.run_until_quiet()?;
        let held = |mirror: &Mirror| mirror.held().next().is_some();
        if self.daemon.as_ref().is_some_and(|it| it.fleet.mirrors().any(held)) {
            for target in &mut self.targets {
                target.guard.budgets.unobserved = MaxDelete::Unlimited;
            }
            self.handle_all(Input::Release)?;
            self.run_until_quiet()?;
        }
        let Some(daemon) = &self.daemon else { return Ok(()) };
        for (at, mirror) in daemon.fleet.mirrors().enumerate() {
            if !is_quiet(mirror) || held(mirror) {
                let (source, target) = (mirror.source(), mirror.target());
                return Err(format!("in the end it is {source:?}, {target:?}"));
            }
            self.check_equal(at, mirror).map_err(|why| format!("in the end {why}"))?;
        }
        Ok(())
    }

    fn run_until_quiet(&mut self) -> CheckResult {
        for seed in 0..1_000 {
            self.read(&mut SimRng::new(seed))?;
            let is_busy = |daemon: &SimDaemon| daemon.links.iter().any(|it| !it.jobs.is_empty());
            while self.daemon.as_ref().is_some_and(is_busy) {
                self.work()?;
            }
            self.check_sync_claims()?;
            let Some(daemon) = &self.daemon else { return Ok(()) };
            let next = daemon.fleet.next_wakeup();
            let walks =
                matches!(daemon.snapshots.phase, SimPhase::Comparing(_) | SimPhase::Reading(_));
            match next {
                None if !walks && daemon.waiting.is_empty() => return Ok(()),
                None => {}
                Some(at) => self.wake_up(at)?,
            }
        }
        Err("it never comes to rest".into())
    }
}

fn is_quiet(mirror: &Mirror) -> bool {
    mirror.is_live() && !mirror.is_busy() && mirror.delays().next().is_none()
}

/// Returns true if a difference at this path follows from held deletions.
fn is_held(mirror: &Mirror, path: &TreePath) -> bool {
    let is_listed = |name: &TreePath| name.contains(path) || path.contains(name);
    mirror.held().any(|it| {
        let covers = |dirty: &DirtyPath| is_listed(&dirty.path);
        it.names.iter().any(is_listed) || !it.lists_all() && it.paths.iter().any(covers)
    })
}

fn mirror_id(at: usize) -> MirrorId {
    MirrorId(u32::try_from(at).unwrap())
}

fn index(mirror: MirrorId) -> usize {
    usize::try_from(mirror.0).unwrap()
}

fn settings(max_jobs: usize, target_link: TargetLink) -> MirrorSettings {
    let (filter, connection) = (Arc::default(), None);
    MirrorSettings {
        host: crate::mirror::TargetHost::Local,
        debounce: Debounce::default(),
        open_wait: OpenWait::default(),
        delete: crate::plan::options::DeletePolicy::Always,
        init: true,
        has_snapshots: true,
        insist: Insist::Always,
        filter,
        target_link,
        max_jobs,
        connection,
    }
}
