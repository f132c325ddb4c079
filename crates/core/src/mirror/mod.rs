//! One sync: source, target, queue and state.
//!
//! A mirror only decides; it neither watches nor copies. Events are its input, effects its output.

mod comparison;
mod failure;
mod flush;
mod fs_events;
mod held;
mod lost_jobs;
mod retry;
mod running_job;
pub mod scripted;
mod settings;
mod source;
mod status;
mod sync_member;
mod target;

use alloc::vec::Vec;
use core::time::Duration;

use failure::{FailedJob, FailureReasons};
pub use flush::{FlushMark, FlushProgress};
use held::{CountedPaths, HeldGroup};
use lost_jobs::LostReceivers;
#[cfg(test)]
pub(crate) use lost_jobs::RECEIVER_TIME;
pub use lost_jobs::TargetHost;
pub use retry::MAX_RETRY_WAIT;
use retry::RetryBackoff;
use running_job::{JobPurpose, RunningJob};
pub(crate) use running_job::{large_files, settlement};
use settings::FirstTransfer;
pub use settings::{Connection, Insist, MirrorSettings};
use source::CoverageStart;
pub use source::{Availability, SourceCheck, SourceState};
pub use status::{Backlog, Delay, DelayKind};
pub use sync_member::SyncMember;
pub use target::{Away, AwayCause, ResumePoint, TargetState};

use crate::{
    effect::Effect,
    fs_event::{FsEventKind, MirrorId},
    input::TargetLink,
    job::{DirtyPath, Failure, Job, JobEnd, JobId, Outcome, Scope},
    log_event::{BatchEvent, FullEvent, MirrorEvent, StartupEvent},
    path::TreePath,
    queue::{Batch, Debounce, DirtySet, OpenFiles, PathSet, Settled},
    time::Moment,
};

/// The shortest wait before a failed job is retried.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The exit code of rsync for a partial transfer: `rsync(1)`.
const PARTIAL_TRANSFER: i32 = 23;

/// One sync.
#[derive(Debug)]
pub struct Mirror {
    settings: MirrorSettings,
    source: SourceState,
    target: TargetState,
    first: FirstTransfer,
    queue: DirtySet,
    /// Files that are kept out of the queue because they are being written.
    open: OpenFiles,
    running: Vec<RunningJob>,
    lost_receivers: LostReceivers,
    retry: RetryBackoff,
    /// The failure of the last job, if it failed.
    last_failure: Option<Failure>,
    /// Deletions held for an operator.
    held: Vec<HeldGroup>,
    /// True if an operator has changed the budget since the deletions were held.
    is_released: bool,
    failure_reasons: FailureReasons,
    /// True if an operator has paused it: no job is started.
    is_paused: bool,
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
            source: SourceState::new(id),
            target: if settings.init { TargetState::Starting } else { TargetState::Live },
            first: settings.first_transfer(),
            queue: DirtySet::new(settings.debounce).tracking(settings.has_snapshots),
            open: OpenFiles::new(settings.open_wait),
            running: Vec::new(),
            lost_receivers: LostReceivers::new(settings.host),
            retry: RetryBackoff::new(first, settings.host, u64::from(id.0) + 1),
            last_failure: None,
            held: Vec::new(),
            is_released: false,
            failure_reasons: FailureReasons::default(),
            is_paused: false,
            settings,
        }
    }

    /// The state of the target.
    #[must_use]
    pub const fn target(&self) -> TargetState {
        self.target
    }

    /// Returns true if changes are transferred as they become due.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.source.is_covered() && self.target == TargetState::Live
    }

    /// The paths that wait or are being transferred.
    #[must_use]
    pub const fn queue(&self) -> &DirtySet {
        &self.queue
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

    /// Returns true if one more job may start. The first transfer runs alone, and so does a later
    /// full one, because the queue has nothing else to dispatch then.
    fn has_room(&self) -> bool {
        let most = if self.target == TargetState::Starting { 1 } else { self.settings.max_jobs };
        self.running.len() < most
            && self.settings.target_link == TargetLink::Up
            && !self.is_paused
            && !self.awaits_comparison()
    }

    /// Returns true if the extent of the first transfer is not known yet.
    fn awaits_comparison(&self) -> bool {
        self.first == FirstTransfer::Unknown && self.target == TargetState::Starting
    }

    /// Returns true if a large file may start: one job is reserved for the small ones.
    fn has_room_for_large(&self) -> bool {
        let large = self.running.iter().filter(|running| running.batch.is_large()).count();
        self.has_room() && large + 1 < self.settings.max_jobs.max(2)
    }

    fn take_next(&mut self, now: Moment) -> Option<Batch> {
        for (path, since) in self.open.take_due(now) {
            self.queue.mark_written(&path, Scope::Entry, since);
        }
        let batch = self.queue.take_due(now);
        if batch.is_none() && self.has_room_for_large() {
            self.queue.take_large(now)
        } else {
            batch
        }
    }

    /// Handles the end of a job.
    pub fn job_ended(
        &mut self,
        end: JobEnd,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> DaemonAction {
        let JobEnd { job, outcome, is_full } = end;
        let Some(at) = self.running.iter().position(|running| running.job == job) else {
            return DaemonAction::Continue;
        };
        let running = self.running.remove(at);
        self.note_receivers(&running, &outcome, now);
        if running.is_inconclusive(&outcome) {
            self.queue.settle(running.batch, Settled::Nothing, now);
            return DaemonAction::Continue;
        }
        let purpose = running.purpose;
        let paths = running.compared_paths(is_full);
        let (settled, large) = (settlement(&outcome), large_files(&outcome));
        let is_startup = purpose == JobPurpose::Startup;
        let left = if is_startup { settled.left(&large) } else { PathSet::default() };
        self.queue.settle_with_large(running.batch, settled, large, now);
        self.queue.note_left_by_startup(left);
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
                self.update_held(purpose, CountedPaths { paths, held }, now, effects);
                self.report_success(purpose, 0, effects);
                self.pause_after_hook(failure, action, now, effects);
                return DaemonAction::Continue;
            }
            Outcome::Retry(failure) => {
                return self.fail(FailedJob { purpose, failure, reason: None }, now, effects);
            }
            Outcome::Fatal(failure, reason) => {
                let reason = Some(reason);
                return self.fail(FailedJob { purpose, failure, reason }, now, effects);
            }
        };
        if self.target == TargetState::Starting {
            self.target = TargetState::Live;
        }
        let code = self.note_failed(failed, effects);
        self.update_held(purpose, CountedPaths { paths, held }, now, effects);
        self.succeed(purpose, code, effects);
        DaemonAction::Continue
    }

    /// Notes the paths that a job has failed on. Returns the exit code of the job.
    fn note_failed(&mut self, failed: Vec<(DirtyPath, Failure)>, effects: &mut Vec<Effect>) -> i32 {
        let Some((_, first)) = failed.first() else { return 0 };
        // A failure outside of rsync is a partial transfer, too.
        let code = first.code.unwrap_or(PARTIAL_TRANSFER);
        self.failure_reasons.note(&failed, &self.queue);
        self.report(MirrorEvent::PathsFailed(failed), effects);
        code
    }

    fn succeed(&mut self, purpose: JobPurpose, code: i32, effects: &mut Vec<Effect>) {
        // Other jobs may still fail. One success must not retry the failures at once: a permanent
        // failure would be retried without a pause.
        if self.running.is_empty() && !matches!(self.target, TargetState::Away(_)) {
            self.retry.reset();
            if self.last_failure.take().is_some() {
                self.report(MirrorEvent::Recovered, effects);
            }
        }
        self.report_success(purpose, code, effects);
    }

    fn report_success(&self, purpose: JobPurpose, code: i32, effects: &mut Vec<Effect>) {
        let event = match purpose {
            JobPurpose::Startup => MirrorEvent::Startup(StartupEvent::Finished(code)),
            JobPurpose::Full => MirrorEvent::Full(FullEvent::Finished(code)),
            JobPurpose::Changes | JobPurpose::Obsolete => {
                MirrorEvent::Batch(BatchEvent::Finished(code))
            }
        };
        self.report(event, effects);
    }
}

impl SyncMember for Mirror {
    fn source(&self) -> &SourceState {
        &self.source
    }

    fn source_mut(&mut self) -> &mut SourceState {
        &mut self.source
    }

    fn jobs(&self) -> Vec<JobId> {
        self.running.iter().map(|running| running.job).collect()
    }

    fn job_count(&self) -> usize {
        self.running.len()
    }

    fn connection(&self) -> Option<&Connection> {
        self.settings.connection.as_ref()
    }

    /// The source has to be transferred, except if it is watched for the first time and `init` is
    /// off.
    fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.source.covered(effects) {
            None => {}
            Some(CoverageStart::First) if self.target == TargetState::Live => {}
            Some(CoverageStart::First) if self.awaits_comparison() => {
                effects.push(Effect::Compare(self.id()));
            }
            Some(start) => {
                if start == CoverageStart::Resumed {
                    // Nobody has seen what changed meanwhile.
                    self.queue.touch(&TreePath::root(), Scope::Tree);
                    self.lost_receivers.changed(&TreePath::root(), Scope::Tree, false);
                }
                self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
            }
        }
    }

    fn suspend(&mut self, effects: &mut Vec<Effect>) {
        self.first = FirstTransfer::Full;
        self.target.resume();
        for running in &mut self.running {
            running.purpose = JobPurpose::Obsolete;
            self.lost_receivers.job_lost();
            effects.push(Effect::Stop(running.job));
        }
        // Deletions observed while the source disappears are no proof that somebody deleted
        // something.
        self.queue.forget_deletions();
        self.suspend_held();
    }

    fn set_target_link(&mut self, link: TargetLink, now: Moment, effects: &mut Vec<Effect>) {
        match (core::mem::replace(&mut self.settings.target_link, link), link) {
            (TargetLink::Down, TargetLink::Up) => {
                self.retry.reset();
                if let TargetState::Away(Away { until, cause: AwayCause::Target, .. }) =
                    &mut self.target
                {
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

    fn on_fs_event(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        self.apply(event, now, effects);
    }

    fn on_predecessor_gone(&mut self) {
        // Deletions observed while the source disappears are no proof that somebody deleted
        // something.
        self.queue.forget_deletions();
    }

    fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.report(MirrorEvent::Full(FullEvent::Due), effects);
        if !self.running.iter().any(RunningJob::is_full) {
            self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
        }
    }

    fn resync(&mut self, path: &TreePath, now: Moment, _: &mut Vec<Effect>) {
        if !path.is_root() {
            return self.queue.mark_due(path, Scope::Tree, now);
        }
        if !self.running.iter().any(RunningJob::is_full) {
            self.queue.mark_due(path, Scope::Tree, now);
        }
    }

    fn release(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.accept_held(now);
        self.retry_now(now, effects);
    }

    fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    fn begin_flush(&mut self, path: TreePath, now: Moment) -> FlushMark {
        self.make_due(now);
        self.flush_mark(path, now)
    }

    fn retry_for_flush(&mut self, now: Moment) {
        self.make_due(now);
    }

    fn flush_progress(&self, mark: &mut FlushMark, now: Moment) -> FlushProgress {
        self.progress(mark, now)
    }

    fn retry_now(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.queue.retry_now(now);
        self.source.retry_now(effects);
        if let TargetState::Away(away) = &mut self.target {
            away.until = now;
        }
    }

    fn target_back(&mut self, now: Moment) {
        if let TargetState::Away(Away { until, cause: AwayCause::Target, .. }) = &mut self.target
            && *until != Moment::NEVER
        {
            *until = now.min(*until);
        }
        self.queue.retry_now(now);
    }

    fn advance(&mut self, job: Option<JobId>, now: Moment, effects: &mut Vec<Effect>) -> bool {
        self.source.advance(now, effects);
        let is_ready = self.source.is_covered() && self.has_room();
        let Some(job) = job.filter(|_| is_ready) else { return false };
        if matches!(self.target, TargetState::Away(away) if away.until > now) {
            return false;
        }
        self.target.resume();
        self.compare_again_after_lost_jobs(now, effects);
        let is_startup = self.target == TargetState::Starting;
        let batch = if is_startup { self.queue.take_all(now) } else { self.take_next(now) };
        let Some(batch) = batch else { return false };
        let is_full = batch.covers_root();
        let held = self.held_before(batch.paths(), is_full);
        let purpose = if is_startup { JobPurpose::Startup } else { JobPurpose::of(&batch) };
        let work = if is_startup && is_full { batch.full_work(held) } else { batch.work(held) };
        let oldest = batch.oldest();
        effects.push(Effect::Start(Job { id: job, mirror: self.id(), work, oldest }));
        self.running.push(RunningJob { job, batch, purpose, link_lost: false });
        true
    }

    fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        if !self.source.is_covered() {
            return self.source.next_check();
        }
        if !may_start || !self.has_room() {
            return None;
        }
        match self.target {
            TargetState::Starting => Some(Moment::ORIGIN),
            TargetState::Live if self.has_room_for_large() && self.queue.has_large() => {
                Some(Moment::ORIGIN)
            }
            TargetState::Live => {
                let receivers = self.lost_receivers.due();
                let due = [self.queue.next_due(), self.open.next_due(), receivers];
                due.into_iter().flatten().min()
            }
            TargetState::Away(away) => Some(away.until).filter(|&until| until != Moment::NEVER),
        }
    }
}
