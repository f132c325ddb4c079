//! A sync whose changes are told to a script of the user, one by one and in order.
//!
//! It says when the script is to be called; what the script wants of the queue while it is called
//! it asks for directly. What its children did is put to the script again, which says what that
//! means.
//!
//! The truth stays on the disk. What may have been missed in a directory is told as a full event
//! where the script has a function for that, else as if all that is there had just been made; what
//! went meanwhile nobody knows. What may have been missed in all of the source, as while it was gone,
//! is told as a beginning, if the script has a function for that, else in the same way.

mod calls;
mod hear;
mod listings;
mod one_pass;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

pub use calls::Spawned;
pub(crate) use one_pass::OnePass;

use calls::Child;
use listings::Listings;

use super::{Connection, LOOK_AGAIN, Look, Resume, State};
use crate::{
    effect::{Call, Effect},
    event::{Event, MirrorEvent},
    filter::Filter,
    input::Gate,
    job::JobId,
    notice::MirrorId,
    path::TreePath,
    queue::ordered::{Bond, Entry, Etype, EventId, Mark, Ordered, OrderedPace, Refused},
    time::Moment,
};

/// The most events that are kept. With more the mirror begins anew, or with what is there, once they are
/// done.
pub const MOST_EVENTS: usize = 250_000;

/// How long a script is left alone that has done nothing with what is due.
pub const IDLE: Duration = Duration::from_secs(1);

/// When it has done nothing for so long with the event by which it begins, it waits for something
/// else.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is left alone when it has begun no child and as much waits as before: one that makes
/// a new event each time would be called for ever.
pub const PAUSE: Duration = Duration::from_millis(10);

/// What a mirror with a script has to know beforehand.
#[derive(Clone, Debug)]
pub struct ScriptSettings {
    /// How old an event becomes before it is due.
    pub delay: Duration,
    /// With this many events all are due at once.
    pub max_delays: usize,
    /// The most children at once.
    pub max_jobs: usize,
    /// Whether the script wants to be told of moves. If not, each is a delete and a create.
    pub moves: bool,
    /// Whether the script has a function for full events.
    pub full: bool,
    /// What becomes of events that wait when the mirror begins anew.
    pub anew: Reset,
    /// What does not concern this mirror.
    pub filter: Arc<Filter>,
    /// Whether what is below the directories of the source concerns it.
    pub subdirectories: bool,
    /// Whether there is a way to the target now.
    pub gate: Gate,
    /// Through which connection the script's transfers go. `None` if each has its own, or none.
    pub connection: Option<Connection>,
}

/// How a mirror begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reset {
    /// What waits stays: the script has no function for the beginning, so nothing makes up for it.
    Keep,
    /// What waits is dropped, and so is what comes until then.
    Clear,
}

/// One sync with a script.
#[derive(Debug)]
pub struct Scripted {
    id: MirrorId,
    settings: ScriptSettings,
    state: State,
    queue: Ordered,
    jobs: BTreeMap<JobId, Child>,
    /// The call that has not been answered yet.
    calling: Option<Pending>,
    /// The event by which the mirror begins, until it is done.
    init: Option<EventId>,
    /// Whether it begins anew as soon as nothing runs.
    reset: Option<Reset>,
    sight: Sight,
    /// Whether so much waits that nothing is added before all of it is done. Then what is there is told,
    /// since nothing else makes up for what happened meanwhile.
    is_full: bool,
    /// How many tries have failed since the last one that did not, whatever they were.
    failures: u32,
    /// Nothing is tried before this, since so much has failed.
    pause: Option<Moment>,
    /// What was there when the beginning was done.
    begun: Option<Mark>,
    idle: Idle,
    listings: Listings,
    /// The directories that are listed only to see what is not there any more.
    glances: BTreeSet<TreePath>,
}

/// How the source was watched up to now, by this mirror or one before it in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Nobody has watched it yet.
    None,
    /// Nothing was missed.
    Whole,
    /// For a while nobody did.
    Broken,
}

/// A call of the script for something that is due.
#[derive(Clone, Debug)]
struct Pending {
    /// The oldest event that was due.
    head: EventId,
    /// How many events there were.
    length: usize,
    /// The events that it was given last.
    asked: Vec<EventId>,
    /// Whether the script has begun or dropped something since.
    has_acted: bool,
    /// Whether it has begun a child, whose end it will be called for.
    has_begun: bool,
}

/// Whether the script is left alone since it did nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Idle {
    until: Option<Moment>,
    /// Since when it has done nothing, each time when it was called.
    since: Option<Moment>,
}

impl Scripted {
    /// A mirror that has not begun yet.
    #[must_use]
    pub fn new(id: MirrorId, settings: ScriptSettings) -> Self {
        let bond = if settings.max_jobs > 1 { Bond::Tight } else { Bond::Loose };
        let ScriptSettings { delay, max_delays, .. } = settings;
        Self {
            id,
            state: State::Covering,
            queue: Ordered::new(OrderedPace { delay, max_delays, bond }),
            jobs: BTreeMap::new(),
            calling: None,
            init: None,
            reset: None,
            sight: Sight::None,
            is_full: false,
            failures: 0,
            pause: None,
            begun: None,
            idle: Idle::default(),
            listings: Listings::default(),
            glances: BTreeSet::new(),
            settings,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> MirrorId {
        self.id
    }

    /// The state it is in.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What waits and what is being worked on.
    #[must_use]
    pub const fn queue(&self) -> &Ordered {
        &self.queue
    }

    /// The jobs that run, and those whose end the script has not been told yet.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }

    /// Whether this job is one of its own.
    pub(crate) fn has(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether a job runs or the script is being called.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.calling.is_some() || !self.jobs.is_empty()
    }

    /// How many jobs run or may begin at any moment.
    pub(crate) fn load(&self) -> usize {
        self.jobs.len() + usize::from(self.calling.is_some())
    }

    /// Through which connection its transfers go.
    pub(crate) const fn connection(&self) -> Option<&Connection> {
        self.settings.connection.as_ref()
    }

    /// Asks for the source to be watched; all else follows from the answer.
    pub fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Covering;
        effects.push(Effect::Cover(self.id));
    }

    /// The source is watched from now on: the mirror begins, or begins anew.
    pub fn covered(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Covering => {}
            State::Held { .. } => self.report(MirrorEvent::SourceBack, effects),
            // A second answer to one question says nothing new.
            State::Starting | State::Live | State::Away(_) => return,
        }
        let sight = core::mem::replace(&mut self.sight, Sight::Whole);
        self.begin_anew(self.settings.anew);
        if sight == Sight::Broken && self.settings.anew == Reset::Keep {
            self.tell_again(&TreePath::root(), effects);
        }
    }

    /// Begins anew once nothing runs any more.
    fn begin_anew(&mut self, reset: Reset) {
        self.state = State::Starting;
        self.reset = self.reset.max(Some(reset));
        self.wake();
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
        if matches!(self.state, State::Held { .. }) {
            return;
        }
        self.miss();
        effects.push(Effect::Uncover(self.id));
        effects.extend(self.jobs().map(Effect::Stop));
        self.report(MirrorEvent::SourceGone(why.clone()), effects);
        let look = Look::At(now + LOOK_AGAIN);
        self.state = State::Held { why, look, resume: Resume::Starting };
    }

    /// The source is not watched any more.
    pub(super) fn miss(&mut self) {
        if self.sight == Sight::Whole {
            self.sight = Sight::Broken;
        }
    }

    /// The way to the target has come up or gone down.
    pub fn set_gate(&mut self, gate: Gate) {
        let was = core::mem::replace(&mut self.settings.gate, gate);
        if (was, gate) == (Gate::Closed, Gate::Open) {
            self.hurry();
        }
    }

    /// Whether there is a way to the target.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.settings.gate
    }

    /// What does not concern this mirror.
    #[must_use]
    pub const fn filter(&self) -> &Arc<Filter> {
        &self.settings.filter
    }

    /// From now on this does not concern it. What waits already stays.
    pub fn set_filter(&mut self, filter: Arc<Filter>) {
        self.settings.filter = filter;
    }

    /// Ends this mirror. The jobs that it answers with still run, and were asked to end.
    pub fn retire(self, effects: &mut Vec<Effect>) -> Vec<JobId> {
        effects.extend(self.jobs().map(Effect::Stop));
        self.jobs().collect()
    }

    /// A person wants it tried again now.
    pub fn hangup(&mut self, effects: &mut Vec<Effect>) {
        self.hurry();
        if let State::Held { look, .. } = &mut self.state {
            *look = Look::Asked;
            effects.push(Effect::Cover(self.id));
        }
    }

    fn hurry(&mut self) {
        self.failures = 0;
        self.pause = None;
        self.queue.retry_now();
        self.wake();
    }

    /// Something has changed: it may be of use to call the script.
    const fn wake(&mut self) {
        self.idle.until = None;
    }

    /// When [`advance`](Self::advance) may next have something to do, if it may call the script or
    /// not. `None`: not before something happens.
    #[must_use]
    pub fn next_wakeup(&self, may_call: bool) -> Option<Moment> {
        match &self.state {
            State::Held { look: Look::At(at), .. } => Some(*at),
            State::Held { look: Look::Asked, .. } | State::Covering => None,
            _ if self.reset.is_some() => (!self.is_busy()).then_some(Moment::ORIGIN),
            _ if self.is_emptied() => Some(Moment::ORIGIN),
            _ if !may_call || !self.may_call() => None,
            _ => Some(self.queue.next_due()?.max(self.left_alone_until())),
        }
    }

    fn left_alone_until(&self) -> Moment {
        self.idle.until.max(self.pause).unwrap_or(Moment::ORIGIN)
    }

    fn may_call(&self) -> bool {
        let has_room = self.jobs.len() < self.settings.max_jobs;
        self.calling.is_none() && has_room && self.settings.gate == Gate::Open
    }

    /// Does what is due at `now`. `may_call` says whether the script may be called, which may begin
    /// a job; the answer tells whether it is.
    pub fn advance(&mut self, may_call: bool, now: Moment, effects: &mut Vec<Effect>) -> bool {
        match &mut self.state {
            State::Held { look, .. } => {
                if look.is_to_be_asked(now) {
                    effects.push(Effect::Cover(self.id));
                }
                return false;
            }
            State::Covering => return false,
            State::Starting | State::Live | State::Away(_) => {}
        }
        if let Some(reset) = self.reset {
            if self.is_busy() {
                return false;
            }
            self.reset = None;
            if reset == Reset::Clear {
                self.queue.clear();
            }
            let is_there = self.init.is_some_and(|init| self.queue.get(init).is_some());
            if !is_there {
                self.init = Some(self.queue.push_init());
            }
        }
        if self.is_emptied() {
            self.is_full = false;
            self.tell_again(&TreePath::root(), effects);
        }
        if !may_call || !self.may_call() || self.left_alone_until() > now {
            return false;
        }
        let Some(head) = self.queue.first_due(now) else { return false };
        let (head, etype) = (head.id(), head.etype());
        let call = match etype {
            Etype::Init => Call::Init(head),
            Etype::Full if self.settings.full => Call::Full(head),
            _ => Call::Action,
        };
        self.calling = Some(Pending {
            head,
            length: self.queue.len(),
            asked: Vec::new(),
            has_acted: false,
            has_begun: false,
        });
        effects.push(Effect::Script(self.id, call));
        true
    }

    /// Whether there was too much, and all of it is done but what fails.
    fn is_emptied(&self) -> bool {
        let is_done = || self.queue.only_rests() && self.queue.len() <= MOST_EVENTS / 2;
        self.is_full && !self.is_busy() && is_done()
    }

    /// Whether the event by which it begins is done is seen whenever one may have gone.
    fn see_beginning(&mut self) {
        let is_done = self.init.is_some_and(|init| self.queue.get(init).is_none());
        if is_done && self.reset.is_none() {
            self.init = None;
            if self.state == State::Starting {
                self.state = State::Live;
                self.begun.get_or_insert(self.queue.mark());
            }
        }
    }

    /// Whether it does nothing with the event by which it begins, however often it is called.
    pub(crate) fn is_stuck(&self, now: Moment) -> bool {
        let begins = self.init.is_some() && self.init == self.queue.iter().next().map(Entry::id);
        let is_idle = self.idle.since.is_some_and(|since| since + PATIENCE <= now);
        begins && is_idle && !self.is_busy()
    }

    /// A child of the script works on these events from now on.
    ///
    /// # Errors
    ///
    /// If no more children are allowed, or one of the events can't be worked on now.
    pub(crate) fn start(&mut self, job: JobId, ids: &[EventId]) -> Result<(), Spawned> {
        if matches!(self.state, State::Held { .. }) {
            return Err(Spawned::NotNow);
        }
        // What is wrong with the events is told first.
        self.queue.may_activate(ids).map_err(Spawned::Not)?;
        if self.jobs.len() >= self.settings.max_jobs {
            return Err(Spawned::TooMany);
        }
        self.queue.activate(ids).map_err(Spawned::Not)?;
        self.jobs.insert(job, Child { events: ids.to_vec(), code: None });
        if let Some(calling) = &mut self.calling {
            calling.has_begun = true;
        }
        self.act();
        Ok(())
    }

    /// Drops an event that waits.
    ///
    /// # Errors
    ///
    /// If it is being worked on, waits for another one, or is not there.
    pub fn discard(&mut self, id: EventId) -> Result<(), Refused> {
        self.queue.discard(id)?;
        self.act();
        self.see_beginning();
        Ok(())
    }

    /// Adds an event for which all waits that comes later.
    pub fn push_blanket(&mut self) -> EventId {
        self.wake();
        self.queue.push_blanket()
    }

    /// Adds an event that says that all at and below `path` is to be mirrored.
    pub fn push_full(&mut self, path: TreePath) -> EventId {
        self.wake();
        self.queue.push_full(path)
    }

    fn act(&mut self) {
        self.wake();
        // What an alarm does says nothing of the function that is called for what is due.
        if let Some(calling) = &mut self.calling {
            calling.has_acted = true;
            self.idle.since = None;
        }
    }

    fn report(&self, event: MirrorEvent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Event::Mirror(self.id, event)));
    }
}
