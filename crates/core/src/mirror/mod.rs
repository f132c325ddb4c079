//! One sync: a source, a target, what waits between them, and the state they are in.
//!
//! A mirror decides; it neither watches nor copies. It is told what happened, and says what is to
//! be done.

mod retry;
mod state;
mod status;

use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;

pub use retry::LONGEST as LONGEST_RETRY;
use retry::Retry;
pub use state::{Away, Cause, Gate, Look, Resume, State};
pub use status::{Delay, What};

use crate::{
    effect::{Accept, Effect},
    event::{Event, MirrorEvent},
    filter::Filter,
    job::{AfterHook, Failure, Grounds, Job, JobId, Outcome, Scope, Work},
    notice::{Change, Edit, Kind, MirrorId, News},
    path::TreePath,
    queue::{Batch, Pace, Places, Settled},
    time::Moment,
};

/// The shortest wait before a failed job is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long to wait before looking again whether a lost source is back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a mirror has to know beforehand.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When changes are carried out.
    pub pace: Pace,
    /// Whether it begins with a full transfer.
    pub init: bool,
    /// What a first transfer that fails means for the daemon.
    pub insist: Insist,
    /// What does not concern this mirror.
    pub filter: Arc<Filter>,
    /// Whether there is a way to the target yet.
    pub gate: Gate,
}

/// What a first transfer that fails means for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// It ends, as the original does.
    No,
    /// It ends for an exit code that says that no later try can help, else it tries again.
    Yes,
    /// It tries again: it was running before there was this mirror, and others depend on it.
    Always,
}

/// One sync.
#[derive(Debug)]
pub struct Mirror {
    id: MirrorId,
    settings: Settings,
    state: State,
    queue: Places,
    flight: Option<Flight>,
    retry: Retry,
    /// Why the last job failed, if it did.
    trouble: Option<Failure>,
}

/// A batch that is being carried out.
#[derive(Debug)]
struct Flight {
    job: JobId,
    batch: Batch,
    purpose: Purpose,
}

/// What a running job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The first full transfer.
    Startup,
    /// Another full transfer.
    Full,
    /// Changes.
    Changes,
    /// Nothing any more: the source went while it ran, and a full transfer will follow.
    Outlived,
}

/// What the end of a job means for the daemon.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// It ends, since that is what the user asked for.
    EndDaemon,
}

impl Mirror {
    /// A mirror that has not begun yet.
    #[must_use]
    pub fn new(id: MirrorId, settings: Settings) -> Self {
        let first = match settings.pace {
            Pace::Fixed { delay, .. } => delay.max(FIRST_RETRY),
            Pace::Quiet { .. } => FIRST_RETRY,
        };
        Self {
            id,
            state: State::Covering,
            queue: Places::new(settings.pace),
            flight: None,
            retry: Retry::new(first, u64::from(id.0) + 1),
            trouble: None,
            settings,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> MirrorId {
        self.id
    }

    /// Asks for the source to be watched; all else follows from the answer.
    pub fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Covering;
        effects.push(Effect::Cover { mirror: self.id, accept: Accept::Any });
    }

    /// The state it is in.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What waits and what is being carried out.
    #[must_use]
    pub const fn queue(&self) -> &Places {
        &self.queue
    }

    /// The job that is running.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.flight.as_ref().map(|flight| flight.job)
    }

    /// Whether a job of this mirror is running.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    /// Takes in what a source of changes says.
    pub fn hear(&mut self, news: News, now: Moment, effects: &mut Vec<Effect>) {
        match news {
            News::Changed(change) => self.hear_change(&change, now),
            News::Moved { from, to, kind } => self.hear_move(&from, &to, kind, now),
            News::Lost(path) => {
                if !self.settings.filter.excludes(&path, Kind::Directory) {
                    self.queue.mark(&path, Scope::Tree, now);
                    self.report(MirrorEvent::Lost(path), effects);
                }
            }
            News::Gone(gone) => self.lose_source(gone.sentence().into(), now, effects),
        }
    }

    fn hear_change(&mut self, change: &Change, now: Moment) {
        if self.settings.filter.excludes(&change.path, change.kind) {
            return;
        }
        // A directory that came or went may hold anything by now, and may have done so before; a
        // change of its attributes says nothing of what it lists.
        let scope = match (change.kind, change.edit) {
            (Kind::Other, _) | (Kind::Directory, Edit::Attrib) => Scope::Entry,
            (Kind::Directory, Edit::Create | Edit::Modify | Edit::Delete) => Scope::Tree,
        };
        self.queue.mark(&change.path, scope, now);
    }

    fn hear_move(&mut self, from: &TreePath, to: &TreePath, kind: Kind, now: Moment) {
        let scope = match kind {
            Kind::Directory => Scope::Tree,
            Kind::Other => Scope::Entry,
        };
        let filter = &self.settings.filter;
        let excludes = |path| filter.excludes(path, kind);
        match (excludes(from), excludes(to)) {
            (true, true) => {}
            (true, false) => self.queue.mark(to, scope, now),
            (false, true) => self.queue.mark(from, scope, now),
            (false, false) if scope == Scope::Entry || filter.decides_alike_below(from, to) => {
                self.queue.mark_move(from, to, kind, now);
            }
            (false, false) => {
                self.queue.mark(from, scope, now);
                self.queue.mark(to, scope, now);
            }
        }
    }

    /// The source is watched from now on. What it holds has to be brought to the target, unless
    /// it was not watched for the first time and nobody wants a full transfer then.
    pub fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.state {
            State::Covering if !self.settings.init => {
                self.state = State::Live;
                return;
            }
            State::Covering => self.state = State::Starting,
            State::Held { resume, .. } => {
                self.report(MirrorEvent::SourceBack, effects);
                self.state = resume.into();
            }
            // A second answer to one question says nothing new.
            State::Starting | State::Live | State::Away(_) => return,
        }
        self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
    }

    /// The time for a full transfer has come. One that is due or runs is not doubled.
    pub fn full_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.report(MirrorEvent::FullDue, effects);
        let purpose = self.flight.as_ref().map(|flight| flight.purpose);
        if !matches!(purpose, Some(Purpose::Startup | Purpose::Full)) {
            self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
        }
    }

    /// The source is not there, or not the one that was agreed on.
    pub fn cannot_cover(&mut self, why: String, now: Moment, effects: &mut Vec<Effect>) {
        let State::Held { why: known, look, .. } = &mut self.state else {
            self.lose_source(why, now, effects);
            return;
        };
        *look = Look::At(now + LOOK_AGAIN);
        if *known != why {
            known.clone_from(&why);
            self.report(MirrorEvent::SourceStillGone(why), effects);
        }
    }

    fn lose_source(&mut self, why: String, now: Moment, effects: &mut Vec<Effect>) {
        let resume = match self.state {
            State::Held { .. } => return,
            State::Covering if self.settings.init => Resume::Starting,
            State::Starting => Resume::Starting,
            State::Covering | State::Live => Resume::Live,
            State::Away(away) => away.resume,
        };
        effects.push(Effect::Uncover(self.id));
        if let Some(flight) = &mut self.flight {
            flight.purpose = Purpose::Outlived;
            effects.push(Effect::Stop(flight.job));
        }
        self.report(MirrorEvent::SourceGone(why.clone()), effects);
        self.state = State::Held { why, look: Look::At(now + LOOK_AGAIN), resume };
    }

    /// The way to the target has come up or gone down. What waited for it goes out at once.
    pub fn set_gate(&mut self, gate: Gate, now: Moment) {
        let was = core::mem::replace(&mut self.settings.gate, gate);
        if (was, gate) == (Gate::Closed, Gate::Open) {
            self.retry.reset();
            if let State::Away(Away { until, cause: Cause::Target, .. }) = &mut self.state {
                *until = now;
            }
        }
    }

    /// Whether there is a way to the target.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.settings.gate
    }

    /// Ends this mirror. If it answers with a job, that still runs, and was asked to end.
    pub fn retire(self, effects: &mut Vec<Effect>) -> Option<JobId> {
        effects.push(Effect::Uncover(self.id));
        let job = self.job();
        effects.extend(job.map(Effect::Stop));
        job
    }

    /// A person wants it tried again now.
    pub fn hangup(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.queue.retry_now(now);
        match &mut self.state {
            State::Away(away) => away.until = now,
            State::Held { look, .. } => {
                *look = Look::Asked;
                effects.push(Effect::Cover { mirror: self.id, accept: Accept::Any });
            }
            State::Covering | State::Starting | State::Live => {}
        }
    }

    /// When [`advance`](Self::advance) may next have something to do. `None`: not before
    /// something happens.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        match &self.state {
            State::Held { look: Look::At(at), .. } => Some(*at),
            State::Held { look: Look::Asked, .. } | State::Covering => None,
            State::Starting | State::Live | State::Away(_)
                if self.is_busy() || self.settings.gate == Gate::Closed =>
            {
                None
            }
            State::Starting => Some(Moment::ORIGIN),
            State::Live => self.queue.next_due(),
            State::Away(away) => Some(away.until).filter(|&until| until != Moment::NEVER),
        }
    }

    /// Does what is due at `now`. `job` is the name for the job that this may start; the answer
    /// tells whether it was used.
    pub fn advance(&mut self, job: JobId, now: Moment, effects: &mut Vec<Effect>) -> bool {
        if let State::Held { look, .. } = &mut self.state {
            if matches!(look, Look::At(at) if *at <= now) {
                *look = Look::Asked;
                effects.push(Effect::Cover { mirror: self.id, accept: Accept::Successor });
            }
            return false;
        }
        if self.is_busy() || self.settings.gate == Gate::Closed {
            return false;
        }
        if let State::Away(Away { until, resume, .. }) = self.state {
            if until > now {
                return false;
            }
            self.state = resume.into();
        }
        let batch = match self.state {
            State::Starting => self.queue.take_all(now),
            State::Live => self.queue.take_due(now),
            State::Covering | State::Away(_) | State::Held { .. } => return false,
        };
        let Some(batch) = batch else { return false };
        let (purpose, work) = if self.state == State::Starting {
            (Purpose::Startup, Work::Full)
        } else if batch.places().covers(&TreePath::root(), Scope::Tree) {
            (Purpose::Full, batch.work())
        } else {
            (Purpose::Changes, batch.work())
        };
        effects.push(Effect::Start(Job { id: job, mirror: self.id, work }));
        self.flight = Some(Flight { job, batch, purpose });
        true
    }

    /// Takes in how a job ended.
    pub fn job_ended(
        &mut self,
        job: JobId,
        outcome: Outcome,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        let Some(flight) = self.flight.take_if(|flight| flight.job == job) else {
            return Verdict::GoOn;
        };
        if flight.purpose == Purpose::Outlived {
            self.queue.settle(flight.batch, Settled::Nothing, now);
            return Verdict::GoOn;
        }
        let purpose = flight.purpose;
        self.queue.settle(flight.batch, settled(&outcome), now);
        match outcome {
            Outcome::Done => self.succeed(purpose, effects),
            Outcome::Partly(failed) => {
                self.report(MirrorEvent::PlacesFailed(failed), effects);
                self.succeed(purpose, effects);
            }
            Outcome::SourceGone(failure) => self.lose_source(failure.why, now, effects),
            Outcome::HookFailed(failure, then) => {
                self.tell_success(purpose, effects);
                self.rest_after_hook(failure, then, now, effects);
            }
            Outcome::Again(failure) => return self.fail(purpose, (failure, None), now, effects),
            Outcome::Fatal(failure, grounds) => {
                return self.fail(purpose, (failure, Some(grounds)), now, effects);
            }
        }
        Verdict::GoOn
    }

    fn succeed(&mut self, purpose: Purpose, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.trouble = None;
        self.state = State::Live;
        self.tell_success(purpose, effects);
    }

    fn tell_success(&self, purpose: Purpose, effects: &mut Vec<Effect>) {
        let event = match purpose {
            Purpose::Startup => MirrorEvent::StartupFinished,
            Purpose::Full => MirrorEvent::FullFinished,
            Purpose::Changes | Purpose::Outlived => MirrorEvent::BatchFinished,
        };
        self.report(event, effects);
    }

    /// What comes after it is done again with the batch, so it is left alone for a while as if the
    /// target were away.
    fn rest_after_hook(
        &mut self,
        failure: Failure,
        then: AfterHook,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let wait = match then {
            AfterHook::Retry => Some(self.retry.next_wait()),
            AfterHook::Hold => None,
        };
        let until = wait.map_or(Moment::NEVER, |wait| now + wait);
        self.trouble = Some(failure.clone());
        self.state = State::Away(Away { until, resume: Resume::Live, cause: Cause::Hook });
        self.report(MirrorEvent::HookFailed(failure, wait), effects);
    }

    /// Ends the daemon, where that was asked for, or leaves the target alone for a while. There are
    /// grounds if no later try can help.
    fn fail(
        &mut self,
        purpose: Purpose,
        (failure, grounds): (Failure, Option<Grounds>),
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        if let Some(event) = self.last_words(purpose, &failure, grounds) {
            self.report(event, effects);
            return Verdict::EndDaemon;
        }
        let wait = self.retry.next_wait();
        self.trouble = Some(failure.clone());
        let (resume, event) = match purpose {
            Purpose::Startup => (Resume::Starting, MirrorEvent::StartupRetry(failure, wait)),
            Purpose::Full => (Resume::Live, MirrorEvent::FullRetry(failure, wait)),
            Purpose::Changes | Purpose::Outlived => {
                (Resume::Live, MirrorEvent::BatchRetry(failure, wait))
            }
        };
        self.state = State::Away(Away { until: now + wait, resume, cause: Cause::Target });
        self.report(event, effects);
        Verdict::GoOn
    }

    /// What is to be said of a failure for which the daemon ends. `None` if it goes on: once a
    /// mirror has been live, only the user's own word ends the daemon.
    fn last_words(
        &self,
        purpose: Purpose,
        failure: &Failure,
        grounds: Option<Grounds>,
    ) -> Option<MirrorEvent> {
        let failure = failure.clone();
        let insist = self.settings.insist;
        match (purpose, grounds) {
            (Purpose::Startup, Some(Grounds::User)) => {
                Some(MirrorEvent::StartupFatal(failure, Grounds::User))
            }
            (Purpose::Full, Some(Grounds::User)) => Some(MirrorEvent::FullFatal(failure)),
            (_, Some(Grounds::User)) => Some(MirrorEvent::BatchFatal(failure)),
            (Purpose::Startup, Some(grounds)) if insist != Insist::Always => {
                Some(MirrorEvent::StartupFatal(failure, grounds))
            }
            (Purpose::Startup, None) if insist == Insist::No => {
                Some(MirrorEvent::StartupGivenUp(failure))
            }
            _ => None,
        }
    }

    fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Event::Mirror(self.id, event)));
    }
}

/// What an outcome means for the places of the job.
fn settled(outcome: &Outcome) -> Settled {
    match outcome {
        Outcome::Done => Settled::All,
        Outcome::Partly(failed) => {
            Settled::Except(failed.iter().map(|(place, _)| place.clone()).collect())
        }
        Outcome::Again(_)
        | Outcome::Fatal(..)
        | Outcome::HookFailed(..)
        | Outcome::SourceGone(_) => Settled::Nothing,
    }
}
