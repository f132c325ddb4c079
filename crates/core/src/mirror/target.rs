//! States of a target.

use crate::time::Moment;

/// The state of a target. While the source is gone, it says what follows when that is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// The first full transfer is due or runs; later changes are queued behind it.
    Starting,
    /// Changes are transferred as they become due.
    Live,
    /// The target is unreachable, or the hook failed; it is retried.
    Away(Away),
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

/// The state that follows when a target is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// The first full transfer.
    Starting,
    /// The transfer of changes.
    Live,
}

impl TargetState {
    /// The state without or after a pause.
    pub(super) const fn resume_point(self) -> ResumePoint {
        match self {
            Self::Starting => ResumePoint::Starting,
            Self::Live => ResumePoint::Live,
            Self::Away(away) => away.resume,
        }
    }

    /// Ends a pause.
    pub(super) fn resume(&mut self) {
        *self = self.resume_point().into();
    }
}

impl From<ResumePoint> for TargetState {
    fn from(resume: ResumePoint) -> Self {
        match resume {
            ResumePoint::Starting => Self::Starting,
            ResumePoint::Live => Self::Live,
        }
    }
}
