//! Guarded deletions: an executor that takes equal size and time for equal content, and that may
//! delete only entries whose deletion was observed.
//!
//! The conditions are worse than in [`world`](super::world): files of different content look equal,
//! and a missing entry counts as temporarily invisible unless its deletion was observed.

use alloc::{collections::VecDeque, format, rc::Rc, string::ToString as _, sync::Arc, vec::Vec};
use core::{cell::Cell, ops::Range};

use crate::{
    effect::Effect,
    fs_event::{Edit, FsEventKind, MirrorId, RootGone},
    guard::MaxDelete,
    input::TargetLink,
    job::{DirtyPath, HeldDeletions, HoldReason, Job, JobEnd, JobId, Outcome, Rename, Scope},
    mirror::{DaemonAction, Insist, Mirror, MirrorSettings, RENAME_EVENT_DELAY, SyncMember},
    path::TreePath,
    queue::{Debounce, ObservedChanges, PathSet},
    sim::{
        CheckResult,
        lossy_source::{Loss, LossySource},
        random::SimRng,
        scenario::{Scenario, ScenarioStep},
        tree::{SimNode, SimTree},
        worker::{JobFault, copy_parents, failure, hook_failed, repeat_rename, steps},
    },
    time::Moment,
};

/// One mirror with its source and target.
struct GuardedWorld {
    now: Moment,
    mirror: Mirror,
    source: SimTree,
    is_mounted: bool,
    target: SimTree,
    lossy_source: LossySource,
    jobs: Vec<(JobId, SimCopier)>,
    /// True if a job knows of observed deletions that are held.
    holds_observed: Rc<Cell<bool>>,
    next_job: u64,
    faults: Vec<JobFault>,
    budgets: SimBudgets,
    /// Paths whose deletion was reported to the mirror.
    reported_gone: Vec<TreePath>,
    /// Paths of which a deletion was reported that was no rename.
    deleted: Vec<TreePath>,
    /// Old names of entries that were renamed.
    moved: Vec<TreePath>,
    /// The renames, each with the time of its report.
    renames: Vec<(Rename, Moment)>,
    /// The deletions that the last jobs have held, with all their names, and the time since when.
    held: Vec<(HeldDeletions, Moment)>,
    /// True if some held deletions were not listed by name: a rename above them may then be held,
    /// too.
    has_unlisted: bool,
}

/// The budgets for deletions.
#[derive(Clone, Copy)]
struct SimBudgets {
    unobserved: MaxDelete,
    observed: MaxDelete,
}

impl SimBudgets {
    const UNLIMITED: Self =
        Self { unobserved: MaxDelete::Unlimited, observed: MaxDelete::Unlimited };
    /// No deletion that was not observed.
    const OBSERVED_ONLY: Self = Self { unobserved: MaxDelete::Count(0), ..Self::UNLIMITED };
    /// No deletion that was observed.
    const UNOBSERVED_ONLY: Self = Self { observed: MaxDelete::Count(0), ..Self::UNLIMITED };
}

/// The most names that the simulated executor lists of held deletions: fewer than the real ones,
/// so that often some are not listed.
const MAX_LISTED: usize = 2;

/// A running job.
struct SimCopier {
    renames: VecDeque<Rename>,
    /// Paths to compare, each with the path of the batch that it belongs to.
    todo: VecDeque<(DirtyPath, DirtyPath)>,
    observed: Arc<ObservedChanges>,
    /// Destinations of the renames that the job repeated.
    renamed: Vec<TreePath>,
    budgets: SimBudgets,
    /// As in the world: another job may hold them meanwhile.
    holds_observed: Rc<Cell<bool>>,
    /// The paths of the job.
    paths: PathSet,
    /// Held deletions with all their names.
    held: Vec<HeldDeletions>,
    failed: Vec<DirtyPath>,
    fault: JobFault,
    failing: SimRng,
    steps: usize,
}

/// Returns the part of a node that a comparison of size and time sees.
fn visible_part(node: SimNode) -> SimNode {
    match node {
        SimNode::File { content, mode } => SimNode::File { content: content % 3, mode },
        other => other,
    }
}

impl SimCopier {
    fn new(job: &Job, world: &GuardedWorld, fault: JobFault) -> Self {
        let (renames, todo) = steps(&job.work);
        let seed = if let JobFault::Partly(seed) = fault { seed } else { 0 };
        Self {
            paths: todo.iter().cloned().collect(),
            renames,
            todo: todo.into_iter().map(|dirty| (dirty.clone(), dirty)).collect(),
            observed: Arc::clone(job.work.observed()),
            renamed: Vec::new(),
            budgets: world.budgets,
            holds_observed: Rc::clone(&world.holds_observed),
            held: Vec::new(),
            failed: Vec::new(),
            fault,
            failing: SimRng::new(seed),
            steps: 0,
        }
    }

    fn step(&mut self, source: Option<&SimTree>, target: &mut SimTree) -> Option<Outcome> {
        let Some(source) = source else { return Some(Outcome::SourceGone(failure())) };
        match self.fault {
            JobFault::Again(steps) | JobFault::Fatal(steps) if steps <= self.steps => {
                return Some(Outcome::Retry(failure()));
            }
            JobFault::None
            | JobFault::Partly(_)
            | JobFault::Again(_)
            | JobFault::Fatal(_)
            | JobFault::Hook => {}
        }
        self.steps += 1;
        if let Some(hint) = self.renames.pop_front() {
            // The entry that the rename would replace may be the wanted one.
            let [is, should] = [&*target, source].map(|tree| tree.get(&hint.to).map(visible_part));
            if is != should && repeat_rename(&hint, source, target) {
                self.renamed.push(hint.to);
            }
        } else if let Some((dirty, compared)) = self.todo.pop_front() {
            self.transfer(dirty, &compared, source, target);
        } else {
            let failed = self.failed.drain(..).map(|dirty| (dirty, failure())).collect();
            let mut held = self.held.clone();
            for names in held.iter_mut().map(|it| &mut it.names) {
                if names.len() > MAX_LISTED {
                    names.truncate(MAX_LISTED);
                    names.resize(HeldDeletions::MAX_NAMES, names[0].clone());
                }
            }
            if self.fault == JobFault::Hook {
                return Some(hook_failed(held));
            }
            return Some(Outcome::Split { large: Vec::new(), failed, held });
        }
        None
    }

    fn transfer(
        &mut self,
        dirty: DirtyPath,
        compared: &DirtyPath,
        source: &SimTree,
        target: &mut SimTree,
    ) {
        if matches!(self.fault, JobFault::Partly(_)) && self.failing.once_in(3) {
            self.failed.push(dirty);
            return;
        }
        let scope = dirty.scope;
        let path = source.survey(dirty.path);
        let Some(node) = source.get(&path) else {
            if target.get(&path).is_some() {
                self.delete(&path, compared, target);
            }
            return;
        };
        let mut top = TreePath::root();
        for name in path.components() {
            // A non-directory in place of a directory would have to be deleted.
            if !target.is_dir(&top) && !self.clear_path(&top, compared, target) {
                return;
            }
            top.push(name).unwrap();
        }
        copy_parents(&path, source, target);
        let is_dir = matches!(node, SimNode::Directory { .. });
        if target.is_dir(&path) && !is_dir && !self.clear_path(&path, compared, target) {
            return;
        }
        let is_equal = target.get(&path).is_some_and(|it| visible_part(it) == visible_part(node));
        if !is_equal || self.is_written(&path) {
            target.put(&path, node);
        }
        if is_dir && scope == Scope::Tree {
            let mut below = [source.children(&path), target.children(&path)].concat();
            below.sort();
            below.dedup();
            let below = below.into_iter().map(|path| DirtyPath { path, scope });
            self.todo.extend(below.map(|dirty| (dirty, compared.clone())));
        }
    }

    fn is_written(&self, path: &TreePath) -> bool {
        self.observed.is_written(path, || self.renamed.iter().any(|to| to.contains(path)))
    }

    /// Returns false if the entry at `path` has to stay.
    fn clear_path(&mut self, path: &TreePath, compared: &DirtyPath, target: &mut SimTree) -> bool {
        target.get(path).is_none() || self.delete(path, compared, target)
    }

    /// Like the executors, it knows of a held deletion only in which of the compared paths it is.
    fn delete(&mut self, path: &TreePath, compared: &DirtyPath, target: &mut SimTree) -> bool {
        let names: Vec<_> = target.paths().filter(|it| path.contains(it)).cloned().collect();
        let count = names.len() as u64;
        let Some(reason) = self.reason_to_hold(path, count) else {
            target.remove(path);
            return true;
        };
        if reason == HoldReason::Observed {
            self.holds_observed.set(true);
        }
        let is_it = |it: &&mut HeldDeletions| it.reason == reason && it.paths.contains(compared);
        if let Some(held) = self.held.iter_mut().find(is_it) {
            held.names.extend(names);
            held.names.sort();
            held.names.dedup();
            held.count = held.names.len() as u64;
        } else {
            let paths = Vec::from([compared.clone()]);
            self.held.push(HeldDeletions { paths, count, total: None, names, reason });
        }
        false
    }

    fn reason_to_hold(&self, path: &TreePath, count: u64) -> Option<HoldReason> {
        let SimBudgets { unobserved, observed } = self.budgets;
        let is_allowed = |budget: MaxDelete| budget.allows(count, None);
        if self.observed.renamed_from.has_at_or_above(path) {
            return None;
        }
        if self.observed.is_deleted(path) {
            return (!is_allowed(observed)).then_some(HoldReason::Observed);
        }
        if !is_allowed(unobserved) {
            return Some(HoldReason::Unobserved);
        }
        (self.holds_observed.get() && !is_allowed(observed)).then_some(HoldReason::Observed)
    }
}

impl GuardedWorld {
    fn new(loss: Loss, budgets: SimBudgets) -> Self {
        let settings = settings(Debounce::default());
        Self {
            now: Moment::ORIGIN,
            mirror: Mirror::new(MirrorId(0), settings),
            source: SimTree::new(),
            is_mounted: true,
            target: SimTree::new(),
            lossy_source: LossySource::new(loss),
            jobs: Vec::new(),
            holds_observed: Rc::default(),
            next_job: 0,
            faults: Vec::new(),
            budgets,
            reported_gone: Vec::new(),
            deleted: Vec::new(),
            moved: Vec::new(),
            renames: Vec::new(),
            held: Vec::new(),
            has_unlisted: false,
        }
    }

    fn step(&mut self, step: &ScenarioStep, loss: Loss) -> CheckResult {
        match step {
            ScenarioStep::Change(change) if self.is_mounted => {
                let events = change.apply(&mut self.source);
                self.note_moved(&events);
                self.lossy_source.record(events);
            }
            ScenarioStep::Deliver(seed) => self.deliver(*seed),
            ScenarioStep::Wait(wait) => {
                self.now = self.now + *wait;
                self.advance();
            }
            ScenarioStep::Work(steps) => {
                for _ in 0..*steps {
                    self.work()?;
                }
            }
            ScenarioStep::Fault(fault) => self.faults.push(*fault),
            ScenarioStep::Hangup => self.with(Mirror::retry_now),
            ScenarioStep::Full => self.with(Mirror::full_due),
            // Deletions that were observed before and are still pending are no longer known as such
            // afterwards.
            ScenarioStep::Unmount | ScenarioStep::Disk(_) if loss != Loss::Never => self.unmount(),
            ScenarioStep::Mount => self.is_mounted = true,
            ScenarioStep::Change(_)
            | ScenarioStep::Unmount
            | ScenarioStep::Disk(_)
            | ScenarioStep::Exchange(_)
            | ScenarioStep::Accept
            | ScenarioStep::TargetLink(_)
            | ScenarioStep::Replace(_) => {}
        }
        self.check_sync_claims()
    }

    /// Notes the old names of the entries that were renamed.
    fn note_moved(&mut self, events: &[FsEventKind]) {
        for event in events {
            let FsEventKind::Renamed { from, to, .. } = event else { continue };
            self.moved.extend(self.source.paths().filter_map(|path| path.rebase(to, from)));
        }
    }

    fn unmount(&mut self) {
        if core::mem::take(&mut self.is_mounted) {
            self.lossy_source.record([FsEventKind::RootGone(RootGone::Unmounted)]);
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
                    let fault =
                        if self.faults.is_empty() { JobFault::None } else { self.faults.remove(0) };
                    self.holds_observed.set(job.work.observed().may_include_held);
                    self.jobs.push((job.id, SimCopier::new(&job, self, fault)));
                }
                Effect::Stop(stopped) => {
                    for (job, copier) in &mut self.jobs {
                        if *job == stopped {
                            copier.fault = JobFault::Again(0);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, seed: u64) {
        for event in self.lossy_source.drain(&mut SimRng::new(seed)) {
            match &event {
                FsEventKind::Changed(change) if change.edit == Edit::Delete => {
                    self.reported_gone.push(change.path.clone());
                    self.deleted.push(change.path.clone());
                }
                FsEventKind::Renamed { from, to, .. } => {
                    let rebased = self.deleted.iter().filter_map(|it| it.rebase(from, to));
                    let rebased: Vec<_> = rebased.collect();
                    self.deleted.extend(rebased);
                    let rebased = self.reported_gone.iter().filter_map(|it| it.rebase(from, to));
                    let mut rebased: Vec<_> = rebased.collect();
                    if self.reported_gone.iter().any(|it| it.contains(from)) {
                        rebased.push(to.clone());
                    }
                    self.reported_gone.extend(rebased);
                    self.reported_gone.push(from.clone());
                    self.renames.push((Rename { from: from.clone(), to: to.clone() }, self.now));
                }
                FsEventKind::Changed(_) | FsEventKind::Lost(_) | FsEventKind::RootGone(_) => {}
            }
            self.with(|mirror, now, effects| mirror.on_fs_event(event, now, effects));
        }
    }

    fn work(&mut self) -> CheckResult {
        for (job, mut copier) in core::mem::take(&mut self.jobs) {
            let before = self.target.clone();
            let source = self.is_mounted.then_some(&self.source);
            let outcome = copier.step(source, &mut self.target);
            self.check_deletions(&before)?;
            self.check_held(&before)?;
            match outcome {
                None => self.jobs.push((job, copier)),
                Some(outcome) => {
                    self.update_held(copier, &outcome);
                    let mut effects = Vec::new();
                    let held = held(&outcome).to_vec();
                    self.has_unlisted |= held.iter().any(|it| !it.lists_all());
                    let verdict =
                        self.mirror.job_ended(JobEnd::new(job, outcome), self.now, &mut effects);
                    if verdict != DaemonAction::Continue {
                        return Err("the daemon ended".into());
                    }
                    let is_known =
                        |it: &&HeldDeletions| self.mirror.held().any(|known| known == *it);
                    let mut forgotten = held.iter().filter(|it| !is_known(it));
                    let is_compared_again = self.mirror.delays().next().is_some();
                    if let Some(held) = forgotten.next().filter(|_| !is_compared_again) {
                        return Err(format!("it was forgotten that this is held: {held:?}"));
                    }
                    self.perform(effects);
                }
            }
        }
        Ok(())
    }

    /// Checks that, without a budget, only entries were deleted whose deletion was reported.
    fn check_deletions(&self, before: &SimTree) -> CheckResult {
        if self.budgets.unobserved == MaxDelete::Unlimited {
            return Ok(());
        }
        let mut went = before.paths().filter(|path| self.target.get(path).is_none());
        let unseen = went.find(|path| {
            !self.reported_gone.iter().any(|reported_gone| reported_gone.contains(path))
        });
        unseen.map_or(Ok(()), |path| Err(format!("nobody saw {path} go, and it was deleted")))
    }

    fn update_held(&mut self, copier: SimCopier, outcome: &Outcome) {
        if matches!(outcome, Outcome::Split { .. } | Outcome::HookFailed { .. }) {
            let is_counted = |path: &TreePath| copier.paths.covers(path, Scope::Entry);
            let since = |deletions: &HeldDeletions| {
                let is_it = |(it, _): &&(HeldDeletions, _)| it.paths == deletions.paths;
                self.held.iter().find(is_it).map_or(self.now, |(_, since)| *since)
            };
            let new: Vec<_> = copier.held.into_iter().map(|it| (since(&it), it)).collect();
            self.held.iter_mut().for_each(|(it, _)| it.names.retain(|name| !is_counted(name)));
            self.held.extend(new.into_iter().map(|(since, it)| (it, since)));
        }
    }

    /// Checks that no held deletion was made, unless the entry was created again and renamed, or
    /// has a new name on the target, too, or the deletion was observed after all.
    fn check_held(&self, before: &SimTree) -> CheckResult {
        let went = |path: &TreePath| before.get(path).is_some() && self.target.get(path).is_none();
        for (deletions, since) in &self.held {
            let is_allowed = |path: &TreePath| {
                self.moved.contains(path)
                    || self.has_new_name(path)
                    || match deletions.reason {
                        HoldReason::Observed => self.budgets.observed == MaxDelete::Unlimited,
                        HoldReason::Unobserved | HoldReason::EmptySource => {
                            self.budgets.unobserved == MaxDelete::Unlimited
                                || self.was_observed(path, *since)
                        }
                    }
            };
            if let Some(path) = deletions.names.iter().find(|path| went(path) && !is_allowed(path))
            {
                return Err(format!("{path} was held, and it was deleted"));
            }
        }
        Ok(())
    }

    /// Returns true if the target has the entry of this name under the new name of a rename.
    fn has_new_name(&self, path: &TreePath) -> bool {
        self.renames.iter().any(|(Rename { from, to }, _)| {
            path.rebase(from, to).is_some_and(|to| self.target.get(&to).is_some())
        })
    }

    /// Returns true if this deletion, held `since` then, was observed after all.
    fn was_observed(&self, path: &TreePath, since: Moment) -> bool {
        let mut renames = self.renames.iter();
        self.deleted.iter().any(|it| it.contains(path))
            || renames.any(|(it, at)| *at < since + RENAME_EVENT_DELAY && it.from.contains(path))
    }

    fn is_quiet(&self) -> bool {
        self.mirror.is_live() && self.jobs.is_empty() && self.mirror.delays().next().is_none()
    }

    fn check_sync_claims(&self) -> CheckResult {
        let all_told = self.lossy_source.is_drained() && self.is_mounted;
        if all_told && self.is_quiet() { self.check_equal(visible_part) } else { Ok(()) }
    }

    /// Checks that `part` of each node is equal at both sides, except for held deletions.
    fn check_equal(&self, part: fn(SimNode) -> SimNode) -> CheckResult {
        let held = |path: &TreePath| {
            let is_listed = |name: &TreePath| name.contains(path) || path.contains(name);
            self.mirror.held().any(|it| {
                let covers = |dirty: &DirtyPath| is_listed(&dirty.path);
                it.names.iter().any(is_listed) || !it.lists_all() && it.paths.iter().any(covers)
            })
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

    fn end(&mut self) -> CheckResult {
        self.faults.clear();
        self.is_mounted = true;
        self.deliver(0);
        for _ in 0..1_000 {
            while !self.jobs.is_empty() {
                self.work()?;
            }
            self.check_sync_claims()?;
            let Some(at) = self.mirror.next_wakeup(true) else {
                return if self.is_quiet() { Ok(()) } else { Err("it stands still".into()) };
            };
            self.now = self.now.max(at);
            self.advance();
        }
        Err("it never comes to rest".into())
    }
}

/// Returns the deletions that a job held back.
const fn held(outcome: &Outcome) -> &[HeldDeletions] {
    match outcome {
        Outcome::Split { held, .. } | Outcome::HookFailed { held, .. } => held.as_slice(),
        _ => &[],
    }
}

fn settings(pace: Debounce) -> MirrorSettings {
    let (filter, gate, connection) = (Arc::default(), TargetLink::Up, None);
    MirrorSettings {
        debounce: pace,
        open_wait: crate::queue::OpenWait::default(),
        delete: crate::plan::options::DeletePolicy::Always,
        init: true,
        insist: Insist::Always,
        filter,
        target_link: gate,
        max_jobs: 2,
        connection,
    }
}

/// Plays a scenario to its end without a budget, then accepts the held deletions.
fn play(scenario: &Scenario, loss: Loss, budgets: SimBudgets) -> CheckResult {
    let mut world = GuardedWorld::new(loss, budgets);
    world.with(|mirror, _, effects| mirror.begin(effects));
    for step in &scenario.steps {
        world.step(step, loss).map_err(|why| format!("{step}: {why}"))?;
    }
    world.end()?;
    let is_all_observed = loss == Loss::Never && budgets.observed == MaxDelete::Unlimited;
    if is_all_observed && !world.has_unlisted {
        if world.mirror.held().next().is_some() {
            return Err(format!(
                "all was seen, and it is held: {:?}",
                world.mirror.held().collect::<Vec<_>>()
            ));
        }
        return world.check_equal(|node| node);
    }
    world.budgets = SimBudgets::UNLIMITED;
    world.with(|mirror, now, _| mirror.change(settings(Debounce::default()), true, now));
    world.end()?;
    if world.mirror.held().next().is_none() { Ok(()) } else { Err("it is still held".into()) }
}

fn check(seeds: Range<u64>, loss: Loss, budgets: SimBudgets) {
    for seed in seeds {
        let scenario = Scenario::random(seed);
        if play(&scenario, loss, budgets).is_err() {
            let short = scenario.shorten(|scenario| play(scenario, loss, budgets).is_err());
            panic!("history {seed}: {}\n{short}", play(&short, loss, budgets).unwrap_err());
        }
    }
}

#[test]
fn observed_writes_are_transferred_despite_equal_size_and_time() {
    check(0..10_000, Loss::Never, SimBudgets::OBSERVED_ONLY);
}

#[test]
fn unobserved_deletions_are_held_until_accepted() {
    check(10_000..20_000, Loss::Reported, SimBudgets::OBSERVED_ONLY);
}

#[test]
fn observed_deletions_beyond_their_budget_are_held_until_accepted() {
    check(20_000..30_000, Loss::Never, SimBudgets::UNOBSERVED_ONLY);
    check(30_000..40_000, Loss::Reported, SimBudgets::UNOBSERVED_ONLY);
}

#[test]
fn a_deletion_stays_known_when_its_directory_is_recreated_and_renamed() {
    let scenario = "mirrors 2 jobs any per-mirror 3 init true
         wait 90
         move-in /c 0
         deliver 90305
         work 3
         move-out /c/b
         mv /c /a";
    let scenario = Scenario::parse(scenario);
    assert_eq!(play(&scenario, Loss::Never, SimBudgets::OBSERVED_ONLY), Ok(()));
}

/// Long run: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn observed_writes_are_transferred_in_many_scenarios() {
    for (loss, budgets, seeds) in [
        (Loss::Never, SimBudgets::OBSERVED_ONLY, 20_000..250_000),
        (Loss::Reported, SimBudgets::OBSERVED_ONLY, 20_000..1_000_000),
        (Loss::Never, SimBudgets::UNOBSERVED_ONLY, 20_000..250_000),
        (Loss::Reported, SimBudgets::UNOBSERVED_ONLY, 20_000..1_000_000),
    ] {
        check(seeds, loss, budgets);
    }
}
