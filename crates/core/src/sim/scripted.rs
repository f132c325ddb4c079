//! A mirror with a script: a user who does to a target what the events say, one by one or in
//! lists, and whose children read the source when they begin and write when they end.
//!
//! News comes in its order and before the script is called, as from inotify: a rename that is
//! told late can't be repeated rightly by anybody who reads the disk meanwhile.

use alloc::{format, string::String, vec, vec::Vec};
use core::{mem, ops::Range, panic::AssertUnwindSafe, time::Duration};

use crate::{
    effect::{Call, Effect},
    fleet::{Fleet, Limits},
    input::{Answer, ChildExit, Gate, Input, Signal},
    job::{Failure, JobId},
    mirror::{
        State,
        scripted::{Reset, ScriptSettings, Spawned},
    },
    notice::{Gone, Kind, MirrorId, News, Notice},
    path::TreePath,
    queue::ordered::{Entry, Etype, EventId, Pick, Status},
    sim::{
        change::Change,
        random::Random,
        script::{Script, Step},
        tree::Tree,
    },
    time::Moment,
};

const MIRROR: MirrorId = MirrorId(0);

/// What is found wrong.
type Found = Result<(), String>;

struct World {
    now: Moment,
    fleet: Fleet,
    source: Tree,
    target: Tree,
    is_mounted: bool,
    is_watched: bool,
    seen: Vec<News>,
    children: Vec<Child>,
    /// What the user and the machine do wrong.
    failing: Random,
    is_failing: bool,
    takes: Takes,
}

/// How the user takes what is due.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    OneByOne,
    Lists,
}

struct Child {
    job: JobId,
    deeds: Vec<Deed>,
    /// The source when it began.
    source: Tree,
}

/// What an event says is to be done.
struct Deed {
    etype: Etype,
    path: TreePath,
    to: Option<TreePath>,
}

impl Deed {
    fn of(entry: &Entry) -> Self {
        Self { etype: entry.etype(), path: entry.path().clone(), to: entry.to().cloned() }
    }

    fn do_to(&self, target: &mut Tree, source: &Tree) {
        let Self { etype, path, to } = self;
        match (etype, to) {
            (Etype::Init, _) => *target = source.clone(),
            (Etype::Full, _) => bring_tree(path, source, target),
            (Etype::Delete, _) => target.remove(path),
            (Etype::Move, Some(to)) if target.get(path).is_some() && !path.contains(to) => {
                bring_parents(to, source, target);
                if target.has_room_at(to) {
                    target.rename(path, to);
                }
            }
            (_, to) => bring(to.as_ref().unwrap_or(path), source, target),
        }
    }
}

/// `mkdir -p`, as far as there is something at the source.
fn bring_parents(path: &TreePath, source: &Tree, target: &mut Tree) {
    let mut top = TreePath::root();
    for name in path.components() {
        if let Some(node) = source.get(&top).filter(|_| source.is_dir(&top) && !target.is_dir(&top))
        {
            target.put(&top, node);
        }
        top.push(name).unwrap();
    }
}

/// `cp`, or `mkdir`.
fn bring(path: &TreePath, source: &Tree, target: &mut Tree) {
    if let Some(node) = source.get(path) {
        bring_parents(path, source, target);
        target.put(path, node);
    }
}

/// `rsync -a --delete`.
fn bring_tree(path: &TreePath, source: &Tree, target: &mut Tree) {
    let path = source.survey(path.clone());
    target.remove(&path);
    for it in source.paths().filter(|it| path.contains(it)) {
        bring(it, source, target);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let max_jobs = random.pick(&[1, 1, 3]);
        let settings = ScriptSettings {
            delay: Duration::from_millis(random.pick(&[0, 100, 2_000])),
            max_delays: random.pick(&[1_000, 3]),
            max_jobs,
            moves: random.once_in(2),
            subdirectories: true,
            full: max_jobs == 1,
            anew: Reset::Clear,
            filter: alloc::sync::Arc::default(),
            gate: Gate::Open,
            connection: None,
        };
        Self {
            now: Moment::ORIGIN,
            fleet: Fleet::new(vec![settings], Limits::default()),
            source: Tree::new(),
            target: Tree::new(),
            is_mounted: true,
            is_watched: false,
            seen: Vec::new(),
            children: Vec::new(),
            takes: random.pick(&[Takes::Lists, Takes::OneByOne]),
            is_failing: true,
            failing: random,
        }
    }

    fn step(&mut self, step: &Step) -> Found {
        match step {
            // Two names that are exchanged are told as two renames, one over the other: who does
            // what he is told loses one of them, here as with the original.
            Step::Change(Change::Swap(..)) => {}
            Step::Change(change) if self.is_mounted => {
                let news = change.apply(&mut self.source);
                if self.is_watched {
                    self.seen.extend(news);
                }
            }
            Step::Change(_) | Step::Fate(_) | Step::Replace(_) | Step::Way(_) => {}
            Step::Tell(seed) => {
                self.overflow(&mut Random::new(*seed));
                return self.tell();
            }
            Step::Wait(wait) => return self.wait(*wait),
            Step::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            Step::Unmount => {
                self.is_mounted = false;
                if mem::take(&mut self.is_watched) {
                    self.seen.push(News::Gone(Gone::Unmounted));
                }
            }
            Step::Mount => self.is_mounted = true,
            Step::Hangup => return self.handle(Input::Signal(Signal::Hangup)),
            Step::Full => return self.handle(Input::FullDue(MIRROR)),
        }
        Ok(())
    }

    /// Sometimes the kernel loses what it would have told, and says so.
    fn overflow(&mut self, random: &mut Random) {
        let is_gone = self.seen.iter().any(|news| matches!(news, News::Gone(_)));
        if random.once_in(4) && !is_gone {
            self.seen = vec![News::Lost(TreePath::root())];
        }
    }

    fn tell(&mut self) -> Found {
        for news in mem::take(&mut self.seen) {
            self.handle(Input::Notice(Notice { mirror: MIRROR, news }))?;
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
        self.tell()?;
        let mut effects = Vec::new();
        self.fleet.advance(self.now, &mut effects);
        self.perform(effects)
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
                Effect::Cover { mirror, .. } => {
                    self.is_watched = self.is_mounted;
                    self.seen.clear();
                    let why = String::from("it is not mounted");
                    let lost = Input::CannotCover { mirror, why };
                    let input = if self.is_mounted { Input::Covered(mirror) } else { lost };
                    self.handle(input)?;
                }
                Effect::Uncover(_) => self.is_watched = false,
                Effect::Script(_, call) => self.call(&call)?,
                Effect::List { mirror, path } => {
                    let kind = |it: &TreePath| {
                        if self.source.is_dir(it) { Kind::Directory } else { Kind::Other }
                    };
                    let list = self.source.children(&path).into_iter();
                    let entries = list.map(|it| (it.name().unwrap().to_vec(), kind(&it)));
                    let entries = if self.is_mounted { entries.collect() } else { vec![] };
                    self.handle(Input::Listed { mirror, path, entries })?;
                }
                Effect::Stop(job) => {
                    let is_there = self.children.iter().any(|child| child.job == job);
                    self.children.retain(|child| child.job != job);
                    if is_there {
                        self.handle(Input::ChildEnded { job, exit: ChildExit::Signal(15) })?;
                    }
                }
                Effect::Report(_) => {}
                other => return Err(format!("nobody asked for {other:?}")),
            }
        }
        Ok(())
    }

    /// The user's functions.
    fn call(&mut self, call: &Call) -> Found {
        self.tell()?;
        let is_bad = self.is_failing && self.failing.once_in(8);
        let failed = if is_bad { Err(Failure::new("a nil value")) } else { Ok(()) };
        match *call {
            Call::Collect { job, code, .. } => {
                let answer = if code == 0 { Answer::Done } else { Answer::Again };
                return self.handle(Input::Collected { job, result: failed.map(|()| answer) });
            }
            Call::Init(id) | Call::Full(id) if !is_bad => self.spawn(vec![id])?,
            // There is no function for it.
            Call::Action if self.first_due().is_some_and(|it| it.etype() == Etype::Full) => {
                let id = self.first_due().map(Entry::id).unwrap();
                self.fleet.scripted(MIRROR).unwrap().discard(id).unwrap();
            }
            Call::Action if !is_bad && self.takes == Takes::Lists => {
                let mirror = self.fleet.scripted(MIRROR).unwrap();
                let is_change = |entry: &Entry| match entry.etype() {
                    Etype::Init | Etype::Blanket | Etype::Full => Pick::Skip,
                    _ => Pick::Take,
                };
                let ids = mirror.queue().select(is_change);
                self.spawn(ids)?;
            }
            Call::Action if !is_bad => {
                let due = self.first_due().map(Entry::id);
                self.spawn(due.into_iter().collect())?;
            }
            Call::Init(_) | Call::Full(_) | Call::Action => {}
        }
        self.handle(Input::Called { mirror: MIRROR, result: failed, has_plans: false })
    }

    fn first_due(&mut self) -> Option<&Entry> {
        let now = self.now;
        self.fleet.scripted(MIRROR)?.queue().first_due(now)
    }

    fn spawn(&mut self, ids: Vec<EventId>) -> Found {
        let mirror = self.fleet.scripted(MIRROR).unwrap();
        let waits = |id: &EventId| mirror.queue().get(*id).is_some();
        let ids: Vec<_> = ids.into_iter().filter(waits).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let deeds = ids.iter().map(|&id| Deed::of(mirror.queue().get(id).unwrap())).collect();
        let job = match self.fleet.spawn(MIRROR, &ids) {
            Ok(job) => job,
            Err(Spawned::NotNow) => return Ok(()),
            Err(why) => return Err(format!("{why:?}: {ids:?}")),
        };
        self.children.push(Child { job, deeds, source: self.source.clone() });
        Ok(())
    }

    /// One of the children ends.
    fn work(&mut self) -> Found {
        if self.children.is_empty() {
            return Ok(());
        }
        let at = self.failing.below(self.children.len());
        let Child { job, deeds, source } = self.children.remove(at);
        let fate = if self.is_failing { self.failing.below(8) } else { 7 };
        if fate != 0 && self.is_mounted {
            for deed in &deeds {
                deed.do_to(&mut self.target, &source);
            }
        }
        let exit = match fate {
            0 | 1 => ChildExit::Code(1),
            2 => ChildExit::Signal(9),
            _ => ChildExit::Code(0),
        };
        self.handle(Input::ChildEnded { job, exit })
    }

    /// Nothing waits for something that is not there.
    fn check_queue(&mut self) -> Found {
        let queue = self.fleet.scripted(MIRROR).unwrap().queue();
        let is_stuck =
            |it: &&Entry| it.status() == Status::Block && queue.blocker(it.id()).is_none();
        match queue.iter().find(is_stuck) {
            Some(stuck) => Err(format!("blocked by nothing: {stuck:?}")),
            None => Ok(()),
        }
    }

    /// Lets everything come to rest. Then the target is equal to the source.
    fn end(mut self) -> Found {
        self.is_failing = false;
        self.is_mounted = true;
        self.tell()?;
        for _ in 0..2_000 {
            while !self.children.is_empty() {
                self.work()?;
            }
            self.check_queue()?;
            let Some(at) = self.fleet.next_wakeup() else { break };
            self.wake_up(at)?;
        }
        let mirror = self.fleet.scripted(MIRROR).unwrap();
        if *mirror.state() != State::Live || !mirror.queue().is_empty() {
            let left = mirror.queue().iter().collect::<Vec<_>>();
            return Err(format!("in the end it is {:?}: {left:?}", mirror.state()));
        }
        let paths = self.source.paths().chain(self.target.paths());
        // Of the root itself scripts are told nothing.
        let mut wrong =
            paths.filter(|it| !it.is_root() && self.source.get(it) != self.target.get(it));
        wrong.next().map_or(Ok(()), |path| {
            let (is, should) = (self.target.get(path), self.source.get(path));
            Err(format!("{path} is {is:?} and should be {should:?}"))
        })
    }
}

fn play(script: &Script, seed: u64) -> Found {
    let mut world = World::new(seed);
    let mut effects = Vec::new();
    world.fleet.begin(&mut effects);
    world.perform(effects)?;
    for step in &script.steps {
        world.step(step).map_err(|why| format!("{step}: {why}"))?;
        world.check_queue()?;
    }
    world.end()
}

fn wrong(script: &Script, seed: u64) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| play(script, seed))) {
        Ok(found) => found.err(),
        Err(_) => Some("it panicked".into()),
    }
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let script = Script::random(seed);
        if wrong(&script, seed).is_some() {
            let short = script.shorten(|script| wrong(script, seed).is_some());
            let why = wrong(&short, seed).unwrap_or_default();
            panic!("history {seed}: {why}\n{short}");
        }
    }
}

#[test]
fn a_target_that_a_script_keeps_becomes_equal_to_its_source() {
    check(0..5_000);
}

#[test]
#[ignore = "takes minutes"]
fn a_target_that_a_script_keeps_becomes_equal_to_its_source_in_many_histories() {
    check(5_000..500_000);
}
