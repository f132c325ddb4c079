//! How one pass ends, where that is all that is wanted.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{EXIT_FAILURE, Fleet, Member, Phase};
use crate::{
    effect::Effect,
    event::Event,
    mirror::{Mirror, State, What, scripted::OnePass},
    notice::MirrorId,
    path::TreePath,
    time::Moment,
};

/// The most names that are told of a mirror.
const MOST_NAMED: usize = 20;

/// How far one pass is.
#[derive(Debug, Default)]
pub(super) enum Pass {
    /// All is brought for the first time.
    #[default]
    First,
    /// What failed is tried once more. These have not begun with it.
    Again(BTreeSet<MirrorId>),
}

impl Pass {
    /// This mirror has started a job.
    pub(super) fn started(&mut self, id: MirrorId) {
        if let Self::Again(waiting) = self {
            waiting.remove(&id);
        }
    }
}

impl Fleet {
    /// Ends one pass, where it is over: with success if all has arrived.
    ///
    /// What has changed meanwhile is no part of it, and what failed is tried once more.
    pub(super) fn end_onepass(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.limits.onepass {
            return;
        }
        if self.mirrors.iter().any(waits_for_a_person) {
            // Nobody knows whether it ever comes back, and one pass is not to take for ever.
            self.phase = Phase::Draining { until: now, code: EXIT_FAILURE };
            return;
        }
        let is_second = match &self.pass {
            Pass::First => false,
            Pass::Again(waiting) if waiting.is_empty() => true,
            Pass::Again(_) => return,
        };
        if !self.retired.is_empty() || !self.mirrors.iter().all(|it| is_over(it, is_second)) {
            return self.give_up_what_fails(now, effects);
        }
        let failed: BTreeSet<_> =
            self.mirrors().filter(|it| has_failed(it)).map(Mirror::id).collect();
        if failed.is_empty() {
            effects.push(Effect::Report(Event::OnepassDone));
            self.end(0, effects);
        } else if is_second {
            for mirror in self.mirrors().filter(|it| has_failed(it)) {
                let (names, count) = names(mirror);
                effects.push(Effect::Report(Event::OnepassLeft(mirror.id(), names, count)));
            }
            self.end(EXIT_FAILURE, effects);
        } else {
            self.try_again(&failed, now, effects);
        }
    }

    fn try_again(&mut self, failed: &BTreeSet<MirrorId>, now: Moment, effects: &mut Vec<Effect>) {
        let mut waiting = BTreeSet::new();
        for member in &mut self.mirrors {
            if let Member::Built(mirror) = member
                && failed.contains(&mirror.id())
                && mirror.retry_failed(now)
            {
                waiting.insert(mirror.id());
            }
        }
        self.pass = Pass::Again(waiting);
        self.start_jobs(now, effects);
        // Where only deletions are held there is nothing to be tried.
        self.end_onepass(now, effects);
    }
}

/// Whether nothing more of the pass is to be done.
pub(super) fn is_over(member: &Member, is_second: bool) -> bool {
    let mirror = match member {
        Member::Built(mirror) => mirror,
        Member::Scripted(mirror) => return mirror.one_pass() == OnePass::Done,
    };
    let is_over = match mirror.state() {
        State::Live => true,
        State::Away(_) => is_second,
        State::Covering | State::Starting | State::Held { .. } => false,
    };
    is_over && !mirror.is_busy() && !mirror.queue().has_large()
}

/// Whether something of the source is known not to be on the target.
fn has_failed(mirror: &Mirror) -> bool {
    let is_away = matches!(mirror.state(), State::Away(_));
    is_away || !mirror.held().is_empty() || mirror.queue().resting().next().is_some()
}

/// What is not on the target: the first names, and how many there are.
fn names(mirror: &Mirror) -> (Vec<TreePath>, usize) {
    let resting = mirror.queue().counts().resting;
    if resting > 0 {
        let names = mirror.queue().resting().take(MOST_NAMED).map(|(place, _)| place.path);
        return (names.collect(), resting);
    }
    let path = |what| match what {
        What::Init | What::Full => TreePath::root(),
        What::Place(place) => place.path,
    };
    let names = mirror.delays().take(MOST_NAMED).map(|delay| path(delay.what));
    (names.collect(), mirror.delay_count())
}

/// Whether only somebody from outside can bring it on.
fn waits_for_a_person(mirror: &Member) -> bool {
    match mirror.state() {
        State::Held { .. } => true,
        State::Away(away) => away.until == Moment::NEVER,
        State::Covering | State::Starting | State::Live => false,
    }
}
