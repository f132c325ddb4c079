//! What came of a call of the script, and of its children.

use alloc::vec::Vec;
use core::time::Duration;

use super::{IDLE, Idle, PAUSE, Scripted};
use crate::{
    effect::{Call, Effect},
    event::MirrorEvent,
    input::{Answer, ChildExit},
    job::{Failure, JobId},
    mirror::{FIRST_RETRY, State, Verdict},
    queue::ordered::{Ended, EventId, Refused, Status},
    time::Moment,
};

/// Why a child must not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spawned {
    /// The daemon is asked to end, the source is gone, or there is no such mirror any more.
    NotNow,
    /// As many run as may.
    TooMany,
    /// An event for it can't be worked on.
    Not(Refused),
}

impl Scripted {
    /// The call is over, for which an [`Effect::Script`] asked. What the script failed with is told,
    /// and what it was called for rests.
    pub fn called(&mut self, result: Result<(), Failure>, now: Moment, effects: &mut Vec<Effect>) {
        let Some(calling) = self.calling.take() else { return };
        // It was not called at all, as its source was found to be gone.
        if matches!(self.state, State::Held { .. }) && !calling.has_acted && result.is_ok() {
            return;
        }
        let head = self.queue.get(calling.head);
        let is_left = head.is_some_and(|head| head.status() == Status::Wait);
        self.see_beginning();
        if let Err(failure) = result {
            let wait = self.retry.next_wait();
            if is_left {
                self.queue.settle(&[calling.head], Ended::Again(now + wait));
            }
            self.report(MirrorEvent::ScriptFailed(failure, is_left.then_some(wait)), effects);
            return;
        }
        // The end of a child may be what it fails with each time.
        if !calling.has_begun {
            self.retry.reset();
        }
        if is_left && !calling.has_acted {
            self.rest_idle(calling.head, now, effects);
        } else if !calling.has_begun && self.queue.len() >= calling.length {
            self.idle.until = Some(now + PAUSE);
        }
    }

    /// To call it at once again would be of no use, and cost all of a processor.
    fn rest_idle(&mut self, head: EventId, now: Moment, effects: &mut Vec<Effect>) {
        if self.idle.since.is_none() {
            let is_beginning = self.init == Some(head);
            let event =
                if is_beginning { MirrorEvent::BeginningIdle } else { MirrorEvent::ScriptIdle };
            self.report(event, effects);
        }
        let since = self.idle.since.or(Some(now));
        self.idle = Idle { until: Some(now + IDLE), since };
    }

    /// A child has ended. What that means the script says, unless something killed the child, and
    /// nobody can know what it did, or it is known that not all is done: then its events are tried
    /// again.
    pub fn child_ended(
        &mut self,
        job: JobId,
        exit: ChildExit,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match exit {
            ChildExit::Code(code) => {
                let Some(events) = self.jobs.get(&job).cloned() else { return };
                effects.push(Effect::Script(self.id, Call::Collect { job, events, code }));
            }
            ChildExit::Signal(signal) => {
                self.report(MirrorEvent::ChildKilled(signal), effects);
                self.retry_child(job, now);
            }
            ChildExit::Partly(failed) => {
                self.report(MirrorEvent::PlacesFailed(failed), effects);
                self.retry_child(job, now);
            }
        }
    }

    /// What the script says of the end of a child. If it failed at that, its events are tried again.
    pub fn collected(
        &mut self,
        job: JobId,
        result: Result<Answer, Failure>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        if result.is_ok() {
            self.retry.reset();
        }
        match result {
            Ok(Answer::Done) => self.end_job(job, Ended::Done),
            Ok(Answer::Again) => self.end_job(job, Ended::Again(self.again_at(now))),
            Ok(Answer::Die) => {
                self.end_job(job, Ended::Again(self.again_at(now)));
                return Verdict::EndDaemon;
            }
            Err(failure) => {
                let wait = self.retry_child(job, now);
                self.report(MirrorEvent::ScriptFailed(failure, Some(wait)), effects);
            }
        }
        Verdict::GoOn
    }

    /// What a child did is to be done again, after a pause that grows from time to time.
    fn retry_child(&mut self, job: JobId, now: Moment) -> Duration {
        let wait = self.retry.next_wait().max(self.settings.delay);
        self.end_job(job, Ended::Again(now + wait));
        wait
    }

    fn again_at(&self, now: Moment) -> Moment {
        now + self.settings.delay.max(FIRST_RETRY)
    }

    fn end_job(&mut self, job: JobId, ended: Ended) {
        let Some(events) = self.jobs.remove(&job) else { return };
        self.queue.settle(&events, ended);
        self.wake();
        self.see_beginning();
    }
}
