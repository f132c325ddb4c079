//! Flush of one mirror: its marks, its progress and its obstacles.

use alloc::string::String;

use super::{Availability, Away, AwayCause, Mirror, TargetState};
use crate::{
    flush::FlushObstacle,
    input::TargetLink,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{Stage, event_queue::QueueMark},
    time::Moment,
};

/// The changes that a flush waits for.
#[derive(Clone, Debug)]
pub struct FlushMark {
    pub(super) path: TreePath,
    /// The changes reported at this time and before.
    since: Moment,
    /// Of a scripted mirror: the events before. `None` while directories are listed whose entries
    /// belong to it.
    pub(super) end: Option<QueueMark>,
    /// True if the source is or was not watched, or not compared with a snapshot: when it is, marks
    /// are for changes of any age.
    is_interrupted: bool,
}

impl FlushMark {
    /// The changes at and below `path` that were reported up to `now`.
    pub(super) const fn new(path: TreePath, now: Moment) -> Self {
        Self { path, since: now, end: None, is_interrupted: false }
    }

    /// The path.
    #[must_use]
    pub const fn path(&self) -> &TreePath {
        &self.path
    }
}

/// Progress of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlushProgress {
    /// Everything is on the target.
    Done,
    /// It is on its way. The obstacle explains an answer that must not wait any longer.
    Waiting(FlushObstacle),
    /// Something is in the way.
    Blocked(FlushObstacle),
}

/// Flush of a mirror with a built-in target.
impl Mirror {
    /// Makes everything due that is pending: also files that are being written, as they are, and
    /// what is backing off. A target that waits for an operator stays as it is.
    pub(super) fn make_due(&mut self, now: Moment) {
        for (path, since) in self.open.take_all() {
            self.queue.mark_written(&path, Scope::Entry, since);
        }
        // What an operator asks for says nothing about the target.
        self.retry.reset();
        self.queue.retry_now(now);
        self.queue.make_due(now);
        if let TargetState::Away(away) = &mut self.target
            && away.until != Moment::NEVER
        {
            away.until = now;
        }
    }

    /// Returns a mark of all changes up to now.
    pub(super) fn flush_mark(&self, path: TreePath, now: Moment) -> FlushMark {
        FlushMark { is_interrupted: self.is_unread(), ..FlushMark::new(path, now) }
    }

    /// Returns true if marks are still to come for changes that happened before.
    fn is_unread(&self) -> bool {
        !self.source.is_covered() || self.awaits_comparison()
    }

    pub(super) fn progress(&self, mark: &mut FlushMark, now: Moment) -> FlushProgress {
        if self.is_unread() {
            mark.is_interrupted = true;
        } else if core::mem::take(&mut mark.is_interrupted) {
            mark.since = now;
        }
        if let Some(obstacle) = self.obstacle(now) {
            return FlushProgress::Blocked(obstacle);
        }
        if !self.source.is_covered() {
            return FlushProgress::Waiting(FlushObstacle::SettingUp);
        }
        if self.is_starting() {
            return FlushProgress::Waiting(FlushObstacle::Unfinished(None));
        }
        let is_old = |at: Option<Moment>| at.is_some_and(|at| at <= mark.since);
        let is_open = is_old(self.open.oldest()) && self.open.has_within(&mark.path);
        let is_moving = is_old(self.queue.oldest_moving()) && self.queue.moves_within(&mark.path);
        if is_open || is_moving {
            return FlushProgress::Waiting(FlushObstacle::Unfinished(self.pending_count()));
        }
        if is_old(self.queue.oldest())
            && let Some(progress) = self.failed_progress(&mark.path)
        {
            return progress;
        }
        let is_held = |path: &TreePath| path.contains(&mark.path) || mark.path.contains(path);
        let held = self.held().filter(|held| held.paths.iter().any(|it| is_held(&it.path)));
        match held.map(|held| held.count).sum() {
            0 => FlushProgress::Done,
            count => FlushProgress::Blocked(FlushObstacle::DeletionsHeld(count)),
        }
    }

    fn pending_count(&self) -> Option<usize> {
        (!self.queue.covers_root()).then(|| self.delay_count())
    }

    /// The obstacle of everything that waits. A target that is about to be retried is none.
    fn obstacle(&self, now: Moment) -> Option<FlushObstacle> {
        if self.is_paused {
            return Some(FlushObstacle::Paused);
        }
        if let Availability::Gone { reason, .. } = self.source.availability() {
            return Some(FlushObstacle::SourceGone(reason.clone()));
        }
        if self.settings.target_link == TargetLink::Down {
            return Some(FlushObstacle::LinkDown);
        }
        let TargetState::Away(Away { until, cause, .. }) = self.target else { return None };
        if until <= now {
            return None;
        }
        let why = self.last_failure().map_or_else(String::new, |it| it.message.clone());
        Some(match cause {
            AwayCause::Hook if until == Moment::NEVER => FlushObstacle::HookFailed(why),
            AwayCause::Hook | AwayCause::Target => FlushObstacle::TransferFailed(why),
        })
    }

    /// The progress if paths at and below `path` fail. A first failure is no obstacle: a file that
    /// vanishes during a transfer fails, too, and is settled by the retry.
    fn failed_progress(&self, path: &TreePath) -> Option<FlushProgress> {
        let is_within = |dirty: &DirtyPath| path.contains(&dirty.path) || dirty.covers(path);
        let mut failed = self.queue.backing_off().filter(|(dirty, _)| is_within(dirty)).peekable();
        let (DirtyPath { path: first, .. }, _) = failed.peek()?.clone();
        let (mut count, mut is_first_failure) = (0, false);
        for (_, stage) in failed {
            count += 1;
            is_first_failure |= matches!(stage, Stage::BackingOff { tries: 1, .. });
        }
        if is_first_failure {
            return Some(FlushProgress::Waiting(FlushObstacle::Unfinished(Some(count))));
        }
        let reason = self.reason(&first).map(String::from);
        Some(FlushProgress::Blocked(FlushObstacle::PathsFailed { count, first, reason }))
    }
}
