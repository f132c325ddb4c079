//! What follows when a job of a mirror fails.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
};
use core::time::Duration;

use super::{Away, Cause, Insist, Mirror, Purpose, Resume, State};
use crate::{
    event::MirrorEvent,
    job::{Failure, Grounds, Place},
    path::TreePath,
    queue::Places,
    time::Moment,
};

/// The most places of which it is known why they failed.
const MOST_REASONS: usize = 1000;

/// Why places failed, as far as they still do.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeMap<TreePath, String>);

impl Reasons {
    /// Notes why these places failed, of which the queue knows already.
    pub(super) fn note(&mut self, failed: &[(Place, Failure)], queue: &Places) {
        if self.0.len() + failed.len() > MOST_REASONS {
            let resting: BTreeSet<_> = queue.resting().map(|(place, _)| place.path).collect();
            self.0.retain(|path, _| resting.contains(path));
        }
        let room = MOST_REASONS.saturating_sub(self.0.len());
        for (place, failure) in failed.iter().take(room) {
            self.0.insert(place.path.clone(), failure.why.clone());
        }
    }
}

impl Mirror {
    /// Why this place, which rests, has failed, if that is known.
    #[must_use]
    pub fn reason(&self, path: &TreePath) -> Option<&str> {
        self.reasons.0.get(path).map(String::as_str)
    }

    /// Tries at once what failed. `false` if nothing did.
    pub(crate) fn retry_failed(&mut self, now: Moment) -> bool {
        let has_failed = self.queue.resting().next().is_some();
        self.queue.retry_now(now);
        has_failed
    }

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
