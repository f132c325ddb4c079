//! The interface of a mirror to its fleet, whatever its target is.

use alloc::{string::String, vec::Vec};

use super::{Connection, FlushMark, FlushProgress, SourceState};
use crate::{
    effect::Effect,
    fs_event::{FsEventKind, MirrorId},
    input::TargetLink,
    job::JobId,
    log_event::MirrorEvent,
    path::TreePath,
    time::Moment,
};

/// A mirror as a member of a fleet. The provided methods are the same for all kinds.
pub trait SyncMember {
    /// The state of the source.
    fn source(&self) -> &SourceState;

    /// The state of the source, to be changed.
    fn source_mut(&mut self) -> &mut SourceState;

    /// The running jobs. Of a script also those whose exit it has not processed yet.
    fn jobs(&self) -> Vec<JobId>;

    /// The number of jobs that run or may start at any moment.
    fn job_count(&self) -> usize;

    /// The connection of its jobs. `None` if each has its own, or none.
    fn connection(&self) -> Option<&Connection>;

    /// Handles the start of watching.
    fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>);

    /// Stops everything, because the source is gone.
    fn suspend(&mut self, effects: &mut Vec<Effect>);

    /// Handles a change of the link to the target. When it comes up, pending jobs start at once.
    /// When it goes down, running jobs of a built-in target are asked to stop and are repeated.
    fn set_target_link(&mut self, link: TargetLink, now: Moment, effects: &mut Vec<Effect>);

    /// Handles an event of a watch backend.
    fn on_fs_event(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>);

    /// Notes that the source of the predecessor is gone. The mirror's own watches report whether
    /// its own is.
    fn on_predecessor_gone(&mut self);

    /// Schedules a full transfer. One that is due or runs is not repeated.
    fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>);

    /// Transfers everything at and below `path` again, because an operator asks for it.
    fn resync(&mut self, path: &TreePath, now: Moment, effects: &mut Vec<Effect>);

    /// Accepts what is held for an operator.
    fn release(&mut self, now: Moment, effects: &mut Vec<Effect>);

    /// Returns true if an operator has paused it.
    fn is_paused(&self) -> bool;

    /// Pauses or resumes it. While it is paused, no job is started and no script is called for
    /// events. Running jobs end.
    fn set_paused(&mut self, is_paused: bool);

    /// Makes everything due at once that is pending, and returns a mark for what a flush waits for.
    fn begin_flush(&mut self, path: TreePath, now: Moment) -> FlushMark;

    /// Retries at once what a flush waits for, without a longer backoff afterwards.
    fn retry_for_flush(&mut self, now: Moment);

    /// The progress of a flush since this mark.
    fn flush_progress(&self, mark: &mut FlushMark, now: Moment) -> FlushProgress;

    /// Retries at once everything that is backing off.
    fn retry_now(&mut self, now: Moment, effects: &mut Vec<Effect>);

    /// Does the work that is due at `now`. `job` is the id for a new job, if one may start, or if a
    /// script may be called, which may start one. Returns true if it is used or called.
    fn advance(&mut self, job: Option<JobId>, now: Moment, effects: &mut Vec<Effect>) -> bool;

    /// The time at which [`advance`](Self::advance) may next have work, depending on whether it may
    /// start a job or call a script. `None`: not before the next input.
    fn next_wakeup(&self, may_start: bool) -> Option<Moment>;

    /// Handles the news that the target may be back. Unlike [`retry_now`](Self::retry_now), this
    /// keeps the backoff. Only a script knows its target, so nothing happens to its events.
    fn target_back(&mut self, _now: Moment) {}

    /// The id of the mirror.
    fn id(&self) -> MirrorId {
        self.source().mirror()
    }

    /// Returns true if this is one of the running jobs.
    fn has_job(&self, job: JobId) -> bool {
        self.jobs().contains(&job)
    }

    /// Reports an event of the mirror.
    fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        self.source().report(event, effects);
    }

    /// Returns true if a job runs or a script is being called.
    fn is_busy(&self) -> bool {
        self.job_count() > 0
    }

    /// Requests to watch the source; everything else follows from the answer.
    fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.source_mut().begin(effects);
    }

    /// Handles a source that is missing or is not the pinned directory.
    fn cannot_cover(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        if self.source_mut().cannot_cover(reason, now, effects) {
            self.suspend(effects);
        }
    }

    /// Handles a source that disappeared.
    fn lose_source(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        if self.source_mut().lose(reason, now, effects) {
            self.suspend(effects);
        }
    }

    /// Handles an event of the predecessor, which is watched until this mirror is.
    fn on_predecessor_event(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        match event {
            FsEventKind::RootGone(_) => self.on_predecessor_gone(),
            event @ (FsEventKind::Changed(_)
            | FsEventKind::Renamed { .. }
            | FsEventKind::Lost(_)) => self.on_fs_event(event, now, effects),
        }
    }

    /// Asks all jobs to stop, because the mirror is removed. Returns those that still run.
    fn retire(&self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        let jobs = self.jobs();
        effects.extend(jobs.iter().copied().map(Effect::Stop));
        jobs
    }
}
