//! All mirrors of a daemon: their shared limits, their replacement and their shutdown.

mod concurrency;
mod flush;
mod handover;
mod member;
mod one_pass;
mod replace;
mod scripts;

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::{
    effect::Effect,
    fs_event::{FsEvent, MirrorId},
    input::{Input, Signal},
    job::{JobEnd, JobId},
    log_event::LogEvent,
    mirror::{DaemonAction, Mirror, SyncMember},
    time::Moment,
};

use concurrency::Concurrency;
pub use concurrency::MAX_JOBS_PER_CONNECTION;
use flush::Flush;
use handover::Handover;
pub use member::{Member, MirrorSpec};
use one_pass::OnePassState;
pub use replace::Replacement;
use replace::Retiring;

/// Time that running jobs get to finish by themselves after a signal to exit.
pub const GRACE: Duration = Duration::from_secs(10);

/// Time that jobs get after they were asked to stop, before the daemon exits without them.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// The exit code of every failure: `exit(-1)` of the original.
pub const EXIT_FAILURE: u8 = 255;

/// All mirrors.
///
/// [`handle`](Self::handle) processes an input. [`advance`](Self::advance) does the work that is
/// due; call it after each `handle` and at [`next_wakeup`](Self::next_wakeup).
#[derive(Debug)]
pub struct Fleet {
    mirrors: Vec<Member>,
    /// The index of each mirror in `mirrors`.
    indices: BTreeMap<MirrorId, usize>,
    /// The replaced mirrors that still have a running job.
    retiring: Vec<Retiring>,
    handover: Handover,
    limits: FleetLimits,
    phase: FleetPhase,
    one_pass: OnePassState,
    flushes: Vec<Flush>,
    next_mirror: u32,
    next_job: u64,
    /// The indices of the mirrors in the order in which they may start a job: the one that started
    /// a job last comes last.
    start_order: Vec<usize>,
}

/// Limits shared by all mirrors.
#[derive(Clone, Copy, Debug, Default)]
pub struct FleetLimits {
    /// The most concurrent jobs; `None` for no common limit.
    pub max_jobs: Option<usize>,
    /// True if the daemon exits when all first transfers are done.
    pub onepass: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FleetPhase {
    Running,
    /// No job is started; running ones may finish until `until`.
    Draining {
        until: Moment,
        code: u8,
    },
    /// The running jobs have been asked to stop.
    Stopping {
        until: Moment,
        code: u8,
    },
    Stopped,
}

impl Fleet {
    /// A fleet of mirrors with these specifications. The index in `settings` is the id of the
    /// mirror.
    #[must_use]
    pub fn new<C: Into<MirrorSpec>>(settings: Vec<C>, limits: FleetLimits) -> Self {
        let mut fleet = Self {
            mirrors: Vec::new(),
            indices: BTreeMap::new(),
            retiring: Vec::new(),
            handover: Handover::default(),
            limits,
            phase: FleetPhase::Running,
            one_pass: OnePassState::First,
            flushes: Vec::new(),
            next_mirror: 0,
            next_job: 0,
            start_order: Vec::new(),
        };
        let mirrors = settings.into_iter().map(|spec| fleet.new_member(spec.into())).collect();
        fleet.set_members(mirrors);
        fleet
    }

    /// The mirrors, in the given order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.mirrors
    }

    /// The mirrors with a built-in target.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.mirrors.iter().filter_map(Member::built_in)
    }

    /// The mirror of this id with a built-in target, to take what a snapshot needs.
    pub fn mirror_mut(&mut self, id: MirrorId) -> Option<&mut Mirror> {
        self.member_mut(id).and_then(Member::built_in_mut)
    }

    /// Starts all mirrors.
    pub fn begin(&mut self, effects: &mut Vec<Effect>) {
        for mirror in &mut self.mirrors {
            mirror.begin(effects);
        }
    }

    /// Processes an input.
    pub fn handle(&mut self, input: Input, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::Covered(id) => {
                self.end_handover(id, effects);
                self.with_member(id, |mirror| mirror.covered(now, effects));
            }
            Input::CannotCover { mirror, reason } => {
                self.end_handover(mirror, effects);
                self.with_member(mirror, |mirror| mirror.cannot_cover(reason, now, effects));
            }
            Input::Compared(id, comparison) => {
                if let Some(mirror) = self.member_mut(id).and_then(Member::built_in_mut) {
                    mirror.compared(comparison, now, effects);
                }
            }
            Input::TargetLink(id, link) => {
                self.with_member(id, |mirror| mirror.set_target_link(link, now, effects));
            }
            Input::SourceAnswers(id, answers) => {
                self.with_member(id, |mirror| mirror.source_mut().set_answers(answers, effects));
            }
            Input::FsEvent(event) => self.on_fs_event(event, now, effects),
            Input::JobEnded(end) => self.job_ended(end, now, effects),
            Input::Script(input) => self.handle_script(input, now, effects),
            Input::FullDue(id) => self.with_member(id, |mirror| mirror.full_due(now, effects)),
            Input::Resync(id, path) => {
                self.with_member(id, |mirror| mirror.resync(&path, now, effects));
            }
            Input::Retry(id) => self.with_member(id, |mirror| mirror.retry_now(now, effects)),
            Input::TargetBack(id) => self.with_member(id, |mirror| mirror.target_back(now)),
            Input::Release(id) => self.with_member(id, |mirror| mirror.release(now, effects)),
            Input::SetPaused(id, is_paused) => {
                self.with_member(id, |mirror| mirror.set_paused(is_paused));
            }
            Input::Flush(request) => self.begin_flush(request, now),
            Input::Signal(signal) => self.signal(signal, now, effects),
        }
    }

    fn on_fs_event(&mut self, event: FsEvent, now: Moment, effects: &mut Vec<Effect>) {
        let FsEvent { mirror, kind } = event;
        let successors: Vec<_> = self.handover.successors_of(mirror).collect();
        for successor in successors {
            self.with_member(successor, |successor| {
                successor.on_predecessor_event(kind.clone(), now, effects);
            });
        }
        self.with_member(mirror, |mirror| mirror.on_fs_event(kind, now, effects));
    }

    fn with_member(&mut self, id: MirrorId, act: impl FnOnce(&mut Member)) {
        // Late inputs of a replaced mirror are ignored.
        if let Some(mirror) = self.member_mut(id) {
            act(mirror);
        }
    }

    /// The mirror of this id.
    #[must_use]
    pub fn member(&self, id: MirrorId) -> Option<&Member> {
        self.mirrors.get(*self.indices.get(&id)?)
    }

    fn member_mut(&mut self, id: MirrorId) -> Option<&mut Member> {
        self.mirrors.get_mut(*self.indices.get(&id)?)
    }

    fn job_ended(&mut self, end: JobEnd, now: Moment, effects: &mut Vec<Effect>) {
        if self.retiring_job_ended(end.job, effects) {
            return;
        }
        let mut mirrors = self.mirrors.iter_mut().filter_map(Member::built_in_mut);
        let Some(mirror) = mirrors.find(|mirror| mirror.has_job(end.job)) else { return };
        // The outcome of a job that was asked to stop is no failure.
        let stopping = matches!(self.phase, FleetPhase::Stopping { .. });
        let mut job_effects = Vec::new();
        let action = mirror.job_ended(end, now, &mut job_effects);
        if stopping {
            return;
        }
        effects.append(&mut job_effects);
        if action == DaemonAction::Exit {
            self.exit_for_failure(now);
        }
    }

    /// Exits with a failure, as the user asked for.
    fn exit_for_failure(&mut self, now: Moment) {
        if self.phase == FleetPhase::Running {
            self.phase = FleetPhase::Draining { until: now, code: EXIT_FAILURE };
        }
    }

    fn signal(&mut self, signal: Signal, now: Moment, effects: &mut Vec<Effect>) {
        if signal == Signal::Hangup {
            effects.push(Effect::Report(LogEvent::Hangup));
            return self.retry_now(now, effects);
        }
        let code = 128 + signal.number();
        self.phase = match self.phase {
            FleetPhase::Running => {
                effects.push(Effect::Report(LogEvent::Draining(signal, self.running_jobs())));
                FleetPhase::Draining { until: now + GRACE, code }
            }
            // A second signal stops the jobs at once.
            FleetPhase::Draining { code, .. } => FleetPhase::Draining { until: now, code },
            FleetPhase::Stopping { code, .. } => FleetPhase::Stopping { until: now, code },
            FleetPhase::Stopped => FleetPhase::Stopped,
        };
    }

    /// Retries at once everything that is backing off.
    pub fn retry_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for mirror in &mut self.mirrors {
            mirror.retry_now(now, effects);
        }
    }

    /// Returns true unless the daemon was asked to exit.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == FleetPhase::Running
    }

    /// Limits the concurrent jobs from now on; `None` for no common limit.
    pub const fn limit_jobs(&mut self, most: Option<usize>) {
        self.limits.max_jobs = most;
    }

    fn jobs(&self) -> impl Iterator<Item = JobId> {
        let retiring = self.retiring.iter().flat_map(Retiring::jobs);
        self.mirrors.iter().flat_map(|it| it.jobs()).chain(retiring)
    }

    fn running_jobs(&self) -> usize {
        self.jobs().count()
    }

    /// The time of the next call of [`advance`](Self::advance). `None`: not before the next input.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        let next = self.next_work();
        next.into_iter().chain(self.next_flush_step()).min()
    }

    fn next_work(&self) -> Option<Moment> {
        match self.phase {
            FleetPhase::Running => {
                let concurrency = self.concurrency();
                let may_start = |it: &Member| {
                    concurrency.has_room(it.connection()) && !self.waits_for_predecessor(it.id())
                };
                let next = |it: &Member| it.next_wakeup(may_start(it));
                self.mirrors.iter().filter_map(next).min()
            }
            FleetPhase::Draining { until, .. } | FleetPhase::Stopping { until, .. } => Some(until),
            FleetPhase::Stopped => None,
        }
    }

    /// Returns true if this mirror waits for jobs of a replaced mirror.
    fn waits_for_predecessor(&self, id: MirrorId) -> bool {
        self.retiring.iter().any(|it| it.has_successor(id))
    }

    fn concurrency(&self) -> Concurrency {
        let mut concurrency = Concurrency::new(self.limits.max_jobs);
        for mirror in &self.mirrors {
            concurrency.add(mirror.connection(), mirror.job_count());
        }
        for retiring in &self.retiring {
            concurrency.add(retiring.connection(), retiring.jobs().count());
        }
        concurrency
    }

    /// Does the work that is due at `now`.
    pub fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.phase == FleetPhase::Running {
            self.start_jobs(now, effects);
            self.end_onepass(now, effects);
        }
        self.end_flushes(now, effects);
        match self.phase {
            FleetPhase::Draining { code, .. } | FleetPhase::Stopping { code, .. }
                if self.running_jobs() == 0 =>
            {
                self.end(code, effects);
            }
            FleetPhase::Draining { until, code } if until <= now => {
                effects.push(Effect::Report(LogEvent::Stopping(self.running_jobs())));
                effects.extend(self.jobs().map(Effect::Stop));
                self.phase = FleetPhase::Stopping { until: now + STOP_GRACE, code };
            }
            FleetPhase::Stopping { until, code } if until <= now => self.end(code, effects),
            FleetPhase::Running
            | FleetPhase::Draining { .. }
            | FleetPhase::Stopping { .. }
            | FleetPhase::Stopped => {}
        }
    }

    /// Starts the jobs that are due. The mirror that started a job last comes last, so no mirror
    /// starves under a limit.
    fn start_jobs(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut concurrency = self.concurrency();
        while self.start_round(&mut concurrency, now, effects) {}
    }

    /// Starts at most one job of each mirror. Returns true if it started one.
    fn start_round(
        &mut self,
        concurrency: &mut Concurrency,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut started = Vec::new();
        for &index in &self.start_order {
            let Some(mirror) = self.mirrors.get_mut(index) else { continue };
            let waits = self.retiring.iter().any(|it| it.has_successor(mirror.id()));
            let has_room = concurrency.has_room(mirror.connection()) && !waits;
            let job = has_room.then_some(JobId(self.next_job));
            if mirror.advance(job, now, effects) {
                concurrency.add(mirror.connection(), 1);
                self.one_pass.started(mirror.id());
                self.next_job += 1;
                started.push(index);
            }
        }
        let mut next = started.iter().peekable();
        self.start_order.retain(|index| next.next_if_eq(&index).is_none());
        self.start_order.extend_from_slice(&started);
        !started.is_empty()
    }

    fn end(&mut self, code: u8, effects: &mut Vec<Effect>) {
        self.phase = FleetPhase::Stopped;
        effects.push(Effect::Exit(code));
    }
}

#[cfg(test)]
mod tests;
