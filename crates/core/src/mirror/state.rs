//! States of a mirror.

use alloc::{borrow::ToOwned, string::String};

use super::SOURCE_CHECK_INTERVAL;
use crate::time::Moment;

/// The state of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The watches of the source are being set up for the first time.
    Covering,
    /// The first full transfer is due or runs; later changes are queued behind it.
    Starting,
    /// Changes are transferred as they become due.
    Live,
    /// The target is unreachable, or the hook failed; it is retried.
    Away(Away),
    /// The source is gone. Nothing is done, least of all a delete, until it is back.
    Held {
        /// The reason.
        reason: String,
        /// The next check of the source.
        check: SourceCheck,
        /// The state that follows when it is back.
        resume: ResumePoint,
    },
}

/// A target that is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// The time of the next try. [`Moment::NEVER`]: on request only.
    pub until: Moment,
    /// The state that follows.
    pub resume: ResumePoint,
    /// The reason.
    pub cause: AwayCause,
}

/// Reasons to pause a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwayCause {
    /// It is unreachable or not writable.
    Target,
    /// The user's hook after a batch failed.
    Hook,
}

/// The state that follows when a target or a source is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// The first full transfer.
    Starting,
    /// The transfer of changes.
    Live,
}

/// The next check whether a source is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceCheck {
    /// It is due at this time.
    At(Moment),
    /// It was requested, and the answer is outstanding.
    Pending,
}

impl State {
    /// Notes that the source is still gone, and schedules the next check. Returns true if the
    /// reason has changed; `None` if the source was not known to be gone.
    pub(super) fn note_still_gone(&mut self, reason: &str, now: Moment) -> Option<bool> {
        let Self::Held { reason: known, check, .. } = self else { return None };
        *check = SourceCheck::At(now + SOURCE_CHECK_INTERVAL);
        let is_other = known != reason;
        if is_other {
            reason.clone_into(known);
        }
        Some(is_other)
    }
}

impl SourceCheck {
    /// Returns true if a check is due, and notes that it was requested.
    pub(super) fn start_if_due(&mut self, now: Moment) -> bool {
        let is_due = matches!(self, Self::At(at) if *at <= now);
        if is_due {
            *self = Self::Pending;
        }
        is_due
    }
}

impl From<ResumePoint> for State {
    fn from(resume: ResumePoint) -> Self {
        match resume {
            ResumePoint::Starting => Self::Starting,
            ResumePoint::Live => Self::Live,
        }
    }
}
