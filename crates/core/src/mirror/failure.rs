//! Failures of jobs.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use super::{
    Away, AwayCause, DaemonAction, Insist, JobPurpose, Mirror, ResumePoint, SyncMember as _,
    TargetState,
};
use crate::{
    effect::Effect,
    job::{DirtyPath, Failure, FatalReason, HookFailureAction},
    log_event::{BatchEvent, FullEvent, MirrorEvent, StartupEvent},
    path::TreePath,
    queue::DirtySet,
    time::Moment,
};

/// The most paths whose failure reasons are kept.
const MAX_REASONS: usize = 1000;

/// Reasons of the paths that fail.
#[derive(Debug, Default)]
pub(super) struct FailureReasons(BTreeMap<TreePath, String>);

impl FailureReasons {
    /// Notes the reasons for these failed paths, which the queue knows already.
    pub(super) fn note(&mut self, failed: &[(DirtyPath, Failure)], queue: &DirtySet) {
        if self.0.len() + failed.len() > MAX_REASONS {
            let backing_off: BTreeSet<_> =
                queue.backing_off().map(|(dirty, _)| dirty.path).collect();
            self.0.retain(|path, _| backing_off.contains(path));
        }
        let room = MAX_REASONS.saturating_sub(self.0.len());
        for (dirty, failure) in failed.iter().take(room) {
            self.0.insert(dirty.path.clone(), failure.message.clone());
        }
    }
}

/// A job that failed.
#[derive(Debug)]
pub(super) struct FailedJob {
    pub(super) purpose: JobPurpose,
    pub(super) failure: Failure,
    /// The reason why no retry can succeed, if there is one.
    pub(super) reason: Option<FatalReason>,
}

impl Mirror {
    /// The reason for the last failure of this path, which is backing off, if known.
    #[must_use]
    pub fn reason(&self, path: &TreePath) -> Option<&str> {
        self.failure_reasons.0.get(path).map(String::as_str)
    }

    /// Retries failed paths at once. Returns false if there are none.
    pub(crate) fn retry_failed(&mut self, now: Moment) -> bool {
        let has_failed = self.queue.backing_off().next().is_some();
        self.queue.retry_now(now);
        has_failed
    }

    /// The hook is repeated with the batch, so the target is paused as if it were unreachable.
    pub(super) fn pause_after_hook(
        &mut self,
        failure: Failure,
        action: HookFailureAction,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let wait = match action {
            HookFailureAction::Retry => self.pause_target(ResumePoint::Live, AwayCause::Hook, now),
            HookFailureAction::Hold => {
                self.hold_target(ResumePoint::Live, AwayCause::Hook);
                None
            }
        };
        self.last_failure = Some(failure.clone());
        self.report(MirrorEvent::HookFailed(failure, wait), effects);
    }

    /// Handles a failed job: exits the daemon if that was asked for, otherwise pauses the target.
    pub(super) fn fail(
        &mut self,
        job: FailedJob,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> DaemonAction {
        if let Some(event) = self.daemon_exit_event(&job) {
            self.report(event, effects);
            return DaemonAction::Exit;
        }
        let FailedJob { purpose, failure, reason: _ } = job;
        self.last_failure = Some(failure.clone());
        let resume =
            if purpose == JobPurpose::Startup { ResumePoint::Starting } else { ResumePoint::Live };
        let Some(wait) = self.pause_target(resume, AwayCause::Target, now) else {
            return DaemonAction::Continue;
        };
        let event = match purpose {
            JobPurpose::Startup => MirrorEvent::Startup(StartupEvent::Retry(failure, wait)),
            JobPurpose::Full => MirrorEvent::Full(FullEvent::Retry(failure, wait)),
            JobPurpose::Changes | JobPurpose::Obsolete => {
                MirrorEvent::Batch(BatchEvent::Retry(failure, wait))
            }
        };
        self.report(event, effects);
        DaemonAction::Continue
    }

    /// Pauses the target for a while. Returns the duration, `None` if only an operator resumes it.
    ///
    /// Of several jobs that fail together, only the first lengthens the pause.
    pub(super) fn pause_target(
        &mut self,
        resume: ResumePoint,
        cause: AwayCause,
        now: Moment,
    ) -> Option<Duration> {
        let until = match self.target {
            TargetState::Away(away) => away.until,
            TargetState::Starting | TargetState::Live => {
                let until = now + self.retry.next_wait();
                self.target = TargetState::Away(Away { until, resume, cause });
                until
            }
        };
        (until != Moment::NEVER).then(|| until - now)
    }

    /// Pauses the target until an operator resumes it.
    pub(super) fn hold_target(&mut self, resume: ResumePoint, cause: AwayCause) {
        self.target = TargetState::Away(Away { until: Moment::NEVER, resume, cause });
    }

    /// The event to report if the daemon exits for this failure. `None` if it continues: once a
    /// mirror has been live, only the user's own `die` exits the daemon.
    pub(super) fn daemon_exit_event(&self, job: &FailedJob) -> Option<MirrorEvent> {
        let failure = job.failure.clone();
        let is_asked_for = job.reason == Some(FatalReason::User);
        match job.purpose {
            JobPurpose::Startup => {
                let exits = match self.settings.insist {
                    Insist::No => true,
                    Insist::Yes => job.reason.is_some(),
                    Insist::Always => is_asked_for,
                };
                let event = match job.reason {
                    Some(reason) => StartupEvent::Fatal(failure, reason),
                    None => StartupEvent::GivenUp(failure),
                };
                exits.then_some(MirrorEvent::Startup(event))
            }
            JobPurpose::Full => {
                is_asked_for.then_some(MirrorEvent::Full(FullEvent::Fatal(failure)))
            }
            JobPurpose::Changes | JobPurpose::Obsolete => {
                is_asked_for.then_some(MirrorEvent::Batch(BatchEvent::Fatal(failure)))
            }
        }
    }
}
