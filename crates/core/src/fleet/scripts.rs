//! Interaction of the fleet with the scripts of its mirrors.

use alloc::vec::Vec;

use super::{
    EXIT_FAILURE, Fleet, FleetPhase, Member,
    one_pass::{OnePassState, is_over},
};
use crate::{
    effect::Effect,
    fs_event::MirrorId,
    input::ScriptInput,
    job::JobId,
    log_event::LogEvent,
    mirror::{
        DaemonAction, SyncMember,
        scripted::{OnePassStatus, ScriptedMirror, SpawnError},
    },
    queue::{PathSet, event_queue::EventId},
    time::Moment,
};

impl Fleet {
    /// The scripted mirror of this id, for use by the script during a call.
    pub fn scripted(&mut self, id: MirrorId) -> Option<&mut ScriptedMirror> {
        self.member_mut(id)?.scripted_mut()
    }

    /// The scripted mirror of this id, read-only.
    #[must_use]
    pub fn script(&self, id: MirrorId) -> Option<&ScriptedMirror> {
        self.mirrors.get(*self.indices.get(&id)?)?.scripted()
    }

    /// The mirror of a child of a script, and the paths of its events.
    #[must_use]
    pub fn script_job(&self, job: JobId) -> Option<(MirrorId, PathSet)> {
        let mut scripted = self.mirrors.iter().filter_map(Member::scripted);
        scripted.find_map(|mirror| Some((mirror.id(), mirror.job_paths(job)?)))
    }

    /// Registers a child that the script is about to start for these events. Returns the id of the
    /// job, whose end must be reported by a [`ScriptInput::ChildExited`].
    ///
    /// The common limit of jobs was checked before the call of the script, which may start several
    /// children at once.
    ///
    /// # Errors
    ///
    /// If the child must not be started. Nothing has changed then.
    pub fn spawn(&mut self, id: MirrorId, events: &[EventId]) -> Result<JobId, SpawnError> {
        if self.phase != FleetPhase::Running {
            return Err(SpawnError::NotNow);
        }
        let job = JobId(self.next_job);
        self.scripted(id).ok_or(SpawnError::NotNow)?.start(job, events)?;
        self.next_job += 1;
        Ok(job)
    }

    /// Processes an input of a script.
    pub(super) fn handle_script(
        &mut self,
        input: ScriptInput,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            ScriptInput::Returned { mirror, result, has_pending_work } => {
                let Some(mirror) = self.scripted(mirror) else { return };
                mirror.called(result, now, effects);
                if !has_pending_work {
                    self.exit_if_stuck(now, effects);
                }
            }
            ScriptInput::DirectoryListed { mirror, path, listing } => {
                if let Some(mirror) = self.scripted(mirror) {
                    mirror.listed(&path, listing, now, effects);
                }
            }
            ScriptInput::ChildExited { job, exit } => {
                if self.retiring_job_ended(job, effects) {
                    return;
                }
                if let Some(mirror) = self.job_owner(job) {
                    mirror.child_ended(job, exit, now, effects);
                }
            }
            ScriptInput::Collected { job, result } => {
                if self.retiring_job_ended(job, effects) {
                    return;
                }
                let Some(mirror) = self.job_owner(job) else { return };
                if mirror.collected(job, result, now, effects) == DaemonAction::Exit {
                    self.exit_for_failure(now);
                }
            }
        }
    }

    /// Ends a one-pass run with failure if nothing is left but events that fail at every try.
    pub(super) fn exit_if_only_failures_left(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_second = matches!(self.one_pass, OnePassState::Retry(_));
        let mut failed = Vec::new();
        for member in &self.mirrors {
            match member {
                Member::Scripted(mirror) => match mirror.one_pass() {
                    OnePassStatus::Running => return,
                    OnePassStatus::Done => {}
                    OnePassStatus::Failed(events) => failed.push((mirror.id(), events)),
                },
                Member::BuiltIn(_) if !is_over(member, is_second) => return,
                Member::BuiltIn(_) => {}
            }
        }
        if failed.is_empty() || !self.retiring.is_empty() {
            return;
        }
        let report = |(id, events)| Effect::Report(LogEvent::OnepassFailed(id, events));
        effects.extend(failed.into_iter().map(report));
        self.phase = FleetPhase::Draining { until: now, code: EXIT_FAILURE };
    }

    /// Ends a one-pass run with failure if nothing is left but scripts that leave their init event
    /// alone and have no other pending work: nothing would ever end it.
    fn exit_if_stuck(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let stuck = |it: &&Member| it.scripted().is_some_and(|mirror| mirror.is_stuck(now));
        let is_over = self.retiring.is_empty()
            && self.mirrors.iter().all(|it| is_over(it, false) || stuck(&it));
        if !self.limits.onepass || self.phase != FleetPhase::Running || !is_over {
            return;
        }
        for mirror in self.mirrors.iter().filter(stuck) {
            effects.push(Effect::Report(LogEvent::OnepassStuck(mirror.id())));
            self.phase = FleetPhase::Draining { until: now, code: EXIT_FAILURE };
        }
    }

    /// The mirror whose script started this job.
    fn job_owner(&mut self, job: JobId) -> Option<&mut ScriptedMirror> {
        let mut scripted = self.mirrors.iter_mut().filter_map(Member::scripted_mut);
        scripted.find(|mirror| mirror.has_job(job))
    }
}
