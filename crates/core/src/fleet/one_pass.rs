//! The end of a one-pass run.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{EXIT_FAILURE, Fleet, FleetPhase, Member};
use crate::{
    effect::Effect,
    fs_event::MirrorId,
    log_event::LogEvent,
    mirror::{DelayKind, Mirror, SyncMember, TargetState, scripted::OnePassStatus},
    path::TreePath,
    time::Moment,
};

/// The most paths that are reported of a mirror.
const MAX_NAMES: usize = 20;

/// Progress of a one-pass run.
#[derive(Debug, Default)]
pub(super) enum OnePassState {
    /// Everything is transferred for the first time.
    #[default]
    First,
    /// The failures are retried once. These mirrors have not started their retry yet.
    Retry(BTreeSet<MirrorId>),
}

impl OnePassState {
    /// Notes that this mirror has started a job.
    pub(super) fn started(&mut self, id: MirrorId) {
        if let Self::Retry(waiting) = self {
            waiting.remove(&id);
        }
    }
}

impl Fleet {
    /// Ends a one-pass run if it is over: with success if everything is on the target.
    ///
    /// Later changes are not part of the run. Failures are retried once.
    pub(super) fn end_onepass(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.limits.onepass {
            return;
        }
        if self.mirrors.iter().any(needs_operator) {
            // The source or target may never come back, and the run must not take for ever.
            self.phase = FleetPhase::Draining { until: now, code: EXIT_FAILURE };
            return;
        }
        let is_second = match &self.one_pass {
            OnePassState::First => false,
            OnePassState::Retry(waiting) if waiting.is_empty() => true,
            OnePassState::Retry(_) => return,
        };
        if !self.retiring.is_empty() || !self.mirrors.iter().all(|it| is_over(it, is_second)) {
            return self.exit_if_only_failures_left(now, effects);
        }
        let failed: BTreeSet<_> =
            self.mirrors().filter(|it| has_failed(it)).map(Mirror::id).collect();
        if failed.is_empty() {
            effects.push(Effect::Report(LogEvent::OnepassDone));
            self.end(0, effects);
        } else if is_second {
            for mirror in self.mirrors().filter(|it| has_failed(it)) {
                let (names, count) = missing_paths(mirror);
                effects.push(Effect::Report(LogEvent::OnepassLeft(mirror.id(), names, count)));
            }
            self.end(EXIT_FAILURE, effects);
        } else {
            self.try_again(&failed, now, effects);
        }
    }

    fn try_again(&mut self, failed: &BTreeSet<MirrorId>, now: Moment, effects: &mut Vec<Effect>) {
        let mut waiting = BTreeSet::new();
        for member in &mut self.mirrors {
            if let Some(mirror) = member.built_in_mut()
                && failed.contains(&mirror.id())
                && mirror.retry_failed(now)
            {
                waiting.insert(mirror.id());
            }
        }
        self.one_pass = OnePassState::Retry(waiting);
        self.start_jobs(now, effects);
        // If there are only held deletions, there is nothing to retry.
        self.end_onepass(now, effects);
    }
}

/// Returns true if the mirror has nothing more to do in this run.
pub(super) fn is_over(member: &Member, is_second: bool) -> bool {
    let mirror = match member {
        Member::BuiltIn(mirror) => mirror,
        Member::Scripted(mirror) => return mirror.one_pass() == OnePassStatus::Done,
    };
    let is_over = match mirror.target() {
        TargetState::Starting => false,
        TargetState::Live => mirror.source().is_covered(),
        TargetState::Away(_) => is_second,
    };
    is_over && !mirror.is_busy() && !mirror.queue().has_large()
}

/// Returns true if a part of the source is known to be missing on the target.
fn has_failed(mirror: &Mirror) -> bool {
    let is_away = matches!(mirror.target(), TargetState::Away(_));
    is_away || mirror.held().next().is_some() || mirror.queue().backing_off().next().is_some()
}

/// The first paths that are not on the target, and their number.
fn missing_paths(mirror: &Mirror) -> (Vec<TreePath>, usize) {
    let backing_off = mirror.queue().counts().backing_off;
    if backing_off > 0 {
        let names = mirror.queue().backing_off().take(MAX_NAMES).map(|(dirty, _)| dirty.path);
        return (names.collect(), backing_off);
    }
    let path = |what| match what {
        DelayKind::Init | DelayKind::Full => TreePath::root(),
        DelayKind::Path(dirty) => dirty.path,
    };
    let names = mirror.delays().take(MAX_NAMES).map(|delay| path(delay.kind));
    (names.collect(), mirror.delay_count())
}

/// Returns true if the mirror can't continue without an operator.
fn needs_operator(member: &Member) -> bool {
    let is_on_hold = member.built_in().is_some_and(
        |mirror| matches!(mirror.target(), TargetState::Away(away) if away.until == Moment::NEVER),
    );
    is_on_hold || member.source().is_gone()
}
