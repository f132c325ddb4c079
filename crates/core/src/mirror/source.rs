//! The source of a mirror: watched, or gone until it is back.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{
    effect::Effect,
    fs_event::MirrorId,
    log_event::{LogEvent, MirrorEvent, SourceEvent},
    time::Moment,
};

/// The interval of checks whether a lost source is back.
const SOURCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The source of a mirror, as its watch backend reports it.
#[derive(Debug)]
pub struct SourceState {
    mirror: MirrorId,
    availability: Availability,
    /// True if it does not answer although it is there.
    is_silent: bool,
}

/// Reason for which changes of a silent source are unknown.
const SILENT: &str = "it does not answer: its server or its FUSE program hangs";

/// Availability of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Its watches are being set up for the first time.
    Covering,
    /// It is watched.
    Covered,
    /// It is gone. Nothing is done, least of all a delete, until it is back.
    Gone {
        /// The reason.
        reason: String,
        /// The next check.
        check: SourceCheck,
    },
}

/// The next check whether a source is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceCheck {
    /// It is due at this time.
    At(Moment),
    /// It was requested, and the answer is outstanding.
    Pending,
}

/// A start of watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoverageStart {
    /// The source was never watched before.
    First,
    /// The source was gone.
    Resumed,
}

impl SourceState {
    /// The source of a mirror that has not begun yet.
    pub(super) const fn new(mirror: MirrorId) -> Self {
        Self { mirror, availability: Availability::Covering, is_silent: false }
    }

    /// The mirror of this source.
    #[must_use]
    pub const fn mirror(&self) -> MirrorId {
        self.mirror
    }

    /// The availability.
    #[must_use]
    pub const fn availability(&self) -> &Availability {
        &self.availability
    }

    /// Returns the reason for which it is gone, or changes of it may be unknown.
    #[must_use]
    pub fn why_unavailable(&self) -> Option<&str> {
        match &self.availability {
            Availability::Gone { reason, .. } => Some(reason),
            Availability::Covering | Availability::Covered => self.is_silent().then_some(SILENT),
        }
    }

    /// Returns true if it does not answer although it is there.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.is_silent && !self.is_gone()
    }

    /// Notes that the source does not answer, or answers again.
    pub(crate) fn set_answers(&mut self, answers: bool, effects: &mut Vec<Effect>) {
        let is_silent = !answers;
        if core::mem::replace(&mut self.is_silent, is_silent) != is_silent && !self.is_gone() {
            let event = if is_silent { SourceEvent::Silent } else { SourceEvent::Answers };
            self.report(MirrorEvent::Source(event), effects);
        }
    }

    /// Returns true if the source is watched.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.availability == Availability::Covered
    }

    /// Returns true if the source is gone.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self.availability, Availability::Gone { .. })
    }

    /// Requests to watch the source; everything else follows from the answer.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.availability = Availability::Covering;
        effects.push(Effect::Cover(self.mirror));
    }

    /// Notes that the source is watched. A second answer to one request adds nothing: `None`.
    pub(super) fn covered(&mut self, effects: &mut Vec<Effect>) -> Option<CoverageStart> {
        let start = match core::mem::replace(&mut self.availability, Availability::Covered) {
            Availability::Covering => CoverageStart::First,
            Availability::Covered => return None,
            Availability::Gone { .. } => {
                self.report(MirrorEvent::Source(SourceEvent::Back), effects);
                CoverageStart::Resumed
            }
        };
        Some(start)
    }

    /// Notes that the source can't be watched: it is missing, or is not the pinned directory.
    /// Returns true if it was not known to be gone.
    pub(super) fn cannot_cover(
        &mut self,
        reason: String,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Availability::Gone { reason: known, check } = &mut self.availability else {
            return self.lose(reason, now, effects);
        };
        *check = SourceCheck::At(now + SOURCE_CHECK_INTERVAL);
        if *known != reason {
            known.clone_from(&reason);
            self.report(MirrorEvent::Source(SourceEvent::StillGone(reason)), effects);
        }
        false
    }

    /// Notes that the source is gone. Returns true if that was not known.
    pub(super) fn lose(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) -> bool {
        if self.is_gone() {
            return false;
        }
        effects.push(Effect::Uncover(self.mirror));
        self.report(MirrorEvent::Source(SourceEvent::Gone(reason.clone())), effects);
        let check = SourceCheck::At(now + SOURCE_CHECK_INTERVAL);
        self.availability = Availability::Gone { reason, check };
        true
    }

    /// Checks at once whether a lost source is back.
    pub(super) fn retry_now(&mut self, effects: &mut Vec<Effect>) {
        if let Availability::Gone { check, .. } = &mut self.availability {
            *check = SourceCheck::Pending;
            effects.push(Effect::Cover(self.mirror));
        }
    }

    /// The time of the next check whether the source is back.
    pub(super) const fn next_check(&self) -> Option<Moment> {
        match self.availability {
            Availability::Gone { check: SourceCheck::At(at), .. } => Some(at),
            Availability::Gone { check: SourceCheck::Pending, .. }
            | Availability::Covering
            | Availability::Covered => None,
        }
    }

    /// Requests a check that is due.
    pub(super) fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.next_check().is_some_and(|at| at <= now) {
            self.retry_now(effects);
        }
    }

    /// Reports an event of the mirror.
    pub(super) fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(LogEvent::Mirror(self.mirror, event)));
    }
}
