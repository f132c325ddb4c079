//! One sync: a source, a target, what waits between them, and the state they are in.
//!
//! A mirror decides; it neither watches nor copies. It is told what happened, and says what is to
//! be done.

mod retry;
mod state;

use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;

pub use retry::LONGEST as LONGEST_RETRY;
use retry::Retry;
pub use state::{Away, Look, Resume, State};

use crate::{
    effect::{Accept, Effect},
    event::{Event, MirrorEvent},
    filter::Filter,
    job::{Failure, Job, JobId, Outcome, Scope, Work},
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
    /// Whether a failed first transfer is tried again, rather than ending the daemon.
    pub insist: bool,
    /// What does not concern this mirror.
    pub filter: Arc<Filter>,
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
    /// The first full transfer since the source was covered.
    Startup,
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
    /// It ends, as the original does when a first transfer fails and it was not told to insist.
    EndDaemon,
}

/// Whether a later try may help, by what the program that failed says of itself.
#[derive(Clone, Copy, Debug)]
enum Hope {
    Some,
    None,
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
            settings,
        }
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
        let excludes = |path| self.settings.filter.excludes(path, kind);
        match (excludes(from), excludes(to)) {
            (true, true) => {}
            (true, false) => self.queue.mark(to, scope, now),
            (false, true) => self.queue.mark(from, scope, now),
            (false, false) => self.queue.mark_move(from, to, kind, now),
        }
    }

    /// The source is watched from now on: what it holds has to be brought to the target.
    pub fn covered(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.state {
            State::Covering => {}
            State::Held { .. } => self.report(MirrorEvent::SourceBack, effects),
            // A second answer to one question says nothing new.
            State::Starting | State::Live | State::Away(_) => return,
        }
        self.state = State::Starting;
        self.queue.mark(&TreePath::root(), Scope::Tree, now);
    }

    /// The source is not there, or not the one that was agreed on.
    pub fn cannot_cover(&mut self, why: String, now: Moment, effects: &mut Vec<Effect>) {
        let State::Held { why: known, look } = &mut self.state else {
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
        if matches!(self.state, State::Held { .. }) {
            return;
        }
        effects.push(Effect::Uncover(self.id));
        if let Some(flight) = &mut self.flight {
            flight.purpose = Purpose::Outlived;
            effects.push(Effect::Stop(flight.job));
        }
        self.report(MirrorEvent::SourceGone(why.clone()), effects);
        self.state = State::Held { why, look: Look::At(now + LOOK_AGAIN) };
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
            State::Starting | State::Live | State::Away(_) if self.is_busy() => None,
            State::Starting => Some(Moment::ORIGIN),
            State::Live => self.queue.next_due(),
            State::Away(away) => Some(away.until),
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
        if self.is_busy() {
            return false;
        }
        if let State::Away(Away { until, resume }) = self.state {
            if until > now {
                return false;
            }
            self.state = resume.into();
        }
        let (batch, purpose) = match self.state {
            State::Starting => (self.queue.take_all(now), Purpose::Startup),
            State::Live => (self.queue.take_due(now), Purpose::Changes),
            State::Covering | State::Away(_) | State::Held { .. } => return false,
        };
        let Some(batch) = batch else { return false };
        let work = match purpose {
            Purpose::Startup => Work::Full,
            Purpose::Changes | Purpose::Outlived => batch.work(),
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
        let resume = match flight.purpose {
            Purpose::Startup => Resume::Starting,
            Purpose::Changes => Resume::Live,
            Purpose::Outlived => {
                self.queue.settle(flight.batch, Settled::Nothing, now);
                return Verdict::GoOn;
            }
        };
        self.queue.settle(flight.batch, settled(&outcome), now);
        match outcome {
            Outcome::Done => self.succeed(resume, effects),
            Outcome::Partly(failed) => {
                self.report(MirrorEvent::PlacesFailed(failed), effects);
                self.succeed(resume, effects);
            }
            Outcome::SourceGone(failure) => self.lose_source(failure.why, now, effects),
            Outcome::Again(failure) => {
                return self.fail(resume, (failure, Hope::Some), now, effects);
            }
            Outcome::Fatal(failure) => {
                return self.fail(resume, (failure, Hope::None), now, effects);
            }
        }
        Verdict::GoOn
    }

    fn succeed(&mut self, was: Resume, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.state = State::Live;
        let event = match was {
            Resume::Starting => MirrorEvent::StartupFinished,
            Resume::Live => MirrorEvent::BatchFinished,
        };
        self.report(event, effects);
    }

    /// Leaves the target alone for a while, or gives up at the start.
    fn fail(
        &mut self,
        resume: Resume,
        (failure, hope): (Failure, Hope),
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        match (resume, hope) {
            (Resume::Starting, Hope::None) => {
                self.report(MirrorEvent::StartupFatal(failure), effects);
                return Verdict::EndDaemon;
            }
            (Resume::Starting, Hope::Some) if !self.settings.insist => {
                self.report(MirrorEvent::StartupGivenUp(failure), effects);
                return Verdict::EndDaemon;
            }
            (Resume::Starting | Resume::Live, _) => {}
        }
        let wait = self.retry.next_wait();
        self.state = State::Away(Away { until: now + wait, resume });
        let event = match (resume, hope) {
            (Resume::Starting, _) => MirrorEvent::StartupRetry(failure, wait),
            (Resume::Live, Hope::Some) => MirrorEvent::BatchRetry(failure, wait),
            (Resume::Live, Hope::None) => MirrorEvent::BatchFatal(failure, wait),
        };
        self.report(event, effects);
        Verdict::GoOn
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
        Outcome::Again(_) | Outcome::Fatal(_) | Outcome::SourceGone(_) => Settled::Nothing,
    }
}
