//! What follows when a job of a mirror fails.

use core::time::Duration;

use super::{Away, Cause, Insist, Mirror, Purpose, Resume, State};
use crate::{
    event::MirrorEvent,
    job::{Failure, Grounds},
    time::Moment,
};

impl Mirror {
    /// Leaves the target alone for a while, or until somebody says so if it is held. Returns for
    /// how long, `None` until then.
    pub(super) fn leave_alone(
        &mut self,
        resume: Resume,
        (cause, hold): (Cause, bool),
        now: Moment,
    ) -> Option<Duration> {
        let away = match self.state {
            // Of several jobs that fail together, only the first makes the pause longer.
            State::Away(away) if !hold => away,
            _ if hold => Away { until: Moment::NEVER, resume, cause },
            _ => Away { until: now + self.retry.next_wait(), resume, cause },
        };
        self.state = State::Away(away);
        (away.until != Moment::NEVER).then(|| away.until - now)
    }

    /// What is to be said of a failure for which the daemon ends. `None` if it goes on: once a
    /// mirror has been live, only the user's own word ends the daemon.
    pub(super) fn last_words(
        &self,
        purpose: Purpose,
        failure: &Failure,
        grounds: Option<Grounds>,
    ) -> Option<MirrorEvent> {
        let failure = failure.clone();
        let insist = self.settings.insist;
        match (purpose, grounds) {
            (Purpose::Startup, Some(Grounds::User)) => {
                Some(MirrorEvent::StartupFatal(failure, Grounds::User))
            }
            (Purpose::Full, Some(Grounds::User)) => Some(MirrorEvent::FullFatal(failure)),
            (_, Some(Grounds::User)) => Some(MirrorEvent::BatchFatal(failure)),
            (Purpose::Startup, Some(grounds)) if insist != Insist::Always => {
                Some(MirrorEvent::StartupFatal(failure, grounds))
            }
            (Purpose::Startup, None) if insist == Insist::No => {
                Some(MirrorEvent::StartupGivenUp(failure))
            }
            _ => None,
        }
    }
}
