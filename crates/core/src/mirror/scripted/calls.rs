//! What came of a call of the script, and of its children.

use alloc::{format, string::String, vec::Vec};
use core::{mem, time::Duration};

use super::{IDLE, Idle, PAUSE, Scripted};
use crate::{
    effect::{Call, Effect},
    event::MirrorEvent,
    input::{Answer, ChildExit},
    job::{Failure, JobId, Place},
    mirror::{FIRST_RETRY, State, Verdict},
    queue::ordered::{Attempt, Blame, Ended, Entry, EventId, Refused, Status},
    time::Moment,
};

/// With so many failures in a row, whatever failed, the target seems to be away: from then on there is a
/// pause after each.
const MANY: u32 = 20;

/// What a child works on.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) events: Vec<EventId>,
    /// The code that it has returned.
    pub(super) code: Option<i32>,
}

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
    /// and what it was called for rests: that which it has asked for last.
    pub fn called(&mut self, result: Result<(), Failure>, now: Moment, effects: &mut Vec<Effect>) {
        let Some(mut calling) = self.calling.take() else { return };
        // It was not called at all, as its source was found to be gone.
        if matches!(self.state, State::Held { .. }) && !calling.has_acted && result.is_ok() {
            return;
        }
        let asked = mem::take(&mut calling.asked);
        let waits = |id: &EventId| {
            self.queue.get(*id).is_some_and(|entry| entry.status() != Status::Active)
        };
        let is_left = waits(&calling.head);
        let mut blamed: Vec<_> = asked.into_iter().filter(waits).collect();
        if blamed.is_empty() && is_left {
            blamed.push(calling.head);
        }
        self.see_beginning();
        if let Err(failure) = result {
            let about = self.about(&blamed);
            self.fail(&blamed, (&failure.why, FIRST_RETRY), now, effects);
            let wait = self.wait_of(&blamed, now);
            self.report(MirrorEvent::ScriptFailed { about, failure, wait }, effects);
            return;
        }
        if calling.has_acted && !calling.has_begun {
            self.succeed();
        }
        if is_left && !calling.has_acted {
            self.rest_idle(calling.head, now, effects);
        } else if !calling.has_begun && self.queue.len() >= calling.length {
            self.idle.until = Some(now + PAUSE);
        }
    }

    /// The script is being given these events. It may fail at them.
    pub fn asked(&mut self, ids: &[EventId]) {
        if let Some(calling) = &mut self.calling {
            calling.asked = ids.to_vec();
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
                let Some(child) = self.jobs.get_mut(&job) else { return };
                child.code = Some(code);
                let events = child.events.clone();
                effects.push(Effect::Script(self.id, Call::Collect { job, events, code }));
            }
            ChildExit::Signal(signal) => {
                let Some(child) = self.jobs.remove(&job) else { return };
                let about = self.about(&child.events);
                self.report(MirrorEvent::ChildKilled { about, signal }, effects);
                let why = format!("its child was killed by signal {signal}");
                self.end_badly(&child.events, &why, now, effects);
            }
            ChildExit::Partly(failed) => {
                let Some(child) = self.jobs.remove(&job) else { return };
                self.end_partly(&child.events, &failed, now, effects);
                self.report(MirrorEvent::PlacesFailed(failed), effects);
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
        let Some(Child { events, code }) = self.jobs.remove(&job) else { return Verdict::GoOn };
        match result {
            Ok(Answer::Done) => {
                self.queue.settle(&events, Ended::Done);
                self.succeed();
                self.wake();
                self.see_beginning();
            }
            Ok(answer) => {
                let about = self.about(&events);
                let why = format!("exit code {}", code.unwrap_or_default());
                // The beginning is tried again at the pace that the user has chosen, as by the original.
                if events.iter().any(|id| self.init == Some(*id)) {
                    self.queue.forget_tries(&events);
                }
                self.end_badly(&events, &why, now, effects);
                if answer == Answer::Die {
                    return Verdict::EndDaemon;
                }
                let failure = Failure { code, why };
                let wait = self.wait_of(&events, now);
                self.report(MirrorEvent::ScriptAgain { about, failure, wait }, effects);
            }
            Err(failure) => {
                let about = self.about(&events);
                self.end_badly(&events, &failure.why, now, effects);
                let wait = self.wait_of(&events, now);
                self.report(MirrorEvent::ScriptFailed { about, failure, wait }, effects);
            }
        }
        Verdict::GoOn
    }

    /// Of our own work it is known where it failed. The script is told of the rest when that has been done
    /// without the others.
    fn end_partly(
        &mut self,
        events: &[EventId],
        failed: &[(Place, Failure)],
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let touches = |entry: &Entry, place: &Place| {
            let mut names = core::iter::once(entry.path()).chain(entry.to());
            names.any(|name| name.contains(&place.path) || place.path.contains(name))
        };
        let pause = self.settings.delay.max(FIRST_RETRY);
        let mut rest = events.to_vec();
        for (place, failure) in failed {
            let is_touched =
                |id: &mut EventId| self.queue.get(*id).is_some_and(|entry| touches(entry, place));
            let met: Vec<_> = rest.extract_if(.., is_touched).collect();
            if !met.is_empty() {
                self.fail(&met, (&failure.why, pause), now, effects);
            }
        }
        self.queue.release(&rest, now);
        self.wake();
        self.see_beginning();
    }

    fn end_badly(&mut self, events: &[EventId], why: &str, now: Moment, effects: &mut Vec<Effect>) {
        let pause = self.settings.delay.max(FIRST_RETRY);
        self.fail(events, (why, pause), now, effects);
        self.wake();
        self.see_beginning();
    }

    /// Work on these events has failed, for which they rest so long at first.
    fn fail(
        &mut self,
        ids: &[EventId],
        (why, pause): (&str, Duration),
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > MANY {
            self.pause = Some(now + FIRST_RETRY);
        }
        // What Lua says has many lines.
        let why = why.lines().next().unwrap_or_default().into();
        let blame = Blame::Some;
        self.queue.settle(ids, Ended::Failed(Attempt { now, pause, blame, why }));
        if let [id] = ids {
            self.see_whether_it_is_there(*id, effects);
        }
    }

    /// What fails again and again may be gone, and nobody may have told.
    fn see_whether_it_is_there(&mut self, id: EventId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.queue.get(id) else { return };
        let path = entry.to().unwrap_or_else(|| entry.path());
        let parent = path.parent();
        if let Some(parent) = parent.filter(|_| entry.trouble().is_some_and(|it| it.tries > 1)) {
            self.look_into(&parent, effects);
        }
    }

    fn succeed(&mut self) {
        if self.failures > MANY {
            self.queue.try_all_again();
        }
        self.failures = 0;
        self.pause = None;
    }

    /// How long it takes until the first of these is tried again.
    fn wait_of(&self, ids: &[EventId], now: Moment) -> Option<Duration> {
        let failed = ids.iter().filter_map(|id| self.queue.get(*id));
        failed.map(|entry| entry.alarm().since(now)).min()
    }

    /// These events, for people.
    fn about(&self, ids: &[EventId]) -> Option<String> {
        match ids {
            [] => None,
            [id] => self.queue.get(*id).map(Entry::title),
            _ => Some(format!("a list of {} events", ids.len())),
        }
    }
}
