//! Results of script calls and of their children.

use alloc::{format, string::String, vec::Vec};
use core::{mem, time::Duration};

use super::{IDLE_WAIT, IdleBackoff, RECALL_PAUSE, ScriptedMirror};
use crate::{
    effect::{Effect, ScriptCall},
    input::{ChildExit, CollectAnswer},
    job::{DirtyPath, Failure, JobId, Scope},
    log_event::{MirrorEvent, ScriptEvent},
    mirror::{DaemonAction, FIRST_RETRY, SyncMember},
    queue::{
        PathSet,
        event_queue::{
            Blame, Etype, EventId, EventOutcome, EventRefusal, EventStatus, FailedAttempt,
            QueuedEvent,
        },
    },
    time::Moment,
};

/// After so many failures in a row, of whatever events, the target is presumed unreachable: each
/// further failure is followed by a pause.
const MANY_FAILURES: u32 = 20;

/// A child and its events.
#[derive(Debug)]
pub(super) struct ScriptChild {
    pub(super) events: Vec<EventId>,
    /// The exit code, once the child has exited.
    pub(super) code: Option<i32>,
}

/// Reasons not to start a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// The daemon is exiting, the source is gone, or the mirror does not exist any more.
    NotNow,
    /// The limit of jobs is reached.
    TooMany,
    /// An event can't be activated.
    Event(EventRefusal),
}

impl ScriptedMirror {
    /// Handles the return of a call that an [`Effect::CallScript`] requested. If the script failed,
    /// the events given to it last, or else the event it was called for, are backed off.
    pub fn called(&mut self, result: Result<(), Failure>, now: Moment, effects: &mut Vec<Effect>) {
        let Some(mut call) = self.call.take() else { return };
        // The script was not called at all, because its source was found to be gone.
        if self.source.is_gone() && !call.has_acted && result.is_ok() {
            return;
        }
        let given = mem::take(&mut call.given);
        let waits = |id: &EventId| {
            self.queue.get(*id).is_some_and(|event| event.status() != EventStatus::Active)
        };
        let is_left = waits(&call.head);
        let mut blamed: Vec<_> = given.into_iter().filter(waits).collect();
        if blamed.is_empty() && is_left {
            blamed.push(call.head);
        }
        self.update_init();
        if let Err(failure) = result {
            let about = self.describe(&blamed);
            self.fail(&blamed, attempt(&failure.message, FIRST_RETRY, now), effects);
            let wait = self.retry_wait(&blamed, now);
            self.report_script(ScriptEvent::Failed { about, failure, wait }, effects);
            return;
        }
        if call.has_acted && !call.has_spawned {
            self.succeed();
        }
        if is_left && !call.has_acted {
            self.back_off_idle(call.head, now, effects);
        } else if !call.has_spawned && self.queue.len() >= call.length {
            self.idle.until = Some(now + RECALL_PAUSE);
        }
    }

    /// Notes the events that are given to the script, which may fail on them.
    pub fn set_given(&mut self, ids: &[EventId]) {
        if let Some(call) = &mut self.call {
            call.given = ids.to_vec();
        }
    }

    /// An immediate second call would be useless and cost a whole CPU.
    fn back_off_idle(&mut self, head: EventId, now: Moment, effects: &mut Vec<Effect>) {
        if self.idle.since.is_none() {
            let is_beginning = self.is_init(head);
            let event = if is_beginning { ScriptEvent::InitIdle } else { ScriptEvent::Idle };
            self.report_script(event, effects);
        }
        let since = self.idle.since.or(Some(now));
        self.idle = IdleBackoff { until: Some(now + IDLE_WAIT), since };
    }

    /// Handles the exit of a child. The script interprets an exit code. The events of a child that
    /// was killed, with unknown results, are retried, and so are those of an incomplete built-in
    /// transfer.
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
                effects
                    .push(Effect::CallScript(self.id(), ScriptCall::Collect { job, events, code }));
            }
            ChildExit::Signal(signal) => {
                let Some(child) = self.jobs.remove(&job) else { return };
                let about = self.describe(&child.events);
                self.report_script(ScriptEvent::ChildKilled { about, signal }, effects);
                let message = format!("its child was killed by signal {signal}");
                self.retry_events(&child.events, &message, now, effects);
            }
            ChildExit::Partial(failed) => {
                let Some(child) = self.jobs.remove(&job) else { return };
                self.settle_partial(&child.events, &failed, now, effects);
                self.report(MirrorEvent::PathsFailed(failed), effects);
            }
        }
    }

    /// Handles the script's answer to the exit of a child. If the script failed, the events are
    /// retried.
    pub fn collected(
        &mut self,
        job: JobId,
        result: Result<CollectAnswer, Failure>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> DaemonAction {
        let Some(ScriptChild { events, code }) = self.jobs.remove(&job) else {
            return DaemonAction::Continue;
        };
        match result {
            Ok(CollectAnswer::Done) => {
                self.queue.settle(&events, EventOutcome::Done);
                self.succeed();
                self.clear_idle();
                self.update_init();
            }
            Ok(answer @ (CollectAnswer::Again | CollectAnswer::Die)) => {
                let about = self.describe(&events);
                let message = format!("exit code {}", code.unwrap_or_default());
                // The init event is retried at the interval that the user chose, as by the
                // original.
                if events.iter().any(|id| self.is_init(*id)) {
                    self.queue.reset_tries(&events);
                }
                self.retry_events(&events, &message, now, effects);
                if answer == CollectAnswer::Die {
                    return DaemonAction::Exit;
                }
                let failure = Failure { code, message };
                let wait = self.retry_wait(&events, now);
                self.report_script(ScriptEvent::Retry { about, failure, wait }, effects);
            }
            Err(failure) => {
                let about = self.describe(&events);
                self.retry_events(&events, &failure.message, now, effects);
                let wait = self.retry_wait(&events, now);
                self.report_script(ScriptEvent::Failed { about, failure, wait }, effects);
            }
        }
        DaemonAction::Continue
    }

    /// A built-in transfer reports its failed paths. The other events are retried without them, and
    /// the script is told their result.
    fn settle_partial(
        &mut self,
        events: &[EventId],
        failed: &[(DirtyPath, Failure)],
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let touches = |event: &QueuedEvent, dirty: &DirtyPath| {
            let mut names = core::iter::once(event.path()).chain(event.to());
            names.any(|name| name.contains(&dirty.path) || dirty.path.contains(name))
        };
        let pause = self.settings.delay.max(FIRST_RETRY);
        let mut rest = events.to_vec();
        for (dirty, failure) in failed {
            let is_touched =
                |id: &mut EventId| self.queue.get(*id).is_some_and(|event| touches(event, dirty));
            let met: Vec<_> = rest.extract_if(.., is_touched).collect();
            if !met.is_empty() {
                self.fail(&met, attempt(&failure.message, pause, now), effects);
            }
        }
        self.replace_events(|queue| queue.release(&rest, now));
        self.clear_idle();
        self.update_init();
    }

    fn retry_events(
        &mut self,
        events: &[EventId],
        message: &str,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let pause = self.settings.delay.max(FIRST_RETRY);
        self.fail(events, attempt(message, pause, now), effects);
        self.clear_idle();
        self.update_init();
    }

    /// Backs off these events after a failed attempt.
    fn fail(&mut self, ids: &[EventId], attempt: FailedAttempt, effects: &mut Vec<Effect>) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > MANY_FAILURES {
            self.paused_until = Some(attempt.now + FIRST_RETRY);
        }
        self.replace_events(|queue| queue.settle(ids, EventOutcome::Failed(attempt)));
        if let [id] = ids {
            self.probe_if_gone(*id, effects);
        }
    }

    /// An event that fails repeatedly may concern an entry that disappeared unnoticed: lists its
    /// directory.
    fn probe_if_gone(&mut self, id: EventId, effects: &mut Vec<Effect>) {
        let Some(event) = self.queue.get(id) else { return };
        let path = event.to().unwrap_or_else(|| event.path());
        let parent = path.parent();
        if let Some(parent) = parent.filter(|_| event.failure().is_some_and(|it| it.tries > 1)) {
            self.probe(&parent, effects);
        }
    }

    /// The paths of the events that a child works on. `None` if it is no child of this mirror.
    #[must_use]
    pub fn job_paths(&self, job: JobId) -> Option<PathSet> {
        let events = self.jobs.get(&job)?.events.iter().filter_map(|id| self.queue.get(*id));
        let dirty = |event: &QueuedEvent| {
            let is_tree = event.etype().is_barrier() || event.etype() == Etype::Full;
            let scope = if is_tree { Scope::Tree } else { Scope::Entry };
            let path = event.to().unwrap_or_else(|| event.path()).clone();
            DirtyPath { path, scope }
        };
        let dirty: Vec<_> = events.map(dirty).collect();
        Some(dirty.iter().collect())
    }

    fn succeed(&mut self) {
        if self.failures > MANY_FAILURES {
            self.queue.retry_all();
        }
        self.failures = 0;
        self.paused_until = None;
    }

    /// The time until the first of these events is retried.
    fn retry_wait(&self, ids: &[EventId], now: Moment) -> Option<Duration> {
        let failed = ids.iter().filter_map(|id| self.queue.get(*id));
        failed.map(|event| event.alarm().since(now)).min()
    }

    /// The title of these events, for people.
    fn describe(&self, ids: &[EventId]) -> Option<String> {
        match ids {
            [] => None,
            [id] => self.queue.get(*id).map(QueuedEvent::title),
            _ => Some(format!("a list of {} events", ids.len())),
        }
    }

    fn report_script(&self, event: ScriptEvent, effects: &mut Vec<Effect>) {
        self.report(MirrorEvent::Script(event), effects);
    }
}

/// A failed attempt at these events, which is repeated at first after `pause`.
fn attempt(message: &str, pause: Duration, now: Moment) -> FailedAttempt {
    // Lua errors have several lines.
    let message = message.lines().next().unwrap_or_default().into();
    FailedAttempt { now, pause, blame: Blame::Some, message }
}
