//! What goes on between a fleet and the scripts of its mirrors.

use alloc::vec::Vec;

use super::{
    EXIT_FAILURE, Fleet, Member, Phase,
    onepass::{Pass, is_over},
};
use crate::{
    effect::Effect,
    event::Event,
    input::Input,
    job::JobId,
    mirror::{
        Verdict,
        scripted::{OnePass, Scripted, Spawned},
    },
    notice::MirrorId,
    queue::ordered::EventId,
    time::Moment,
};

impl Fleet {
    /// The mirror of this name, if it has a script. While that is called, it is asked here for what
    /// the script needs.
    pub fn scripted(&mut self, id: MirrorId) -> Option<&mut Scripted> {
        match self.mirrors.get_mut(*self.places.get(&id)?)? {
            Member::Scripted(mirror) => Some(mirror),
            Member::Built(_) => None,
        }
    }

    /// The mirror of this name, if it has a script, to be looked at.
    #[must_use]
    pub fn script(&self, id: MirrorId) -> Option<&Scripted> {
        match self.mirrors.get(*self.places.get(&id)?)? {
            Member::Scripted(mirror) => Some(mirror),
            Member::Built(_) => None,
        }
    }

    /// The script of this mirror is about to start a child for these events. Returns the name of
    /// the job, with whose end an [`Input::ChildEnded`] has to come.
    ///
    /// Whether all jobs together are fewer than may run was asked before the script was called: a
    /// script may start several children at once.
    ///
    /// # Errors
    ///
    /// If the child must not be started. Nothing has changed then.
    pub fn spawn(&mut self, id: MirrorId, events: &[EventId]) -> Result<JobId, Spawned> {
        if self.phase != Phase::Running {
            return Err(Spawned::NotNow);
        }
        let job = JobId(self.next_job);
        self.scripted(id).ok_or(Spawned::NotNow)?.start(job, events)?;
        self.next_job += 1;
        Ok(job)
    }

    /// Takes in what concerns scripts.
    pub(super) fn handle_script(&mut self, input: Input, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::Called { mirror, result, has_plans } => {
                if let Some(mirror) = self.scripted(mirror) {
                    mirror.called(result, now, effects);
                    if !has_plans {
                        self.give_up_what_is_stuck(now, effects);
                    }
                }
            }
            Input::Listed { mirror, path, listed } => {
                if let Some(mirror) = self.scripted(mirror) {
                    mirror.listed(&path, listed, now, effects);
                }
            }
            Input::ChildEnded { job, exit } if !self.retired_ended(job, effects) => {
                if let Some(mirror) = self.worker(job) {
                    mirror.child_ended(job, exit, now, effects);
                }
            }
            Input::Collected { job, result } if !self.retired_ended(job, effects) => {
                let Some(mirror) = self.worker(job) else { return };
                if mirror.collected(job, result, now, effects) == Verdict::EndDaemon {
                    self.end_for_failure(now);
                }
            }
            _ => {}
        }
    }

    /// What fails each time may do so for ever, and one pass has an end: when nothing else is left, the daemon
    /// ends.
    pub(super) fn give_up_what_fails(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_second = matches!(self.pass, Pass::Again(_));
        let mut failed = Vec::new();
        for member in &self.mirrors {
            match member {
                Member::Scripted(mirror) => match mirror.one_pass() {
                    OnePass::Runs => return,
                    OnePass::Done => {}
                    OnePass::Failed(events) => failed.push((mirror.id(), events)),
                },
                Member::Built(_) if !is_over(member, is_second) => return,
                Member::Built(_) => {}
            }
        }
        if failed.is_empty() || !self.retired.is_empty() {
            return;
        }
        let report = |(id, events)| Effect::Report(Event::OnepassFailed(id, events));
        effects.extend(failed.into_iter().map(report));
        self.phase = Phase::Draining { until: now, code: EXIT_FAILURE };
    }

    /// Nor is one pass to wait for what does not come: when all but scripts that do nothing with their
    /// beginning is done, and they have no other plans, nothing will end it.
    fn give_up_what_is_stuck(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let stuck = |it: &&Member| matches!(it, Member::Scripted(mirror) if mirror.is_stuck(now));
        let is_over = self.retired.is_empty()
            && self.mirrors.iter().all(|it| is_over(it, false) || stuck(&it));
        if !self.limits.onepass || self.phase != Phase::Running || !is_over {
            return;
        }
        for mirror in self.mirrors.iter().filter(stuck) {
            effects.push(Effect::Report(Event::OnepassStuck(mirror.id())));
            self.phase = Phase::Draining { until: now, code: EXIT_FAILURE };
        }
    }

    /// The mirror whose script started this job.
    fn worker(&mut self, job: JobId) -> Option<&mut Scripted> {
        let scripted = self.mirrors.iter_mut().filter_map(|member| match member {
            Member::Scripted(mirror) => Some(mirror),
            Member::Built(_) => None,
        });
        scripted.map(|mirror| &mut **mirror).find(|mirror| mirror.has(job))
    }
}
