//! What was heard and what was not: an executor that takes equal size and time for equal content,
//! and that may delete only what was seen to go.
//!
//! Its world is worse than that of [`world`](super::world): files of other content look equal, and
//! whatever is missing is only out of sight unless somebody was seen to remove it.

use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use core::ops::Range;

use crate::{
    effect::Effect,
    guard::MaxDelete,
    input::Gate,
    job::{HeldDeletions, HeldFor, Job, JobId, Outcome, Place, Rename, Scope},
    mirror::{Insist, Mirror, Settings, State, Verdict},
    notice::{Edit, Gone, MirrorId, News},
    path::TreePath,
    queue::{Heard, Pace},
    sim::{
        random::Random,
        script::{Script, Step},
        tree::{Node, Tree},
        witness::{Loss, Witness},
        worker::{Fate, bring_parents, failure, follow, hook_failed, steps},
    },
    time::Moment,
};

/// One mirror with all that belongs to it.
struct World {
    now: Moment,
    mirror: Mirror,
    source: Tree,
    is_mounted: bool,
    target: Tree,
    witness: Witness,
    jobs: Vec<(JobId, Copier)>,
    next_job: u64,
    fates: Vec<Fate>,
    budget: MaxDelete,
    /// The names that the mirror was told to have gone.
    gone: Vec<TreePath>,
}

/// A job on its way.
struct Copier {
    moves: VecDeque<Rename>,
    todo: VecDeque<Place>,
    heard: Arc<Heard>,
    /// The renames that it repeated.
    moved: Vec<TreePath>,
    budget: MaxDelete,
    held: Vec<HeldDeletions>,
    failed: Vec<Place>,
    fate: Fate,
    failing: Random,
    steps: usize,
}

type Found = Result<(), String>;

/// The part of a node that a comparison of size and time sees.
fn looks(node: Node) -> Node {
    match node {
        Node::File { content, mode } => Node::File { content: content % 3, mode },
        other => other,
    }
}

impl Copier {
    fn new(job: &Job, budget: MaxDelete, fate: Fate) -> Self {
        let (moves, todo) = steps(&job.work);
        let seed = if let Fate::Partly(seed) = fate { seed } else { 0 };
        Self {
            moves,
            todo,
            heard: Arc::clone(job.work.heard()),
            moved: Vec::new(),
            budget,
            held: Vec::new(),
            failed: Vec::new(),
            fate,
            failing: Random::new(seed),
            steps: 0,
        }
    }

    fn step(&mut self, source: Option<&Tree>, target: &mut Tree) -> Option<Outcome> {
        let Some(source) = source else { return Some(Outcome::SourceGone(failure())) };
        match self.fate {
            Fate::Again(steps) | Fate::Fatal(steps) if steps <= self.steps => {
                return Some(Outcome::Again(failure()));
            }
            Fate::Good | Fate::Partly(_) | Fate::Again(_) | Fate::Fatal(_) | Fate::Hook => {}
        }
        self.steps += 1;
        if let Some(hint) = self.moves.pop_front() {
            // What would be replaced may be what is wanted there.
            let [is, should] = [&*target, source].map(|tree| tree.get(&hint.to).map(looks));
            if is != should && follow(&hint, source, target) {
                self.moved.push(hint.to);
            }
        } else if let Some(place) = self.todo.pop_front() {
            self.bring(place, source, target);
        } else {
            let failed = self.failed.drain(..).map(|place| (place, failure())).collect();
            let held = core::mem::take(&mut self.held);
            if self.fate == Fate::Hook {
                return Some(hook_failed(held));
            }
            return Some(Outcome::Split { large: Vec::new(), failed, held });
        }
        None
    }

    fn bring(&mut self, place: Place, source: &Tree, target: &mut Tree) {
        if matches!(self.fate, Fate::Partly(_)) && self.failing.once_in(3) {
            self.failed.push(place);
            return;
        }
        let scope = place.scope;
        let path = source.survey(place.path);
        let Some(node) = source.get(&path) else {
            if target.get(&path).is_some() {
                self.delete(&path, &path, target);
            }
            return;
        };
        let mut top = TreePath::root();
        for name in path.components() {
            // What stands in the way of a directory would have to be deleted.
            if !target.is_dir(&top) && !self.make_way(&top, target) {
                return;
            }
            top.push(name).unwrap();
        }
        bring_parents(&path, source, target);
        let is_dir = matches!(node, Node::Directory { .. });
        if target.is_dir(&path) && !is_dir && !self.make_way(&path, target) {
            return;
        }
        let is_equal = target.get(&path).is_some_and(|it| looks(it) == looks(node));
        if !is_equal || self.is_written(&path) {
            target.put(&path, node);
        }
        if is_dir && scope == Scope::Tree {
            let mut below = [source.children(&path), target.children(&path)].concat();
            below.sort();
            below.dedup();
            self.todo.extend(below.into_iter().map(|path| Place { path, scope }));
        }
    }

    fn is_written(&self, path: &TreePath) -> bool {
        self.heard.is_written(path, || self.moved.iter().any(|to| to.contains(path)))
    }

    /// Returns false if what stands at `path` has to stay.
    fn make_way(&mut self, path: &TreePath, target: &mut Tree) -> bool {
        target.get(path).is_none() || self.delete(path, path, target)
    }

    fn delete(&mut self, path: &TreePath, place: &TreePath, target: &mut Tree) -> bool {
        let count = target.paths().filter(|it| path.contains(it)).count() as u64;
        let allowed = self.heard.is_gone(path) || self.budget.allows(count, None);
        if allowed {
            target.remove(path);
        } else {
            let place = Place { path: place.clone(), scope: Scope::Entry };
            self.held.push(HeldDeletions {
                places: Vec::from([place]),
                count,
                of: None,
                names: Vec::new(),
                why: HeldFor::Budget,
            });
        }
        allowed
    }
}

impl World {
    fn new(loss: Loss, budget: MaxDelete) -> Self {
        let settings = settings(Pace::default());
        Self {
            now: Moment::ORIGIN,
            mirror: Mirror::new(MirrorId(0), settings),
            source: Tree::new(),
            is_mounted: true,
            target: Tree::new(),
            witness: Witness::new(loss),
            jobs: Vec::new(),
            next_job: 0,
            fates: Vec::new(),
            budget,
            gone: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step, loss: Loss) -> Found {
        match step {
            Step::Change(change) if self.is_mounted => {
                self.witness.see(change.apply(&mut self.source));
            }
            Step::Tell(seed) => self.tell(*seed),
            Step::Wait(wait) => {
                self.now = self.now + *wait;
                self.advance();
            }
            Step::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            Step::Fate(fate) => self.fates.push(*fate),
            Step::Hangup => self.with(Mirror::hangup),
            Step::Full => self.with(Mirror::full_due),
            // What was seen before and waits is not known to be a deletion afterwards.
            Step::Unmount | Step::Disk(_) if loss != Loss::Never => self.unmount(),
            Step::Mount => self.is_mounted = true,
            Step::Change(_)
            | Step::Unmount
            | Step::Disk(_)
            | Step::Exchange(_)
            | Step::Accept
            | Step::Way(_)
            | Step::Replace(_) => {}
        }
        self.check_honesty()
    }

    fn unmount(&mut self) {
        if core::mem::take(&mut self.is_mounted) {
            self.witness.see([News::Gone(Gone::Unmounted)]);
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Mirror, Moment, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        act(&mut self.mirror, self.now, &mut effects);
        self.perform(effects);
    }

    fn advance(&mut self) {
        let job = JobId(self.next_job);
        let mut effects = Vec::new();
        if self.mirror.advance(Some(job), self.now, &mut effects) {
            self.next_job += 1;
        }
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Cover { .. } if self.is_mounted => {
                    self.with(Mirror::covered);
                }
                Effect::Cover { .. } => self.with(|mirror, now, effects| {
                    mirror.cannot_cover("it is not mounted".to_string(), now, effects);
                }),
                Effect::Start(job) => {
                    let fate =
                        if self.fates.is_empty() { Fate::Good } else { self.fates.remove(0) };
                    self.jobs.push((job.id, Copier::new(&job, self.budget, fate)));
                }
                Effect::Stop(stopped) => {
                    for (job, copier) in &mut self.jobs {
                        if *job == stopped {
                            copier.fate = Fate::Again(0);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, seed: u64) {
        for news in self.witness.tell(&mut Random::new(seed)) {
            match &news {
                News::Changed(change) if change.edit == Edit::Delete => {
                    self.gone.push(change.path.clone());
                }
                News::Moved { from, to, .. } => {
                    let rebased = self.gone.iter().filter_map(|it| it.rebase(from, to));
                    let mut rebased: Vec<_> = rebased.collect();
                    if self.gone.iter().any(|it| it.contains(from)) {
                        rebased.push(to.clone());
                    }
                    self.gone.extend(rebased);
                    self.gone.push(from.clone());
                }
                News::Changed(_) | News::Lost(_) | News::Gone(_) => {}
            }
            self.with(|mirror, now, effects| mirror.hear(news, now, effects));
        }
    }

    fn work(&mut self) -> Found {
        for (job, mut copier) in core::mem::take(&mut self.jobs) {
            let before = self.target.clone();
            let source = self.is_mounted.then_some(&self.source);
            let outcome = copier.step(source, &mut self.target);
            self.check_deletions(&before)?;
            match outcome {
                None => self.jobs.push((job, copier)),
                Some(outcome) => {
                    let mut effects = Vec::new();
                    let held = held(&outcome).to_vec();
                    let verdict = self.mirror.job_ended(job, outcome, self.now, &mut effects);
                    if verdict != Verdict::GoOn {
                        return Err("the daemon ended".into());
                    }
                    if let Some(held) = held.iter().find(|it| !self.mirror.held().contains(it)) {
                        return Err(format!("it was forgotten that this is held: {held:?}"));
                    }
                    self.perform(effects);
                }
            }
        }
        Ok(())
    }

    /// Without a budget, only what was told to have gone goes.
    fn check_deletions(&self, before: &Tree) -> Found {
        if self.budget == MaxDelete::Unlimited {
            return Ok(());
        }
        let mut went = before.paths().filter(|path| self.target.get(path).is_none());
        let unseen = went.find(|path| !self.gone.iter().any(|gone| gone.contains(path)));
        unseen.map_or(Ok(()), |path| Err(format!("nobody saw {path} go, and it was deleted")))
    }

    fn is_quiet(&self) -> bool {
        let is_live = *self.mirror.state() == State::Live;
        is_live && self.jobs.is_empty() && self.mirror.delays().next().is_none()
    }

    fn check_honesty(&self) -> Found {
        let all_told = self.witness.is_done() && self.is_mounted;
        if all_told && self.is_quiet() { self.check_equal(looks) } else { Ok(()) }
    }

    /// The target is equal to the source as far as `part` of each node, but for what is held.
    fn check_equal(&self, part: fn(Node) -> Node) -> Found {
        let held = |path: &TreePath| {
            let mut places = self.mirror.held().iter().flat_map(|it| &it.places).map(|it| &it.path);
            places.any(|place| place.contains(path))
        };
        let both = self.source.paths().chain(self.target.paths());
        let mut different = both.filter(|path| {
            let [is, should] = [&self.target, &self.source].map(|it| it.get(path).map(part));
            is != should && !held(path)
        });
        different.next().map_or(Ok(()), |path| {
            let (is, should) = (self.target.get(path), self.source.get(path));
            Err(format!("{path} is {is:?} and should be {should:?}"))
        })
    }

    fn end(&mut self) -> Found {
        self.fates.clear();
        self.is_mounted = true;
        self.tell(0);
        for _ in 0..1_000 {
            while !self.jobs.is_empty() {
                self.work()?;
            }
            self.check_honesty()?;
            let Some(at) = self.mirror.next_wakeup(true) else {
                return if self.is_quiet() { Ok(()) } else { Err("it stands still".into()) };
            };
            self.now = self.now.max(at);
            self.advance();
        }
        Err("it never comes to rest".into())
    }
}

/// The deletions that a job held.
const fn held(outcome: &Outcome) -> &[HeldDeletions] {
    match outcome {
        Outcome::Split { held, .. } | Outcome::HookFailed { held, .. } => held.as_slice(),
        _ => &[],
    }
}

fn settings(pace: Pace) -> Settings {
    let (filter, gate, connection) = (Arc::default(), Gate::Open, None);
    Settings {
        pace,
        open_wait: crate::queue::OpenWait::default(),
        delete: crate::plan::options::DeletePolicy::Always,
        init: true,
        insist: Insist::Always,
        filter,
        gate,
        max_jobs: 2,
        connection,
    }
}

/// Plays a history to its end, without a budget, and lets a person accept what is held then.
fn play(script: &Script, loss: Loss) -> Found {
    let mut world = World::new(loss, MaxDelete::Count(0));
    world.with(|mirror, _, effects| mirror.begin(effects));
    for step in &script.steps {
        world.step(step, loss).map_err(|why| format!("{step}: {why}"))?;
    }
    world.end()?;
    if loss == Loss::Never {
        if !world.mirror.held().is_empty() {
            return Err(format!("all was seen, and it is held: {:?}", world.mirror.held()));
        }
        return world.check_equal(|node| node);
    }
    world.budget = MaxDelete::Unlimited;
    world.with(|mirror, now, _| mirror.change(settings(Pace::default()), true, now));
    world.end()?;
    if world.mirror.held().is_empty() { Ok(()) } else { Err("it is still held".into()) }
}

fn check(seeds: Range<u64>, loss: Loss) {
    for seed in seeds {
        let script = Script::random(seed);
        if play(&script, loss).is_err() {
            let short = script.shorten(|script| play(script, loss).is_err());
            panic!("history {seed}: {}\n{short}", play(&short, loss).unwrap_err());
        }
    }
}

#[test]
fn what_was_heard_arrives_though_it_looks_equal() {
    check(0..10_000, Loss::Never);
}

#[test]
fn what_nobody_saw_is_held_until_it_is_accepted() {
    check(10_000..20_000, Loss::Told);
}

#[test]
fn what_went_before_its_directory_was_made_anew_and_renamed_is_known_to_have_gone() {
    let script = "mirrors 2 jobs any hands 3 init true
         wait 90
         move-in /c 0
         tell 90305
         work 3
         move-out /c/b
         mv /c /a";
    assert_eq!(play(&Script::parse(script), Loss::Never), Ok(()));
}

/// For a night: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn what_was_heard_arrives_in_many_histories() {
    check(20_000..250_000, Loss::Never);
    check(20_000..1_000_000, Loss::Told);
}
