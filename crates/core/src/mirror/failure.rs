//! Failures of jobs.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
};
use core::time::Duration;

use super::{Away, AwayCause, Insist, JobPurpose, Mirror, ResumePoint, TargetState};
use crate::{
    job::{DirtyPath, Failure, FatalReason},
    log_event::MirrorEvent,
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
        let insist = self.settings.insist;
        match (job.purpose, job.reason) {
            (JobPurpose::Startup, Some(FatalReason::User)) => {
                Some(MirrorEvent::StartupFatal(failure, FatalReason::User))
            }
            (JobPurpose::Full, Some(FatalReason::User)) => Some(MirrorEvent::FullFatal(failure)),
            (_, Some(FatalReason::User)) => Some(MirrorEvent::BatchFatal(failure)),
            (JobPurpose::Startup, Some(reason)) if insist != Insist::Always => {
                Some(MirrorEvent::StartupFatal(failure, reason))
            }
            (JobPurpose::Startup, None) if insist == Insist::No => {
                Some(MirrorEvent::StartupGivenUp(failure))
            }
            _ => None,
        }
    }
}
