//! One sync: source, target, queue and state.
//!
//! A mirror only decides; it neither watches nor copies. Events are its input, effects its output.

mod failure;
mod fs_events;
mod held;
mod retry;
mod running_job;
pub mod scripted;
mod settings;
mod state;
mod status;

use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;

use failure::FailureReasons;
pub use retry::MAX_RETRY_WAIT;
use retry::RetryBackoff;
use running_job::{JobPurpose, RunningJob};
pub(crate) use running_job::{large_files, settlement};
pub use settings::{Connection, Insist, MirrorSettings};
pub use state::{Away, AwayCause, ResumePoint, SourceCheck, State};
pub use status::{Delay, DelayKind};

use crate::{
    effect::Effect,
    fs_event::MirrorId,
    input::TargetLink,
    job::{
        Failure, FatalReason, HeldDeletions, HoldReason, HookFailureAction, Job, JobId, Outcome,
        Scope, Work,
    },
    log_event::{LogEvent, MirrorEvent},
    path::TreePath,
    queue::{Batch, Debounce, DirtySet, OpenFiles, Settled},
    time::Moment,
};

/// The shortest wait before a failed job is retried.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The exit code of rsync for a partial transfer: `rsync(1)`.
const PARTIAL_TRANSFER: i32 = 23;

/// The interval of checks whether a lost source is back.
const SOURCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// One sync.
#[derive(Debug)]
pub struct Mirror {
    id: MirrorId,
    settings: MirrorSettings,
    state: State,
    queue: DirtySet,
    /// Files that are kept out of the queue because they are being written.
    open: OpenFiles,
    running: Vec<RunningJob>,
    retry: RetryBackoff,
    /// The failure of the last job, if it failed.
    last_failure: Option<Failure>,
    /// Deletions held for an operator.
    held: Vec<HeldDeletions>,
    failure_reasons: FailureReasons,
}

/// Consequence of the end of a job for the daemon.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonAction {
    /// The daemon continues.
    Continue,
    /// The daemon exits, as the user asked for.
    Exit,
}

impl Mirror {
    /// A mirror that has not begun yet.
    #[must_use]
    pub fn new(id: MirrorId, settings: MirrorSettings) -> Self {
        let first = match settings.debounce {
            Debounce::FixedDelay { delay, .. } => delay.max(FIRST_RETRY),
            Debounce::Quiet { .. } => FIRST_RETRY,
        };
        Self {
            id,
            state: State::Covering,
            queue: DirtySet::new(settings.debounce),
            open: OpenFiles::new(settings.open_wait),
            running: Vec::new(),
            retry: RetryBackoff::new(first, u64::from(id.0) + 1),
            last_failure: None,
            held: Vec::new(),
            failure_reasons: FailureReasons::default(),
            settings,
        }
    }

    /// The id of the mirror.
    #[must_use]
    pub const fn id(&self) -> MirrorId {
        self.id
    }

    /// Requests to watch the source; everything else follows from the answer.
    pub fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Covering;
        effects.push(Effect::Cover(self.id));
    }

    /// The state of the mirror.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The paths that wait or are being transferred.
    #[must_use]
    pub const fn queue(&self) -> &DirtySet {
        &self.queue
    }

    /// Deletions beyond the budget. The target keeps the entries.
    #[must_use]
    pub fn held(&self) -> &[HeldDeletions] {
        &self.held
    }

    /// The running jobs.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.running.iter().map(|running| running.job)
    }

    /// Returns true if a job of this mirror is running.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// The connection of its jobs.
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection> {
        self.settings.connection.as_ref()
    }

    /// Handles the start of watching. The source has to be transferred, except if it is watched for
    /// the first time and `init` is off.
    pub fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.state {
            State::Covering if !self.settings.init => {
                self.state = State::Live;
                return;
            }
            State::Covering => self.state = State::Starting,
            State::Held { resume, .. } => {
                self.report(MirrorEvent::SourceBack, effects);
                self.state = resume.into();
            }
            // A second answer to one request adds nothing.
            State::Starting | State::Live | State::Away(_) => return,
        }
        self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
    }

    /// Schedules a full transfer. One that is due or runs is not repeated.
    pub fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.report(MirrorEvent::FullDue, effects);
        if !self.running.iter().any(|running| running.purpose.is_full()) {
            self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
        }
    }

    /// Handles a source that is missing or is not the pinned directory.
    pub fn cannot_cover(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        match self.state.note_still_gone(&reason, now) {
            None => self.lose_source(reason, now, effects),
            Some(true) => self.report(MirrorEvent::SourceStillGone(reason), effects),
            Some(false) => {}
        }
    }

    fn lose_source(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        let resume = match self.state {
            State::Held { .. } => return,
            State::Covering if self.settings.init => ResumePoint::Starting,
            State::Starting => ResumePoint::Starting,
            State::Covering | State::Live => ResumePoint::Live,
            State::Away(away) => away.resume,
        };
        effects.push(Effect::Uncover(self.id));
        for running in &mut self.running {
            running.purpose = JobPurpose::Obsolete;
            effects.push(Effect::Stop(running.job));
        }
        // Deletions observed while the source disappears are no proof that somebody deleted
        // something.
        self.queue.forget_deletions();
        for held in self.held.iter_mut().filter(|held| held.reason == HoldReason::Seen) {
            held.reason = HoldReason::Budget;
        }
        self.report(MirrorEvent::SourceGone(reason.clone()), effects);
        self.state =
            State::Held { reason, check: SourceCheck::At(now + SOURCE_CHECK_INTERVAL), resume };
    }

    /// Handles a change of the link to the target. When it comes up, pending jobs start at once.
    /// When it goes down, running jobs are asked to stop and are repeated.
    pub fn set_target_link(&mut self, link: TargetLink, now: Moment, effects: &mut Vec<Effect>) {
        match (core::mem::replace(&mut self.settings.target_link, link), link) {
            (TargetLink::Down, TargetLink::Up) => {
                self.retry.reset();
                if let State::Away(Away { until, cause: AwayCause::Target, .. }) = &mut self.state {
                    *until = now;
                }
            }
            (TargetLink::Up, TargetLink::Down) => {
                for running in &mut self.running {
                    running.link_lost = true;
                    effects.push(Effect::Stop(running.job));
                }
            }
            (TargetLink::Up, TargetLink::Up) | (TargetLink::Down, TargetLink::Down) => {}
        }
    }

    /// The link to the target.
    #[must_use]
    pub const fn target_link(&self) -> TargetLink {
        self.settings.target_link
    }

    /// Applies new settings. The state of the target stays valid; held deletions are counted again
    /// if `recount`.
    pub fn change(&mut self, settings: MirrorSettings, recount: bool, now: Moment) {
        self.queue.set_debounce(settings.debounce);
        self.open.set_wait(settings.open_wait);
        self.settings = MirrorSettings { target_link: self.settings.target_link, ..settings };
        if recount {
            self.recount(now);
        }
    }

    /// Ends this mirror. The returned jobs still run, and were asked to stop.
    pub fn retire(self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        effects.extend(self.jobs().map(Effect::Stop));
        self.jobs().collect()
    }

    /// Retries at once everything that is backing off.
    pub fn retry_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.queue.retry_now(now);
        match &mut self.state {
            State::Away(away) => away.until = now,
            State::Held { check, .. } => {
                *check = SourceCheck::Pending;
                effects.push(Effect::Cover(self.id));
            }
            State::Covering | State::Starting | State::Live => {}
        }
    }

    /// The time at which [`advance`](Self::advance) may next have work, depending on whether it may
    /// start a job. `None`: not before the next input.
    #[must_use]
    pub fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        match &self.state {
            State::Held { check: SourceCheck::At(at), .. } => Some(*at),
            State::Held { check: SourceCheck::Pending, .. } | State::Covering => None,
            State::Starting | State::Live | State::Away(_) if !may_start || !self.has_room() => {
                None
            }
            State::Starting => Some(Moment::ORIGIN),
            State::Live if self.has_room_for_large() && self.queue.has_large() => {
                Some(Moment::ORIGIN)
            }
            State::Live => self.queue.next_due().into_iter().chain(self.open.next_due()).min(),
            State::Away(away) => Some(away.until).filter(|&until| until != Moment::NEVER),
        }
    }

    /// Returns true if one more job may start. The first transfer runs alone, and so does a later
    /// full one, because the queue has nothing else to dispatch then.
    fn has_room(&self) -> bool {
        let most = if self.state == State::Starting { 1 } else { self.settings.max_jobs };
        self.running.len() < most && self.settings.target_link == TargetLink::Up
    }

    /// Returns true if a large file may start: one job is reserved for the small ones.
    fn has_room_for_large(&self) -> bool {
        let large = self.running.iter().filter(|running| running.batch.is_large()).count();
        self.has_room() && large + 1 < self.settings.max_jobs.max(2)
    }

    /// Does the work that is due at `now`. `job` is the id for a new job, if one may start. Returns
    /// true if the id was used.
    pub fn advance(&mut self, job: Option<JobId>, now: Moment, effects: &mut Vec<Effect>) -> bool {
        if let State::Held { check, .. } = &mut self.state {
            if check.start_if_due(now) {
                effects.push(Effect::Cover(self.id));
            }
            return false;
        }
        let Some(job) = job.filter(|_| self.has_room()) else { return false };
        if let State::Away(Away { until, resume, .. }) = self.state {
            if until > now {
                return false;
            }
            self.state = resume.into();
        }
        let batch = match self.state {
            State::Starting => self.queue.take_all(now),
            State::Live => self.take_next(now),
            State::Covering | State::Away(_) | State::Held { .. } => return false,
        };
        let Some(batch) = batch else { return false };
        let (purpose, work) = if self.state == State::Starting {
            (JobPurpose::Startup, Work::Full { observed: Arc::clone(batch.observed()) })
        } else {
            (JobPurpose::of(&batch), batch.work())
        };
        effects.push(Effect::Start(Job { id: job, mirror: self.id, work }));
        self.running.push(RunningJob { job, batch, purpose, link_lost: false });
        true
    }

    fn take_next(&mut self, now: Moment) -> Option<Batch> {
        for (path, since) in self.open.take_due(now) {
            self.queue.mark_written(&path, Scope::Entry, since);
        }
        let batch = self.queue.take_due(now);
        if batch.is_none() && self.has_room_for_large() { self.queue.take_large() } else { batch }
    }

    /// Handles the end of a job.
    pub fn job_ended(
        &mut self,
        job: JobId,
        outcome: Outcome,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> DaemonAction {
        let Some(at) = self.jobs().position(|running| running == job) else {
            return DaemonAction::Continue;
        };
        let running = self.running.remove(at);
        if running.is_inconclusive(&outcome) {
            self.queue.settle(running.batch, Settled::Nothing, now);
            return DaemonAction::Continue;
        }
        let purpose = running.purpose;
        let paths = Arc::clone(running.batch.paths());
        self.queue.settle_with_large(
            running.batch,
            settlement(&outcome),
            large_files(&outcome),
            now,
        );
        let (failed, held) = match outcome {
            Outcome::Done => Default::default(),
            Outcome::Partial(failed) => (failed, Vec::new()),
            Outcome::Split { failed, held, .. } => (failed, held),
            Outcome::SourceGone(failure) => {
                self.lose_source(failure.message, now, effects);
                return DaemonAction::Continue;
            }
            Outcome::HookFailed { failure, action, held } => {
                // The target was compared nevertheless.
                self.update_held(purpose, &paths, held, effects);
                self.report_success(purpose, 0, effects);
                self.pause_after_hook(failure, action, now, effects);
                return DaemonAction::Continue;
            }
            Outcome::Retry(failure) => return self.fail(purpose, (failure, None), now, effects),
            Outcome::Fatal(failure, reason) => {
                return self.fail(purpose, (failure, Some(reason)), now, effects);
            }
        };
        // A failure outside of rsync is a partial transfer, too.
        let code =
            failed.first().map_or(0, |(_, failure)| failure.code.unwrap_or(PARTIAL_TRANSFER));
        if !failed.is_empty() {
            self.failure_reasons.note(&failed, &self.queue);
            self.report(MirrorEvent::PathsFailed(failed), effects);
        }
        self.update_held(purpose, &paths, held, effects);
        self.succeed(purpose, code, effects);
        DaemonAction::Continue
    }

    fn succeed(&mut self, purpose: JobPurpose, code: i32, effects: &mut Vec<Effect>) {
        // Other jobs may still fail. One success must not retry the failures at once: a permanent
        // failure would be retried without a pause.
        if self.running.is_empty() && !matches!(self.state, State::Away(_)) {
            self.retry.reset();
            self.last_failure = None;
        }
        if self.state == State::Starting {
            self.state = State::Live;
        }
        self.report_success(purpose, code, effects);
    }

    fn report_success(&self, purpose: JobPurpose, code: i32, effects: &mut Vec<Effect>) {
        let event = match purpose {
            JobPurpose::Startup => MirrorEvent::StartupFinished(code),
            JobPurpose::Full => MirrorEvent::FullFinished(code),
            JobPurpose::Changes | JobPurpose::Obsolete => MirrorEvent::BatchFinished(code),
        };
        self.report(event, effects);
    }

    /// The hook is repeated with the batch, so the target is paused as if it were unreachable.
    fn pause_after_hook(
        &mut self,
        failure: Failure,
        action: HookFailureAction,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let wait = self.pause_target(
            ResumePoint::Live,
            (AwayCause::Hook, action == HookFailureAction::Hold),
            now,
        );
        self.last_failure = Some(failure.clone());
        self.report(MirrorEvent::HookFailed(failure, wait), effects);
    }

    /// Handles a failed job: exits the daemon if that was asked for, otherwise pauses the target. A
    /// `FatalReason` says that no retry can succeed.
    fn fail(
        &mut self,
        purpose: JobPurpose,
        (failure, reason): (Failure, Option<FatalReason>),
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> DaemonAction {
        if let Some(event) = self.daemon_exit_event(purpose, &failure, reason) {
            self.report(event, effects);
            return DaemonAction::Exit;
        }
        self.last_failure = Some(failure.clone());
        let resume =
            if purpose == JobPurpose::Startup { ResumePoint::Starting } else { ResumePoint::Live };
        let Some(wait) = self.pause_target(resume, (AwayCause::Target, false), now) else {
            return DaemonAction::Continue;
        };
        let event = match purpose {
            JobPurpose::Startup => MirrorEvent::StartupRetry(failure, wait),
            JobPurpose::Full => MirrorEvent::FullRetry(failure, wait),
            JobPurpose::Changes | JobPurpose::Obsolete => MirrorEvent::BatchRetry(failure, wait),
        };
        self.report(event, effects);
        DaemonAction::Continue
    }

    fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(LogEvent::Mirror(self.id, event)));
    }
}
