//! Probes of targets that are away or full: they notice cheaply that a retry is worthwhile, long
//! before the backoff ends.

mod place;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_core::{
    fs_event::MirrorId,
    input::Input,
    job::Failure,
    log_event::{BatchEvent, FullEvent, LogEvent, MirrorEvent, StartupEvent},
    mirror::MAX_RETRY_WAIT,
};

use super::{Inbox, Message};
use crate::lock;
use place::TargetObservation;
pub(super) use place::TargetPlace;

/// A shorter backoff needs no probe.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(2);

/// Probes of the targets that are away or full, at most one for each mirror.
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

/// The last state of the target that is not worth another retry: see [`wait_for_return`].
type TriedState = Arc<Mutex<Option<TargetObservation>>>;

impl TargetProbes {
    pub(super) const fn new(inbox: Inbox) -> Self {
        Self { probes: BTreeMap::new(), inbox }
    }

    /// Starts a probe if this event says that a target is away or full, and ends it when the target
    /// is back. `place_of` finds the place of the target, if that is known.
    pub(super) fn note(
        &mut self,
        event: &LogEvent,
        place_of: impl FnOnce(MirrorId) -> Option<TargetPlace>,
    ) {
        let LogEvent::Mirror(mirror, event) = event else { return };
        if let MirrorEvent::Startup(StartupEvent::Retry(failure, wait))
        | MirrorEvent::Full(FullEvent::Retry(failure, wait))
        | MirrorEvent::Batch(BatchEvent::Retry(failure, wait)) = event
        {
            let place = || place_of(*mirror).map(|place| place_after(failure, place));
            self.expect(*mirror, Instant::now() + *wait, place);
        } else if let MirrorEvent::PathsFailed(failed) = event
            && let Some((_, failure)) = failed.iter().find(|(_, failure)| is_full(failure))
        {
            // The backoff of a path is not longer than that of a target.
            let is_visible = |place: &TargetPlace| !matches!(place, TargetPlace::Port { .. });
            let place = || place_of(*mirror).filter(is_visible).map(|it| place_after(failure, it));
            self.expect(*mirror, Instant::now() + MAX_RETRY_WAIT, place);
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
            let mut before = lock(&state).take();
            let is_back = wait_for_return(&place, &mut before, &ends, end);
            *lock(&state) = before;
            if is_back {
                inbox.send(Message::Input(Input::TargetBack(mirror)));
            }
        };
        // Without a thread, the backoff ends as usual.
        if thread::Builder::new().name("probe".into()).spawn(run).is_ok() {
            self.probes.insert(mirror, TargetProbe { end: sender, tried });
        }
    }
}

/// Returns true if the file system of the target is full, or a quota of it is exceeded. Only some
/// paths may not fit on it.
fn is_full(failure: &Failure) -> bool {
    failure.message.contains("No space left on device") || is_over_quota(failure)
}

/// Returns true if a quota is exceeded. macOS spells it in another way.
fn is_over_quota(failure: &Failure) -> bool {
    ["Disk quota exceeded", "Disc quota exceeded"].iter().any(|it| failure.message.contains(it))
}

/// Returns the place to observe after this failure.
fn place_after(failure: &Failure, place: TargetPlace) -> TargetPlace {
    if is_over_quota(failure) { place.with_quota() } else { place }
}

/// Waits until a retry is worthwhile. Returns false if the backoff has ended before.
///
/// Each state that looks usable is worth one try that begins after it was observed. `before` is the
/// state that had one, or the last that did not look usable.
fn wait_for_return(
    place: &TargetPlace,
    before: &mut Option<TargetObservation>,
    ends: &Receiver<Instant>,
    mut end: Instant,
) -> bool {
    let mut is_first = before.is_none();
    while Instant::now() < end {
        let now = place.observe();
        let interval = now.interval();
        let is_usable = now.is_usable();
        let is_better = before.as_ref().is_none_or(|before| now.is_better_than(before));
        if is_usable && is_better && !is_first {
            *before = Some(now);
            return true;
        }
        if is_usable && !is_better && !now.may_improve() {
            return false;
        }
        is_first = false;
        if !is_usable {
            *before = Some(now);
        }
        match ends.recv_timeout(interval) {
            Ok(later) => end = later,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mirror_core::{
        job::{DirtyPath, Scope},
        path::TreePath,
    };

    use super::*;
    use crate::engine::MessageChannel;

    fn fails(probes: &mut TargetProbes, place: TargetPlace, why: &str) -> bool {
        let path = DirtyPath { path: TreePath::new(b"file").unwrap(), scope: Scope::Entry };
        let failed = MirrorEvent::PathsFailed(vec![(path, Failure::new(why))]);
        probes.note(&LogEvent::Mirror(MirrorId(1), failed), |_| Some(place));
        probes.probes.contains_key(&MirrorId(1))
    }

    #[test]
    fn a_full_disk_is_probed_although_only_files_fail() {
        let channel = MessageChannel::default();
        let mut probes = TargetProbes::new(channel.inbox.clone());
        let full = "write failed on \"/t/file\": No space left on device (28)";
        let directory = || TargetPlace::Directory("/".into());
        let remote = TargetPlace::Port { host: "127.0.0.1".into(), port: 9 };
        assert!(!fails(&mut probes, directory(), "Permission denied (13)"));
        assert!(!fails(&mut probes, remote, full), "it tells nothing about the disk");
        let over_quota = "write failed on \"/t/file\": Disk quota exceeded (122)";
        assert!(fails(&mut probes, directory(), over_quota));
        probes.forget(MirrorId(1));
        assert!(fails(&mut probes, directory(), full));
        let message = channel.receiver.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(matches!(message, Message::Input(Input::TargetBack(_))), "{message:?}");
    }

    #[test]
    fn a_state_in_which_a_retry_failed_is_not_tried_again() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = || TargetPlace::Port { host: "127.0.0.1".into(), port };
        let channel = MessageChannel::default();
        let mut probes = TargetProbes::new(channel.inbox.clone());
        let mirror = MirrorId(1);
        let mut fail = || {
            let wait = Duration::from_mins(1);
            let event = BatchEvent::Retry(Failure::new("refused"), wait);
            probes.note(&LogEvent::Mirror(mirror, MirrorEvent::Batch(event)), |_| Some(place()));
            let state = Arc::clone(&probes.probes.get(&mirror).unwrap().tried);
            // The thread has the other reference until it ends.
            while Arc::strong_count(&state) > 2 {
                thread::yield_now();
            }
            channel.receiver.try_recv().is_ok()
        };
        assert!(fail(), "it may have come back since the failure");
        assert!(!fail() && !fail(), "nothing has changed");
    }
}
