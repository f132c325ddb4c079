//! Several jobs at once on one target, straight from the queue: convergence without a fleet.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    job::Scope,
    mirror::{left, settled},
    notice::{Edit, Kind, News},
    path::TreePath,
    queue::{Batch, Limits, Pace, Places},
    sim::{
        random::Random,
        script::{Script, Step},
        tree::Tree,
        witness::{Loss, Witness},
        worker::{Fate, Trees, Worker},
    },
    time::Moment,
};

/// How many jobs run at once.
const HANDS: usize = 3;

struct Crew {
    now: Moment,
    queue: Places,
    source: Tree,
    target: Tree,
    witness: Witness,
    jobs: Vec<(Batch, Worker)>,
    fates: Vec<Fate>,
}

/// Plays what concerns a crew, and on until all is quiet.
fn play(script: &Script) -> Result<(), String> {
    // Small bounds, so that small trees meet them.
    let limits = Limits { in_directory: 4, places: 6, failures: 4, hints: 2 };
    let mut crew = Crew {
        now: Moment::ORIGIN,
        queue: Places::with_limits(Pace::default(), limits),
        source: Tree::new(),
        target: Tree::new(),
        witness: Witness::new(Loss::Told),
        jobs: Vec::new(),
        fates: Vec::new(),
    };
    for step in &script.steps {
        crew.step(step).map_err(|why| format!("{step}: {why}"))?;
    }
    crew.end()
}

impl Crew {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Change(change) => self.witness.see(change.apply(&mut self.source)),
            Step::Tell(seed) => self.tell(*seed),
            Step::Wait(wait) => {
                self.now = self.now + *wait;
                return self.take();
            }
            Step::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            Step::Fate(fate) => self.fates.push(*fate),
            Step::Hangup => self.queue.retry_now(self.now),
            Step::Unmount
            | Step::Mount
            | Step::Disk(_)
            | Step::Exchange(_)
            | Step::Accept
            | Step::Way(_)
            | Step::Full
            | Step::Replace(_) => {}
        }
        self.check_honesty()
    }

    fn tell(&mut self, seed: u64) {
        for news in self.witness.tell(&mut Random::new(seed)) {
            match news {
                News::Changed(change) => {
                    let attributes = change.edit == Edit::Attrib || change.kind == Kind::Other;
                    let scope = if attributes { Scope::Entry } else { Scope::Tree };
                    self.queue.mark(&change.path, scope, self.now);
                }
                News::Moved { from, to, kind } => {
                    self.queue.mark_move(&from, &to, kind, self.now);
                }
                News::Lost(path) => self.queue.mark(&path, Scope::Tree, self.now),
                News::Gone(_) => self.queue.mark(&TreePath::root(), Scope::Tree, self.now),
            }
        }
    }

    fn take(&mut self) -> Result<(), String> {
        while self.jobs.len() < HANDS {
            let batch = self.queue.take_due(self.now).or_else(|| self.queue.take_large());
            let Some(batch) = batch else { break };
            for (other, _) in &self.jobs {
                for place in batch.places().iter() {
                    if other.places().overlaps(&place.path, place.scope) {
                        return Err(format!("two jobs are at {}", place.path));
                    }
                }
            }
            let fate = if self.fates.is_empty() { Fate::Good } else { self.fates.remove(0) };
            let worker = Worker::new(&batch.work(), fate, true);
            self.jobs.push((batch, worker));
        }
        Ok(())
    }

    /// One step of each job.
    fn work(&mut self) -> Result<(), String> {
        let mut going = Vec::new();
        for (batch, mut worker) in core::mem::take(&mut self.jobs) {
            let mut trees = Trees { source: Some(&self.source), target: &mut self.target };
            let Some(outcome) = worker.step(&mut trees)? else {
                going.push((batch, worker));
                continue;
            };
            self.queue.settle_but(batch, settled(&outcome), left(&outcome), self.now);
        }
        self.jobs = going;
        Ok(())
    }

    fn check_honesty(&self) -> Result<(), String> {
        let claims = self.queue.oldest().is_none() && self.witness.is_done();
        if claims && self.source != self.target {
            return Err("it claims to be in sync".to_string());
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), String> {
        self.fates.clear();
        self.tell(0);
        for _ in 0..200 {
            self.now = self.now + Duration::from_mins(1);
            self.take()?;
            while !self.jobs.is_empty() {
                self.work()?;
            }
            self.check_honesty()?;
        }
        if self.queue.is_empty() && self.queue.next_due().is_none() && self.source == self.target {
            return Ok(());
        }
        Err("it never comes to rest".to_string())
    }
}

#[test]
fn jobs_side_by_side_bring_the_target_to_the_source() {
    for seed in 0..2_000 {
        let script = Script::random(seed);
        if play(&script).is_err() {
            let short = script.shorten(|script| play(script).is_err());
            panic!("history {seed}: {:?}\n{short}", play(&short));
        }
    }
}
