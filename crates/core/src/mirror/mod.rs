//! One sync: a source, a target, what waits between them, and the state they are in.
//!
//! A mirror decides; it neither watches nor copies. It is told what happened, and says what is to
//! be done.

mod flight;
mod hear;
mod holding;
mod retry;
pub mod scripted;
mod settings;
mod state;
mod status;
mod trouble;

use alloc::{string::String, sync::Arc, vec::Vec};
use core::time::Duration;

use flight::{Flight, Purpose};
pub(crate) use flight::{left, settled};
pub use retry::LONGEST as LONGEST_RETRY;
use retry::Retry;
pub use settings::{Connection, Insist, Settings};
pub use state::{Away, Cause, Look, Resume, State};
pub use status::{Delay, What};
use trouble::Reasons;

use crate::{
    effect::Effect,
    event::{Event, MirrorEvent},
    input::Gate,
    job::{AfterHook, Failure, Grounds, HeldDeletions, HeldFor, Job, JobId, Outcome, Scope, Work},
    notice::MirrorId,
    path::TreePath,
    queue::{Batch, OpenFiles, Pace, Places, Settled},
    time::Moment,
};

/// The shortest wait before a failed job is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// rsync's exit code for a transfer of which something failed: `rsync(1)`.
const PARTIAL_TRANSFER: i32 = 23;

/// How long to wait before looking again whether a lost source is back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One sync.
#[derive(Debug)]
pub struct Mirror {
    id: MirrorId,
    settings: Settings,
    state: State,
    queue: Places,
    /// What is held back from the queue, since somebody is writing it.
    open: OpenFiles,
    flights: Vec<Flight>,
    retry: Retry,
    /// Why the last job failed, if it did.
    trouble: Option<Failure>,
    /// Deletions that wait for a person.
    held: Vec<HeldDeletions>,
    reasons: Reasons,
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
            open: OpenFiles::new(settings.open_wait),
            flights: Vec::new(),
            retry: Retry::new(first, u64::from(id.0) + 1),
            trouble: None,
            held: Vec::new(),
            reasons: Reasons::default(),
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
        effects.push(Effect::Cover(self.id));
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

    /// Unseen deletions that are more than the budget. The target keeps what they would delete.
    #[must_use]
    pub fn held(&self) -> &[HeldDeletions] {
        &self.held
    }

    /// The jobs that are running.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.flights.iter().map(|flight| flight.job)
    }

    /// Whether a job of this mirror is running.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Through which connection its jobs go.
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection> {
        self.settings.connection.as_ref()
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
        if !self.flights.iter().any(|flight| flight.purpose.is_full()) {
            self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
        }
    }

    /// The source is not there, or not the one that was agreed on.
    pub fn cannot_cover(&mut self, why: String, now: Moment, effects: &mut Vec<Effect>) {
        match self.state.still_gone(&why, now) {
            None => self.lose_source(why, now, effects),
            Some(true) => self.report(MirrorEvent::SourceStillGone(why), effects),
            Some(false) => {}
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
        for flight in &mut self.flights {
            flight.purpose = Purpose::Outlived;
            effects.push(Effect::Stop(flight.job));
        }
        // What was told of it while it went is no proof that somebody deleted something.
        self.queue.forget_deletions();
        for held in self.held.iter_mut().filter(|held| held.why == HeldFor::Seen) {
            held.why = HeldFor::Budget;
        }
        self.report(MirrorEvent::SourceGone(why.clone()), effects);
        self.state = State::Held { why, look: Look::At(now + LOOK_AGAIN), resume };
    }

    /// The way to the target has come up or gone down. What waited for it goes out at once; what
    /// runs on it is asked to end, and made again.
    pub fn set_gate(&mut self, gate: Gate, now: Moment, effects: &mut Vec<Effect>) {
        match (core::mem::replace(&mut self.settings.gate, gate), gate) {
            (Gate::Closed, Gate::Open) => {
                self.retry.reset();
                if let State::Away(Away { until, cause: Cause::Target, .. }) = &mut self.state {
                    *until = now;
                }
            }
            (Gate::Open, Gate::Closed) => {
                for flight in &mut self.flights {
                    flight.lost_way = true;
                    effects.push(Effect::Stop(flight.job));
                }
            }
            (Gate::Open, Gate::Open) | (Gate::Closed, Gate::Closed) => {}
        }
    }

    /// Whether there is a way to the target.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.settings.gate
    }

    /// From now on these settings hold. What is on the target is not in question; where deletions
    /// are held, they are counted again if `recount`.
    pub fn change(&mut self, settings: Settings, recount: bool, now: Moment) {
        self.queue.set_pace(settings.pace);
        self.open.set_wait(settings.open_wait);
        self.settings = Settings { gate: self.settings.gate, ..settings };
        if recount {
            self.recount(now);
        }
    }

    /// Ends this mirror. The jobs that it answers with still run, and were asked to end.
    pub fn retire(self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        effects.extend(self.jobs().map(Effect::Stop));
        self.jobs().collect()
    }

    /// A person wants it tried again now.
    pub fn hangup(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.retry.reset();
        self.queue.retry_now(now);
        match &mut self.state {
            State::Away(away) => away.until = now,
            State::Held { look, .. } => {
                *look = Look::Asked;
                effects.push(Effect::Cover(self.id));
            }
            State::Covering | State::Starting | State::Live => {}
        }
    }

    /// When [`advance`](Self::advance) may next have something to do, if it may start a job or not.
    /// `None`: not before something happens.
    #[must_use]
    pub fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        match &self.state {
            State::Held { look: Look::At(at), .. } => Some(*at),
            State::Held { look: Look::Asked, .. } | State::Covering => None,
            State::Starting | State::Live | State::Away(_) if !may_start || !self.has_room() => {
                None
            }
            State::Starting => Some(Moment::ORIGIN),
            State::Live if self.has_room_for_large() && self.queue.has_large() => {
                Some(Moment::ORIGIN)
            }
            State::Live => self.queue.next_due().into_iter().chain(self.open.next_due()).min(),
            State::Away(away) => Some(away.until).filter(|&until| until != Moment::NEVER),
        }
    }

    /// Whether there is a way for one more job. The first transfer runs alone; so does a later full one, since
    /// the queue has nothing else to give then.
    fn has_room(&self) -> bool {
        let most = if self.state == State::Starting { 1 } else { self.settings.max_jobs };
        self.flights.len() < most && self.settings.gate == Gate::Open
    }

    /// Whether one of the jobs may be for a large file: one place is kept for the small ones.
    fn has_room_for_large(&self) -> bool {
        let large = self.flights.iter().filter(|flight| flight.batch.is_large()).count();
        self.has_room() && large + 1 < self.settings.max_jobs.max(2)
    }

    /// Does what is due at `now`. `job` is the name for the job that this may start, if it may; the
    /// answer tells whether it was used.
    pub fn advance(&mut self, job: Option<JobId>, now: Moment, effects: &mut Vec<Effect>) -> bool {
        if let State::Held { look, .. } = &mut self.state {
            if look.is_to_be_asked(now) {
                effects.push(Effect::Cover(self.id));
            }
            return false;
        }
        let Some(job) = job.filter(|_| self.has_room()) else { return false };
        if let State::Away(Away { until, resume, .. }) = self.state {
            if until > now {
                return false;
            }
            self.state = resume.into();
        }
        let batch = match self.state {
            State::Starting => self.queue.take_all(now),
            State::Live => self.take_next(now),
            State::Covering | State::Away(_) | State::Held { .. } => return false,
        };
        let Some(batch) = batch else { return false };
        let (purpose, work) = if self.state == State::Starting {
            (Purpose::Startup, Work::Full { heard: Arc::clone(batch.heard()) })
        } else {
            (Purpose::of(&batch), batch.work())
        };
        effects.push(Effect::Start(Job { id: job, mirror: self.id, work }));
        self.flights.push(Flight { job, batch, purpose, lost_way: false });
        true
    }

    fn take_next(&mut self, now: Moment) -> Option<Batch> {
        for (path, since) in self.open.take_due(now) {
            self.queue.mark_written(&path, Scope::Entry, since);
        }
        let batch = self.queue.take_due(now);
        if batch.is_none() && self.has_room_for_large() { self.queue.take_large() } else { batch }
    }

    /// Takes in how a job ended.
    pub fn job_ended(
        &mut self,
        job: JobId,
        outcome: Outcome,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        let Some(at) = self.jobs().position(|running| running == job) else {
            return Verdict::GoOn;
        };
        let flight = self.flights.remove(at);
        if flight.was_in_vain(&outcome) {
            self.queue.settle(flight.batch, Settled::Nothing, now);
            return Verdict::GoOn;
        }
        let purpose = flight.purpose;
        let places = Arc::clone(flight.batch.places());
        self.queue.settle_but(flight.batch, settled(&outcome), left(&outcome), now);
        let (failed, held) = match outcome {
            Outcome::Done => Default::default(),
            Outcome::Partly(failed) => (failed, Vec::new()),
            Outcome::Split { failed, held, .. } => (failed, held),
            Outcome::SourceGone(failure) => {
                self.lose_source(failure.why, now, effects);
                return Verdict::GoOn;
            }
            Outcome::HookFailed { failure, then, held } => {
                // The target was compared all the same.
                self.hold(purpose, &places, held, effects);
                self.tell_success(purpose, 0, effects);
                self.rest_after_hook(failure, then, now, effects);
                return Verdict::GoOn;
            }
            Outcome::Again(failure) => return self.fail(purpose, (failure, None), now, effects),
            Outcome::Fatal(failure, grounds) => {
                return self.fail(purpose, (failure, Some(grounds)), now, effects);
            }
        };
        // Where rsync was not what failed, it is a partial transfer all the same.
        let code = failed.first().map_or(0, |(_, why)| why.code.unwrap_or(PARTIAL_TRANSFER));
        if !failed.is_empty() {
            self.reasons.note(&failed, &self.queue);
            self.report(MirrorEvent::PlacesFailed(failed), effects);
        }
        self.hold(purpose, &places, held, effects);
        self.succeed(purpose, code, effects);
        Verdict::GoOn
    }

    fn succeed(&mut self, purpose: Purpose, code: i32, effects: &mut Vec<Effect>) {
        // The others may still fail, and what failed is not to be tried at once because others did
        // not: else what always fails would be tried without a pause.
        if self.flights.is_empty() && !matches!(self.state, State::Away(_)) {
            self.retry.reset();
            self.trouble = None;
        }
        if self.state == State::Starting {
            self.state = State::Live;
        }
        self.tell_success(purpose, code, effects);
    }

    fn tell_success(&self, purpose: Purpose, code: i32, effects: &mut Vec<Effect>) {
        let event = match purpose {
            Purpose::Startup => MirrorEvent::StartupFinished(code),
            Purpose::Full => MirrorEvent::FullFinished(code),
            Purpose::Changes | Purpose::Outlived => MirrorEvent::BatchFinished(code),
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
        let wait = self.leave_alone(Resume::Live, (Cause::Hook, then == AfterHook::Hold), now);
        self.trouble = Some(failure.clone());
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
        self.trouble = Some(failure.clone());
        let resume = if purpose == Purpose::Startup { Resume::Starting } else { Resume::Live };
        let Some(wait) = self.leave_alone(resume, (Cause::Target, false), now) else {
            return Verdict::GoOn;
        };
        let event = match purpose {
            Purpose::Startup => MirrorEvent::StartupRetry(failure, wait),
            Purpose::Full => MirrorEvent::FullRetry(failure, wait),
            Purpose::Changes | Purpose::Outlived => MirrorEvent::BatchRetry(failure, wait),
        };
        self.report(event, effects);
        Verdict::GoOn
    }

    fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Event::Mirror(self.id, event)));
    }
}
