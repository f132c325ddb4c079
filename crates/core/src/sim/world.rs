//! A fleet with its sources, targets, witnesses and workers, and a clock that a script moves.

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
    fleet::{Entrant, Fleet, Limits},
    input::{Gate, Input, Signal},
    job::{Failure, Job, JobId, Outcome, Place, Work},
    mirror::{Insist, Mirror, Settings, State},
    notice::{Gone, MirrorId, News, Notice},
    queue::{Pace, PlaceSet},
    sim::{
        change::Change,
        random::Random,
        script::{Script, Step},
        tree::Tree,
        witness::{Loss, Witness},
        worker::{Fate, Trees, Worker, steps},
    },
    time::Moment,
};

/// How many disks there are.
const DISKS: usize = 3;

/// Everything there is.
pub(crate) struct World {
    now: Moment,
    fleet: Fleet,
    /// The source, and other disks that may stand in its place.
    disks: [Tree; DISKS],
    /// Which of them stands there.
    standing: Option<usize>,
    /// Which of them is the source.
    agreed: usize,
    /// How often another directory came to stand there: who works with an older one finds out at
    /// the end.
    turns: usize,
    /// Whether the targets can be reached.
    has_way: bool,
    sides: Vec<Side>,
    /// How many jobs each mirror may have.
    hands: usize,
    /// How the next jobs will end.
    fates: Vec<Fate>,
}

/// What belongs to one mirror, and to that which it replaced.
struct Side {
    mirror: MirrorId,
    target: Tree,
    witness: Witness,
    /// Whether the fleet was told that the source is covered, and did not take it back.
    is_covered: bool,
    /// Whether the witness sees anything.
    is_watched: bool,
    jobs: Vec<Running>,
}

/// A job that runs.
struct Running {
    name: JobId,
    /// The turn in which it began.
    turn: usize,
    mirror: MirrorId,
    work: Work,
    worker: Worker,
}

/// What is found wrong.
type Found = Result<(), String>;

/// Plays a script to its end, and on until all is quiet.
///
/// # Errors
///
/// If a law was broken on the way, or a target is not equal to its source in the end.
pub(crate) fn play(script: &Script, loss: Loss) -> Found {
    let mut world = World::new(script, loss);
    let mut effects = Vec::new();
    world.fleet.begin(&mut effects);
    world.perform(effects)?;
    for step in &script.steps {
        world.step(step).map_err(|why| format!("{step}: {why}"))?;
        world.check_honesty().map_err(|why| format!("{step}: {why}"))?;
    }
    world.end()
}

/// Whatever fails, the world goes on.
fn settings(init: bool, max_jobs: usize) -> Settings {
    let (pace, filter, connection) = (Pace::default(), Arc::default(), None);
    let open_wait = crate::queue::OpenWait::default();
    Settings {
        pace,
        open_wait,
        delete: crate::plan::options::DeletePolicy::Always,
        init,
        insist: Insist::Always,
        filter,
        gate: Gate::Open,
        max_jobs,
        connection,
    }
}

impl World {
    fn new(script: &Script, loss: Loss) -> Self {
        // In the beginning the targets are as empty as the source.
        let settings = settings(script.init, script.hands);
        let limits = Limits { max_jobs: script.max_jobs, onepass: false };
        let fleet = Fleet::new(vec![settings; script.mirrors], limits);
        let side = |mirror: &Mirror| Side {
            mirror: mirror.id(),
            target: Tree::new(),
            witness: Witness::new(loss),
            is_covered: false,
            is_watched: false,
            jobs: Vec::new(),
        };
        Self {
            now: Moment::ORIGIN,
            sides: fleet.mirrors().map(side).collect(),
            fleet,
            disks: core::array::from_fn(|_| Tree::new()),
            standing: Some(0),
            agreed: 0,
            turns: 0,
            has_way: true,
            hands: script.hands,
            fates: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Found {
        match step {
            Step::Change(change) => {
                // Nobody watches another disk.
                let Some(standing) = self.standing else { return Ok(()) };
                let news = change.apply(&mut self.disks[standing]);
                for side in self.sides.iter_mut().filter(|side| side.is_watched) {
                    side.witness.see(news.iter().cloned());
                }
            }
            Step::Tell(seed) => return self.tell(&mut Random::new(*seed)),
            Step::Wait(wait) => return self.wait(*wait),
            Step::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            Step::Fate(fate) => self.fates.push(*fate),
            Step::Unmount => self.stand(None, Gone::Unmounted),
            Step::Mount => self.stand(Some(self.agreed), Gone::Replaced),
            Step::Disk(number) => self.stand(Some(*number), Gone::Unmounted),
            Step::Exchange(seed) => self.exchange(&mut Random::new(*seed)),
            Step::Accept => self.agreed = self.standing.unwrap_or(self.agreed),
            Step::Way(open) => return self.way_is(*open),
            Step::Hangup => return self.handle(Input::Signal(Signal::Hangup)),
            Step::Full => {
                for at in 0..self.sides.len() {
                    self.handle(Input::FullDue(self.sides[at].mirror))?;
                }
            }
            Step::Replace(seed) => return self.replace(&mut Random::new(*seed)),
        }
        Ok(())
    }

    /// Replaces some of the mirrors, and turns their order.
    fn replace(&mut self, random: &mut Random) -> Found {
        let all: Vec<_> = self.fleet.mirrors().map(Mirror::id).collect();
        let mut entrants = Vec::new();
        let mut sides: Vec<_> = all.iter().map(|&it| self.side_of(it)).collect();
        sides.rotate_left(random.below(all.len()));
        for &at in &sides {
            let side = &mut self.sides[at];
            if random.once_in(2) {
                entrants.push(Entrant::Stays(side.mirror));
                continue;
            }
            // Who has the target of another one has to know of all before it.
            let after = side.jobs.iter().map(|it| it.mirror).chain([side.mirror]).collect();
            entrants.push(Entrant::Joins {
                settings: settings(true, self.hands).into(),
                after,
                heir_of: None,
            });
            side.is_covered = false;
            side.is_watched = false;
            side.witness.forget();
        }
        let mut effects = Vec::new();
        let names = self.fleet.replace(entrants, self.now, &mut effects);
        for (at, name) in sides.into_iter().zip(names) {
            self.sides[at].mirror = name;
            self.fleet.handle(Input::Gate(name, self.gate()), self.now, &mut effects);
        }
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    fn side_of(&self, mirror: MirrorId) -> usize {
        self.sides.iter().position(|side| side.mirror == mirror).unwrap()
    }

    fn way_is(&mut self, open: bool) -> Found {
        self.has_way = open;
        for at in 0..self.sides.len() {
            self.handle(Input::Gate(self.sides[at].mirror, self.gate()))?;
        }
        Ok(())
    }

    fn gate(&self) -> Gate {
        if self.has_way { Gate::Open } else { Gate::Closed }
    }

    /// Puts a disk into the place of the source, or none.
    fn stand(&mut self, disk: Option<usize>, how: Gone) {
        if self.standing != disk {
            self.standing = disk;
            self.lose_sight(how);
        }
    }

    /// Puts another directory there, on the same disk.
    fn exchange(&mut self, random: &mut Random) {
        let Some(disk) = self.standing else { return };
        for _ in 0..random.below(6) {
            Change::random(&self.disks[disk], random).apply(&mut self.disks[disk]);
        }
        self.lose_sight(Gone::Replaced);
    }

    fn lose_sight(&mut self, how: Gone) {
        self.turns += 1;
        for side in &mut self.sides {
            if mem::take(&mut side.is_watched) {
                side.witness.see([News::Gone(how)]);
            }
        }
    }

    /// The tree of the source, if that stands in its place.
    fn source(&self) -> &Tree {
        &self.disks[self.agreed]
    }

    fn tell(&mut self, random: &mut Random) -> Found {
        for at in 0..self.sides.len() {
            let mirror = self.sides[at].mirror;
            for news in self.sides[at].witness.tell(random) {
                self.handle(Input::Notice(Notice { mirror, news }))?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, wait: Duration) -> Found {
        let end = self.now + wait;
        for _ in 0..1_000 {
            let Some(at) = self.fleet.next_wakeup().filter(|&at| at <= end) else {
                self.now = end;
                return Ok(());
            };
            self.wake_up(at)?;
        }
        Err("it wakes up all the time".into())
    }

    fn wake_up(&mut self, at: Moment) -> Found {
        self.now = self.now.max(at);
        let mut effects = Vec::new();
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    /// One step of each job.
    fn work(&mut self) -> Found {
        for at in 0..self.sides.len() {
            let names: Vec<_> = self.sides[at].jobs.iter().map(|it| it.name).collect();
            for job in names {
                if let Some(outcome) = self.work_on(at, job)? {
                    self.handle(Input::JobEnded { job, outcome })?;
                }
            }
        }
        Ok(())
    }

    fn work_on(&mut self, side: usize, job: JobId) -> Result<Option<Outcome>, String> {
        let Self { disks, standing, agreed, turns, sides, .. } = self;
        let Side { target, jobs, .. } = &mut sides[side];
        let Some(at) = jobs.iter().position(|it| it.name == job) else { return Ok(None) };
        let source = standing.filter(|it| it == agreed).map(|disk| &disks[disk]);
        let outcome = jobs[at].worker.step(&mut Trees { source, target })?;
        if outcome.is_some() && jobs.remove(at).turn != *turns {
            return Ok(Some(Outcome::SourceGone(Failure::new("it was replaced meanwhile"))));
        }
        Ok(outcome)
    }

    fn handle(&mut self, input: Input) -> Found {
        let mut effects = Vec::new();
        self.fleet.handle(input, self.now, &mut effects);
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Found {
        for effect in effects {
            match effect {
                Effect::Cover(mirror) => self.cover(mirror)?,
                Effect::Uncover(mirror) => {
                    for side in self.sides.iter_mut().filter(|side| side.mirror == mirror) {
                        side.is_covered = false;
                        side.is_watched = false;
                    }
                }
                Effect::Start(job) => self.start(&job)?,
                Effect::Stop(job) => self.stop(job),
                Effect::Dismiss(mirror) => {
                    let mut jobs = self.sides.iter().flat_map(|side| &side.jobs);
                    if jobs.any(|job| job.mirror == mirror) {
                        return Err(format!("mirror {} was dismissed too soon", mirror.0));
                    }
                }
                Effect::Script(..) | Effect::List { .. } => {
                    return Err("there is no script here".into());
                }
                Effect::Report(_) => {}
                Effect::Exit(code) => return Err(format!("the daemon ended with {code}")),
            }
        }
        Ok(())
    }

    fn side(&mut self, mirror: MirrorId) -> &mut Side {
        let at = self.side_of(mirror);
        &mut self.sides[at]
    }

    fn cover(&mut self, mirror: MirrorId) -> Found {
        let is_right = self.standing == Some(self.agreed);
        let side = self.side(mirror);
        side.is_covered = is_right;
        side.is_watched = is_right;
        self.handle(if is_right {
            Input::Covered(mirror)
        } else {
            Input::CannotCover { mirror, why: "another one stands there, or none".to_string() }
        })
    }

    fn start(&mut self, job: &Job) -> Found {
        if !self.has_way {
            return Err(format!("job {} began without a way to its target", job.id.0));
        }
        let fate = if self.fates.is_empty() { Fate::Good } else { self.fates.remove(0) };
        let (hands, turn) = (self.hands, self.turns);
        let side = self.side(job.mirror);
        if !side.is_covered {
            return Err(format!("job {} began without a source", job.id.0));
        }
        if let Some(other) = side.jobs.iter().find(|it| may_meet(it, job)) {
            return Err(format!("job {} began where job {} works", job.id.0, other.name.0));
        }
        if side.jobs.len() >= hands {
            return Err(format!("job {} is one too many", job.id.0));
        }
        let (work, worker) = (job.work.clone(), Worker::new(&job.work, fate, hands > 1));
        side.jobs.push(Running { name: job.id, turn, mirror: job.mirror, work, worker });
        Ok(())
    }

    fn stop(&mut self, stopped: JobId) {
        for job in self.sides.iter_mut().flat_map(|side| &mut side.jobs) {
            if job.name == stopped {
                job.worker.stop();
            }
        }
    }

    /// "In sync" is said only when it is so.
    fn check_honesty(&self) -> Found {
        for mirror in self.fleet.mirrors() {
            let side = &self.sides[self.side_of(mirror.id())];
            let all_told = side.is_watched && side.witness.is_done();
            let claims = *mirror.state() == State::Live && mirror.oldest().is_none();
            if all_told && claims && side.target != *self.source() {
                return Err(self.difference(side));
            }
            if mirror.oldest().is_none() && !mirror.queue().is_empty() {
                return Err("something waits that has no age".into());
            }
        }
        Ok(())
    }

    fn difference(&self, side: &Side) -> String {
        let paths = self.source().paths().chain(side.target.paths());
        let mut different = paths.filter(|it| self.source().get(it) != side.target.get(it));
        different.next().map_or(String::new(), |path| {
            let (is, should) = (side.target.get(path), self.source().get(path));
            format!("{path} is {is:?} and should be {should:?}")
        })
    }

    /// Lets everything come to rest. Then the targets are equal to the source, and nothing stirs.
    fn end(mut self) -> Found {
        self.fates.clear();
        self.stand(Some(self.agreed), Gone::Replaced);
        self.way_is(true)?;
        self.tell(&mut Random::new(0))?;
        for _ in 0..1_000 {
            while self.sides.iter().any(|side| !side.jobs.is_empty()) {
                self.work()?;
            }
            self.check_honesty()?;
            let Some(at) = self.fleet.next_wakeup() else {
                return self.check_quiet();
            };
            self.wake_up(at)?;
        }
        Err("it never comes to rest".into())
    }

    fn check_quiet(&self) -> Found {
        for mirror in self.fleet.mirrors() {
            let side = &self.sides[self.side_of(mirror.id())];
            if side.target != *self.source() {
                return Err(format!("in the end {}", self.difference(side)));
            }
            if *mirror.state() != State::Live || mirror.delays().next().is_some() {
                return Err(format!("in the end it is {:?}", mirror.state()));
            }
        }
        Ok(())
    }
}

/// Whether two jobs could be at one place.
fn may_meet(running: &Running, job: &Job) -> bool {
    let places: PlaceSet = steps(&job.work).1.iter().collect();
    let meets = |other: &Place| places.overlaps(&other.path, other.scope);
    running.mirror != job.mirror || steps(&running.work).1.iter().any(meets)
}
