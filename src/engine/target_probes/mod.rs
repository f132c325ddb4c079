//! Probes of targets that are away: they notice cheaply that a retry is worthwhile, long before the
//! backoff ends.

mod place;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_core::{
    fs_event::MirrorId,
    input::Input,
    log_event::{BatchEvent, FullEvent, LogEvent, MirrorEvent, StartupEvent},
};

use super::{Inbox, Message};
use place::TargetObservation;
pub(super) use place::TargetPlace;

/// A shorter backoff needs no probe.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(2);

/// Probes of the targets that are away, at most one for each mirror.
///
/// Each has a thread of its own, because a dead network file system may block it for ever.
pub(super) struct TargetProbes {
    probes: BTreeMap<MirrorId, TargetProbe>,
    inbox: Inbox,
}

struct TargetProbe {
    /// Sender of the end of the present backoff. The thread ends with it.
    end: Sender<Instant>,
    tried: TriedState,
}

/// The state of the target when the last retry was requested that failed nevertheless.
type TriedState = Arc<Mutex<Option<TargetObservation>>>;

impl TargetProbes {
    pub(super) const fn new(inbox: Inbox) -> Self {
        Self { probes: BTreeMap::new(), inbox }
    }

    /// Starts a probe if this event says that a target is away, and ends it when the target is
    /// back. `place_of` finds the place of the target, if that is known.
    pub(super) fn note(
        &mut self,
        event: &LogEvent,
        place_of: impl FnOnce(MirrorId) -> Option<TargetPlace>,
    ) {
        let LogEvent::Mirror(mirror, event) = event else { return };
        if let MirrorEvent::Startup(StartupEvent::Retry(_, wait))
        | MirrorEvent::Full(FullEvent::Retry(_, wait))
        | MirrorEvent::Batch(BatchEvent::Retry(_, wait)) = event
        {
            self.expect(*mirror, Instant::now() + *wait, || place_of(*mirror));
        } else if matches!(event, MirrorEvent::Recovered) {
            self.forget(*mirror);
        }
    }

    /// Ends the probe of a mirror.
    pub(super) fn forget(&mut self, mirror: MirrorId) {
        self.probes.remove(&mirror);
    }

    /// Probes a target until `end`.
    fn expect(
        &mut self,
        mirror: MirrorId,
        end: Instant,
        place: impl FnOnce() -> Option<TargetPlace>,
    ) {
        let probe = self.probes.get(&mirror);
        if probe.is_some_and(|probe| probe.end.send(end).is_ok())
            || end.saturating_duration_since(Instant::now()) < SHORTEST_BACKOFF
        {
            return;
        }
        let tried = probe.map(|probe| Arc::clone(&probe.tried)).unwrap_or_default();
        let Some(place) = place() else { return };
        let (sender, ends) = channel();
        let (inbox, state) = (self.inbox.clone(), Arc::clone(&tried));
        let run = move || {
            let last = lock(&state).take();
            if let Some(now) = wait_for_return(&place, last, &ends, end) {
                *lock(&state) = Some(now);
                inbox.send(Message::Input(Input::TargetBack(mirror)));
            }
        };
        // Without a thread, the backoff ends as usual.
        if thread::Builder::new().name("probe".into()).spawn(run).is_ok() {
            self.probes.insert(mirror, TargetProbe { end: sender, tried });
        }
    }
}

/// Waits until a retry is worthwhile, and returns the state of the target. `None`: the backoff has
/// ended before.
///
/// Each state that looks usable is worth one try that begins after it was observed; `tried` had
/// one.
fn wait_for_return(
    place: &TargetPlace,
    tried: Option<TargetObservation>,
    ends: &Receiver<Instant>,
    mut end: Instant,
) -> Option<TargetObservation> {
    let mut is_first = tried.is_none();
    let mut before = tried;
    while Instant::now() < end {
        let now = place.observe();
        let interval = now.interval();
        let is_usable = now.is_usable();
        let is_better = before.as_ref().is_none_or(|before| now.is_better_than(before));
        if is_usable && is_better && !is_first {
            return Some(now);
        }
        if is_usable && !is_better && !now.may_improve() {
            return None;
        }
        is_first = false;
        if !is_usable {
            before = Some(now);
        }
        match ends.recv_timeout(interval) {
            Ok(later) => end = later,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    None
}

fn lock(state: &TriedState) -> MutexGuard<'_, Option<TargetObservation>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
