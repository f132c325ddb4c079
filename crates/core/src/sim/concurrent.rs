//! Convergence with several concurrent jobs on one target, driven by the queue alone.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    fs_event::{Edit, EntryKind, FsEventKind},
    job::Scope,
    mirror::{large_files, settlement},
    path::TreePath,
    queue::{Batch, Debounce, DirtySet, HeldBefore, QueueLimits},
    sim::{
        lossy_source::{Loss, LossySource},
        random::SimRng,
        scenario::{Scenario, ScenarioStep},
        tree::SimTree,
        worker::{JobFault, SimWorker, TreePair},
    },
    time::Moment,
};

/// Number of concurrent jobs.
const MAX_JOBS: usize = 3;

struct ConcurrentWorld {
    now: Moment,
    queue: DirtySet,
    source: SimTree,
    target: SimTree,
    lossy_source: LossySource,
    jobs: Vec<(Batch, SimWorker)>,
    faults: Vec<JobFault>,
}

/// Plays the applicable steps of a scenario, then runs until everything is quiet.
fn play(scenario: &Scenario) -> Result<(), String> {
    // The limits are small, so that small trees reach them.
    let limits = QueueLimits { per_directory: 4, paths: 6, failed: 4, hints: 2 };
    let mut world = ConcurrentWorld {
        now: Moment::ORIGIN,
        queue: DirtySet::with_limits(Debounce::default(), limits),
        source: SimTree::new(),
        target: SimTree::new(),
        lossy_source: LossySource::new(Loss::Reported),
        jobs: Vec::new(),
        faults: Vec::new(),
    };
    for step in &scenario.steps {
        world.step(step).map_err(|why| format!("{step}: {why}"))?;
    }
    world.end()
}

impl ConcurrentWorld {
    fn step(&mut self, step: &ScenarioStep) -> Result<(), String> {
        match step {
            ScenarioStep::Change(change) => {
                self.lossy_source.record(change.apply(&mut self.source));
            }
            ScenarioStep::Deliver(seed) => self.deliver(*seed),
            ScenarioStep::Wait(wait) => {
                self.now = self.now + *wait;
                return self.start_jobs();
            }
            ScenarioStep::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            ScenarioStep::Fault(fault) => self.faults.push(*fault),
            ScenarioStep::Hangup => self.queue.retry_now(self.now),
            ScenarioStep::Unmount
            | ScenarioStep::Mount
            | ScenarioStep::Disk(_)
            | ScenarioStep::Exchange(_)
            | ScenarioStep::Accept
            | ScenarioStep::TargetLink(_)
            | ScenarioStep::Full
            | ScenarioStep::Replace(_)
            | ScenarioStep::Flush(..)
            | ScenarioStep::Pause(_) => {}
        }
        self.check_sync_claims()
    }

    fn deliver(&mut self, seed: u64) {
        for event in self.lossy_source.drain(&mut SimRng::new(seed)) {
            match event {
                FsEventKind::Changed(change) => {
                    let attributes = change.edit == Edit::Attrib || change.kind == EntryKind::Other;
                    let scope = if attributes { Scope::Entry } else { Scope::Tree };
                    self.queue.mark(&change.path, scope, self.now);
                }
                FsEventKind::Renamed { from, to, kind } => {
                    self.queue.mark_rename(&from, &to, kind, self.now);
                }
                FsEventKind::Lost(path) => self.queue.mark(&path, Scope::Tree, self.now),
                FsEventKind::RootGone(_) => {
                    self.queue.mark(&TreePath::root(), Scope::Tree, self.now);
                }
            }
        }
    }

    fn start_jobs(&mut self) -> Result<(), String> {
        while self.jobs.len() < MAX_JOBS {
            let batch = self.queue.take_due(self.now).or_else(|| self.queue.take_large(self.now));
            let Some(batch) = batch else { break };
            for (other, _) in &self.jobs {
                for dirty in batch.paths().iter() {
                    if other.paths().overlaps(&dirty.path, dirty.scope) {
                        return Err(format!("two jobs are at {}", dirty.path));
                    }
                }
            }
            let fault = if self.faults.is_empty() { JobFault::None } else { self.faults.remove(0) };
            let worker = SimWorker::new(&batch.work(HeldBefore::default()), fault, true);
            self.jobs.push((batch, worker));
        }
        Ok(())
    }

    /// Executes one step of each job.
    fn work(&mut self) -> Result<(), String> {
        let mut going = Vec::new();
        for (batch, mut worker) in core::mem::take(&mut self.jobs) {
            let mut trees = TreePair { source: Some(&self.source), target: &mut self.target };
            let Some(outcome) = worker.step(&mut trees)? else {
                going.push((batch, worker));
                continue;
            };
            self.queue.settle_with_large(
                batch,
                settlement(&outcome),
                large_files(&outcome),
                self.now,
            );
        }
        self.jobs = going;
        Ok(())
    }

    fn check_sync_claims(&self) -> Result<(), String> {
        let claims = self.queue.oldest().is_none() && self.lossy_source.is_drained();
        if claims && self.source != self.target {
            return Err("it claims to be in sync".to_string());
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), String> {
        self.faults.clear();
        self.deliver(0);
        for _ in 0..200 {
            self.now = self.now + Duration::from_mins(1);
            self.start_jobs()?;
            while !self.jobs.is_empty() {
                self.work()?;
            }
            self.check_sync_claims()?;
        }
        if self.queue.is_empty() && self.queue.next_due().is_none() && self.source == self.target {
            return Ok(());
        }
        Err("it never comes to rest".to_string())
    }
}

#[test]
fn concurrent_jobs_converge() {
    for seed in 0..2_000 {
        let scenario = Scenario::random(seed);
        if play(&scenario).is_err() {
            let short = scenario.shorten(|scenario| play(scenario).is_err());
            panic!("history {seed}: {:?}\n{short}", play(&short));
        }
    }
}
