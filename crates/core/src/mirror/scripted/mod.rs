//! A sync whose changes are passed to a script of the user, one by one and in order.
//!
//! The mirror decides when to call the script; during the call the script queries the queue
//! directly. The exit of a child is passed to the script, which decides what it means.
//!
//! The file system is the truth. Events that may have been lost in a directory are queued as a full
//! event if the script has a function for it, otherwise as if every existing entry had just been
//! created; deletions in the meantime stay unknown. Events that may have been lost in all of the
//! source, as while it was gone, are queued as an init event if the script has a function for it,
//! otherwise in the same way.

mod calls;
mod flush;
mod fs_events;
mod listings;
mod one_pass;
mod phase;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

pub use calls::SpawnError;
pub(crate) use one_pass::OnePassStatus;

use calls::ScriptChild;
use listings::PendingListings;
pub use phase::RestartMode;
use phase::ScriptPhase;

use super::{Connection, FlushMark, FlushProgress, SourceState, SyncMember};
use crate::{
    effect::{Effect, ScriptCall},
    filter::Filter,
    fs_event::{FsEventKind, MirrorId},
    input::TargetLink,
    job::JobId,
    path::TreePath,
    queue::event_queue::{
        Coupling, Etype, EventId, EventQueue, EventQueueSettings, EventRefusal, QueuedEvent,
    },
    time::Moment,
};

/// The most events that are kept. With more, the mirror restarts, or resyncs once they are done.
pub const MAX_EVENTS: usize = 250_000;

/// The wait after a script has left everything that is due alone.
pub const IDLE_WAIT: Duration = Duration::from_secs(1);

/// The time after which a script that leaves its init event alone is presumed to wait for something
/// else.
pub const INIT_IDLE_LIMIT: Duration = Duration::from_secs(10);

/// The wait after a call that started no child and left no fewer events than before: a script that
/// adds an event each time would be called without a pause.
pub const RECALL_PAUSE: Duration = Duration::from_millis(10);

/// The part of a script that handles full events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullHandling {
    /// None.
    Ignored,
    /// The action, with `onFull`.
    Action,
    /// A function for them, which also transfers a part of the source.
    Function,
}

/// Settings of a scripted mirror.
#[derive(Clone, Debug)]
pub struct ScriptSettings {
    /// The age at which an event is due.
    pub delay: Duration,
    /// With this many events all are due at once.
    pub max_delays: usize,
    /// The most concurrent children.
    pub max_jobs: usize,
    /// True if the script handles moves. Otherwise each is a delete and a create.
    pub wants_renames: bool,
    /// The treatment of full events.
    pub full: FullHandling,
    /// The treatment of queued events when the mirror restarts.
    pub restart_mode: RestartMode,
    /// The rules that exclude entries.
    pub filter: Arc<Filter>,
    /// True if the entries of the directories of the source are watched, too.
    pub subdirectories: bool,
    /// The link to the target.
    pub target_link: TargetLink,
    /// The connection of the script's transfers. `None` if each has its own, or none.
    pub connection: Option<Connection>,
}

/// One scripted sync.
#[derive(Debug)]
pub struct ScriptedMirror {
    settings: ScriptSettings,
    source: SourceState,
    phase: ScriptPhase,
    queue: EventQueue,
    jobs: BTreeMap<JobId, ScriptChild>,
    /// The call that has not returned yet.
    call: Option<PendingCall>,
    coverage: SourceCoverage,
    /// True if the queue has overflowed: nothing is added before all of it is done. Then the
    /// existing entries are queued, since nothing else makes up for the changes in the meantime.
    overflowed: bool,
    /// The number of failures in a row, of whatever events.
    failures: u32,
    /// No event is tried before this time, after too many failures.
    paused_until: Option<Moment>,
    idle: IdleBackoff,
    listings: PendingListings,
    /// The directories that are listed only to find out which entries are gone.
    probes: BTreeSet<TreePath>,
    /// True if an operator has paused it: the script is not called for events.
    is_paused: bool,
}

/// Completeness of watching so far, by this mirror or its predecessors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceCoverage {
    /// The source was never watched.
    Never,
    /// No event was missed.
    Complete,
    /// The source was not watched for a while.
    Interrupted,
}

/// A call of the script for an event that is due.
#[derive(Clone, Debug)]
struct PendingCall {
    /// The oldest event that was due.
    head: EventId,
    /// The number of events at the time of the call.
    length: usize,
    /// The events that were given to the script last.
    given: Vec<EventId>,
    /// True if the script has started or discarded an event.
    has_acted: bool,
    /// True if the script has started a child, whose exit leads to another call.
    has_spawned: bool,
}

/// The wait after a call in which the script did nothing.
#[derive(Clone, Copy, Debug, Default)]
struct IdleBackoff {
    until: Option<Moment>,
    /// The start of the sequence of calls in which the script did nothing.
    since: Option<Moment>,
}

impl ScriptedMirror {
    /// A mirror that has not begun yet.
    #[must_use]
    pub fn new(id: MirrorId, settings: ScriptSettings) -> Self {
        let coupling = if settings.max_jobs > 1 { Coupling::Tight } else { Coupling::Loose };
        let ScriptSettings { delay, max_delays, .. } = settings;
        Self {
            source: SourceState::new(id),
            phase: ScriptPhase::Restarting { mode: settings.restart_mode, init: None },
            queue: EventQueue::new(EventQueueSettings { delay, max_delays, coupling }),
            jobs: BTreeMap::new(),
            call: None,
            coverage: SourceCoverage::Never,
            overflowed: false,
            failures: 0,
            paused_until: None,
            idle: IdleBackoff::default(),
            listings: PendingListings::default(),
            probes: BTreeSet::new(),
            is_paused: false,
            settings,
        }
    }

    /// Returns true if the init event is done, and the source is watched.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.source.is_covered() && matches!(self.phase, ScriptPhase::Live { .. })
    }

    /// The events that wait or are in progress.
    #[must_use]
    pub const fn queue(&self) -> &EventQueue {
        &self.queue
    }

    /// Restarts once nothing runs any more.
    fn restart(&mut self, mode: RestartMode) {
        self.phase = self.phase.restarted(mode);
        self.clear_idle();
    }

    /// Queues the init event, after the events that are kept.
    fn begin_init(&mut self, mode: RestartMode, previous: Option<EventId>) {
        if mode == RestartMode::Clear {
            self.queue.clear();
        }
        let previous = previous.filter(|init| self.queue.get(*init).is_some());
        let init = previous.unwrap_or_else(|| self.queue.push_init());
        self.phase = ScriptPhase::Starting { init };
    }

    /// Notes that the source is not watched any more.
    pub(super) fn mark_interrupted(&mut self) {
        if self.coverage == SourceCoverage::Complete {
            self.coverage = SourceCoverage::Interrupted;
        }
    }

    /// The link to the target.
    #[must_use]
    pub const fn target_link(&self) -> TargetLink {
        self.settings.target_link
    }

    /// The rules that exclude entries.
    #[must_use]
    pub const fn filter(&self) -> &Arc<Filter> {
        &self.settings.filter
    }

    /// Replaces the rules. Queued events stay.
    pub fn set_filter(&mut self, filter: Arc<Filter>) {
        self.settings.filter = filter;
    }

    fn reset_backoff(&mut self) {
        self.failures = 0;
        self.paused_until = None;
        self.queue.retry_now();
        self.clear_idle();
    }

    /// Notes a change, after which a call of the script may be useful.
    const fn clear_idle(&mut self) {
        self.idle.until = None;
    }

    fn not_before(&self) -> Moment {
        self.idle.until.max(self.paused_until).unwrap_or(Moment::ORIGIN)
    }

    fn may_call(&self) -> bool {
        let has_room = self.jobs.len() < self.settings.max_jobs;
        let may_run = self.settings.target_link == TargetLink::Up && !self.is_paused;
        self.call.is_none() && has_room && may_run
    }

    /// Returns true if the queue has overflowed and all of it but failures is done.
    fn is_overflow_drained(&self) -> bool {
        let is_done = || self.queue.has_only_retries() && self.queue.len() <= MAX_EVENTS / 2;
        self.overflowed && !self.is_busy() && is_done()
    }

    /// Detects that the init event is done; called whenever an event may have been removed.
    fn update_init(&mut self) {
        if let ScriptPhase::Starting { init } = self.phase
            && self.queue.get(init).is_none()
        {
            self.phase = ScriptPhase::Live { mark: self.queue.mark() };
        }
    }

    /// Returns true if this is the init event.
    fn is_init(&self, id: EventId) -> bool {
        self.phase.init() == Some(id)
    }

    /// Returns true if the script leaves its init event alone, however often it is called.
    pub(crate) fn is_stuck(&self, now: Moment) -> bool {
        let first = self.queue.iter().next().map(QueuedEvent::id);
        let begins = first.is_some_and(|first| self.is_init(first));
        let is_idle = self.idle.since.is_some_and(|since| since + INIT_IDLE_LIMIT <= now);
        begins && is_idle && !self.is_busy()
    }

    /// Registers a child of the script for these events.
    ///
    /// # Errors
    ///
    /// If the limit of children is reached, or one of the events can't be activated.
    pub(crate) fn start(&mut self, job: JobId, ids: &[EventId]) -> Result<(), SpawnError> {
        if self.source.is_gone() {
            return Err(SpawnError::NotNow);
        }
        // Problems of the events have priority over the limit.
        self.queue.can_activate(ids).map_err(SpawnError::Event)?;
        if self.jobs.len() >= self.settings.max_jobs {
            return Err(SpawnError::TooMany);
        }
        self.queue.activate(ids).map_err(SpawnError::Event)?;
        self.jobs.insert(job, ScriptChild { events: ids.to_vec(), code: None });
        if let Some(call) = &mut self.call {
            call.has_spawned = true;
        }
        self.note_action();
        Ok(())
    }

    /// Drops an event that waits.
    ///
    /// # Errors
    ///
    /// If it is active, blocked, or does not exist.
    pub fn discard(&mut self, id: EventId) -> Result<(), EventRefusal> {
        self.queue.discard(id)?;
        self.note_action();
        self.update_init();
        Ok(())
    }

    /// Adds an event that blocks all later ones.
    pub fn push_blanket(&mut self) -> EventId {
        self.clear_idle();
        self.queue.push_blanket()
    }

    /// Adds a full event for everything at and below `path`.
    pub fn push_full(&mut self, path: TreePath) -> EventId {
        self.clear_idle();
        self.replace_events(|queue| queue.push_full(path))
    }

    fn note_action(&mut self) {
        self.clear_idle();
        // The actions of an alarm prove nothing about the function that is called for due events.
        if let Some(call) = &mut self.call {
            call.has_acted = true;
            self.idle.since = None;
        }
    }
}

impl SyncMember for ScriptedMirror {
    fn source(&self) -> &SourceState {
        &self.source
    }

    fn source_mut(&mut self) -> &mut SourceState {
        &mut self.source
    }

    fn jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    fn job_count(&self) -> usize {
        self.jobs.len() + usize::from(self.call.is_some())
    }

    fn connection(&self) -> Option<&Connection> {
        self.settings.connection.as_ref()
    }

    fn covered(&mut self, _: Moment, effects: &mut Vec<Effect>) {
        if self.source.covered(effects).is_none() {
            return;
        }
        let coverage = core::mem::replace(&mut self.coverage, SourceCoverage::Complete);
        self.clear_idle();
        if coverage == SourceCoverage::Interrupted
            && self.settings.restart_mode == RestartMode::Keep
        {
            self.resync(&TreePath::root(), effects);
        }
    }

    fn suspend(&mut self, effects: &mut Vec<Effect>) {
        self.mark_interrupted();
        self.restart(self.settings.restart_mode);
        effects.extend(self.jobs.keys().copied().map(Effect::Stop));
    }

    fn set_target_link(&mut self, link: TargetLink, _: Moment, _: &mut Vec<Effect>) {
        let was = core::mem::replace(&mut self.settings.target_link, link);
        if (was, link) == (TargetLink::Down, TargetLink::Up) {
            self.reset_backoff();
        }
    }

    fn on_fs_event(&mut self, event: FsEventKind, now: Moment, effects: &mut Vec<Effect>) {
        self.enqueue(event, now, effects);
    }

    fn on_predecessor_gone(&mut self) {
        self.mark_interrupted();
    }

    fn full_due(&mut self, _: Moment, _: &mut Vec<Effect>) {
        self.push_full(TreePath::root());
    }

    fn resync(&mut self, path: &TreePath, _: Moment, effects: &mut Vec<Effect>) {
        if path.is_root() && self.settings.full != FullHandling::Ignored {
            self.push_full(TreePath::root());
        } else if path.is_root() && self.settings.restart_mode == RestartMode::Clear {
            // Its startup is its only full transfer.
            self.restart(RestartMode::Clear);
        } else {
            self.resync(path, effects);
            self.clear_idle();
        }
    }

    fn release(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.retry_now(now, effects);
    }

    fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.clear_idle();
    }

    fn begin_flush(&mut self, path: TreePath, now: Moment) -> FlushMark {
        self.make_due();
        FlushMark::new(path, now)
    }

    fn retry_for_flush(&mut self, _: Moment) {
        self.make_due();
    }

    fn flush_progress(&self, mark: &mut FlushMark, now: Moment) -> FlushProgress {
        self.progress(mark, now)
    }

    fn retry_now(&mut self, _: Moment, effects: &mut Vec<Effect>) {
        self.reset_backoff();
        self.source.retry_now(effects);
    }

    fn advance(&mut self, job: Option<JobId>, now: Moment, effects: &mut Vec<Effect>) -> bool {
        self.source.advance(now, effects);
        self.list_created(effects);
        if !self.source.is_covered() {
            return false;
        }
        if let ScriptPhase::Restarting { mode, init } = self.phase {
            if self.is_busy() {
                return false;
            }
            self.begin_init(mode, init);
        }
        if self.is_overflow_drained() {
            self.overflowed = false;
            self.resync(&TreePath::root(), effects);
        }
        if job.is_none() || !self.may_call() || self.not_before() > now {
            return false;
        }
        let Some(head) = self.queue.first_due(now) else { return false };
        let (head, etype) = (head.id(), head.etype());
        let call = match etype {
            Etype::Init => ScriptCall::Init(head),
            Etype::Full if self.settings.full == FullHandling::Function => ScriptCall::Full(head),
            Etype::Full
            | Etype::Attrib
            | Etype::Create
            | Etype::Modify
            | Etype::Delete
            | Etype::Move
            | Etype::Blanket => ScriptCall::Action,
        };
        self.call = Some(PendingCall {
            head,
            length: self.queue.len(),
            given: Vec::new(),
            has_acted: false,
            has_spawned: false,
        });
        effects.push(Effect::CallScript(self.id(), call));
        true
    }

    fn next_wakeup(&self, may_start: bool) -> Option<Moment> {
        if !self.source.is_covered() {
            return self.source.next_check();
        }
        if matches!(self.phase, ScriptPhase::Restarting { .. }) {
            return (!self.is_busy()).then_some(Moment::ORIGIN);
        }
        if self.is_overflow_drained() {
            return Some(Moment::ORIGIN);
        }
        let due = self.queue.next_due().filter(|_| may_start && self.may_call())?;
        Some(due.max(self.not_before()))
    }
}
