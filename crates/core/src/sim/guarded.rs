//! Guarded deletions: an executor that takes equal size and time for equal content, and that may
//! delete only entries whose deletion was observed.
//!
//! The conditions are worse than in [`world`](super::world): files of different content look equal,
//! and a missing entry counts as temporarily invisible unless its deletion was observed.

pub(super) mod copier;

use alloc::{format, string::ToString as _, sync::Arc, vec::Vec};
use core::ops::Range;

use copier::{SimBudgets, SimCopier, SimGuard, visible_part};

use crate::{
    effect::Effect,
    fs_event::{Edit, FsEventKind, MirrorId, RootGone},
    guard::MaxDelete,
    input::TargetLink,
    job::{DirtyPath, HeldDeletions, HoldReason, JobEnd, JobId, Outcome, Rename, Scope},
    mirror::{DaemonAction, Insist, Mirror, MirrorSettings, SyncMember},
    path::TreePath,
    queue::Debounce,
    sim::{
        CheckResult,
        lossy_source::{Loss, LossySource},
        random::SimRng,
        scenario::{Scenario, ScenarioStep},
        tree::{SimNode, SimTree},
        worker::JobFault,
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
    next_job: u64,
    faults: Vec<JobFault>,
    guard: SimGuard,
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
            next_job: 0,
            faults: Vec::new(),
            guard: SimGuard::new(budgets),
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
            | ScenarioStep::Replace(_)
            | ScenarioStep::Flush(..)
            | ScenarioStep::Pause(_) => {}
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
                    self.guard.holds_observed.set(job.work.observed().may_include_held);
                    self.jobs.push((job.id, SimCopier::new(&job, &self.guard, fault)));
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
        if self.guard.budgets.unobserved == MaxDelete::Unlimited {
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
                        HoldReason::Observed => self.guard.budgets.observed == MaxDelete::Unlimited,
                        HoldReason::Unobserved | HoldReason::EmptySource => {
                            self.guard.budgets.unobserved == MaxDelete::Unlimited
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
            || renames.any(|(it, at)| *at <= since && it.from.contains(path))
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
        host: crate::mirror::TargetHost::Local,
        debounce: pace,
        open_wait: crate::queue::OpenWait::default(),
        delete: crate::plan::options::DeletePolicy::Always,
        init: true,
        has_snapshots: false,
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
    world.guard.budgets = SimBudgets::UNLIMITED;
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
