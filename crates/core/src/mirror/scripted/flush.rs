//! Flush of a scripted mirror.

use alloc::string::ToString as _;

use super::{ScriptPhase, ScriptedMirror};
use crate::{
    flush::FlushObstacle,
    fs_event::EntryKind,
    input::TargetLink,
    mirror::{Availability, FlushMark, FlushProgress, SyncMember as _},
    path::TreePath,
    queue::event_queue::{EventStatus, QueuedEvent},
    time::Moment,
};

impl ScriptedMirror {
    /// Makes all queued events due at once.
    pub(super) fn make_due(&mut self) {
        self.reset_backoff();
        self.queue.make_due();
    }

    pub(super) fn progress(&self, mark: &mut FlushMark, now: Moment) -> FlushProgress {
        if !self.is_live() {
            // The events of a restart come later.
            mark.end = None;
        }
        if self.is_paused {
            return FlushProgress::Blocked(FlushObstacle::Paused);
        }
        if let Availability::Gone { reason, .. } = self.source.availability() {
            return FlushProgress::Blocked(FlushObstacle::SourceGone(reason.clone()));
        }
        if self.settings.target_link == TargetLink::Down {
            return FlushProgress::Blocked(FlushObstacle::LinkDown);
        }
        if !self.source.is_covered() {
            return FlushProgress::Waiting(FlushObstacle::SettingUp);
        }
        if !matches!(self.phase, ScriptPhase::Live { .. }) {
            return FlushProgress::Waiting(FlushObstacle::Unfinished(None));
        }
        // The entries of directories that are being listed are queued later.
        let is_listing = !self.listings.is_empty() || !self.queue.unlisted().is_empty();
        if mark.end.is_none() && (self.overflowed || is_listing) {
            return FlushProgress::Waiting(FlushObstacle::Unfinished(None));
        }
        let end = *mark.end.get_or_insert_with(|| self.queue.mark());
        let events = || self.queue.before(end).filter(|event| concerns(event, &mark.path));
        if events().next().is_none() {
            return FlushProgress::Done;
        }
        let is_idle = self.idle.since.is_some() && !self.is_busy();
        let unfinished = || FlushObstacle::Unfinished(Some(events().count()));
        // An event that fails blocks its dependents.
        let is_stuck = |event: &QueuedEvent| match event.status() {
            EventStatus::Active => false,
            EventStatus::Block => true,
            // A first failure may be settled by the retry.
            EventStatus::Wait => {
                event.failure().is_some_and(|it| it.tries > 1) && event.alarm() > now
            }
        };
        match events().find(|event| event.failure().is_some()) {
            Some(first) if events().all(is_stuck) => {
                let reason = first.failure().map(|failure| failure.message.to_string());
                let (count, first) = (events().count(), first.path().clone());
                FlushProgress::Blocked(FlushObstacle::PathsFailed { count, first, reason })
            }
            _ if is_idle => FlushProgress::Blocked(unfinished()),
            _ => FlushProgress::Waiting(unfinished()),
        }
    }
}

/// Returns true if an event changes something at or below `path`.
fn concerns(event: &QueuedEvent, path: &TreePath) -> bool {
    let mut names = core::iter::once(event.path()).chain(event.to());
    let is_tree = event.kind() == EntryKind::Directory;
    names.any(|name| path.contains(name) || is_tree && name.contains(path))
}
