//! List of messages to the engine, which takes them all at once.

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use mirror_core::{
    fs_event::{FsEvent, FsEventKind, MirrorId},
    path::TreePath,
};

use super::{Coverage, Inventory};
use crate::lock;

/// Maximum number of queued events of one mirror: about one second of a storm, and 20 MB. An event
/// with long paths counts as several.
const MAX_EVENTS: usize = 200_000;

/// Length of the paths, in bytes, with which an event counts as one more.
const LONG_PATH: usize = 64;

/// Message of the watcher to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchMessage {
    /// A file system event.
    Event(FsEvent),
    /// From here on, all changes of the mirror are reported.
    Covered {
        /// The covered mirror.
        mirror: MirrorId,
        coverage: Coverage,
    },
    /// The mirror can't be covered.
    CannotCover {
        mirror: MirrorId,
        /// Reason, as a sentence without a full stop.
        why: String,
    },
    /// The configured path of the root leads, or has led, to another directory than before.
    RootRepointed(MirrorId),
    /// Answer to [`Watcher::list`](super::Watcher::list).
    Listed(Inventory),
    /// Answer to [`Watcher::barrier`](super::Watcher::barrier): everything that happened before the
    /// request was reported.
    Barrier(u64),
    /// This source, or a mount in it, does not answer its poller for some time, or does again.
    SourceAnswers(PathBuf, bool),
}

/// Bounded list of messages.
///
/// If a mirror has too many events, they are replaced by a single rescan of the whole tree.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    limit: usize,
}

#[derive(Debug, Default)]
struct OutboxState {
    messages: Vec<WatchMessage>,
    /// Number of events of each mirror; `None` if a rescan of all of it is queued.
    queued: BTreeMap<MirrorId, Option<usize>>,
}

impl Outbox {
    /// Creates an empty list.
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), limit: MAX_EVENTS }
    }

    /// Takes all messages.
    pub(super) fn take(&self) -> Vec<WatchMessage> {
        let mut state = lock(&self.state);
        std::mem::take(&mut *state).messages
    }

    /// Adds messages. Returns true if the list was empty before and is not now: then the engine
    /// must be woken.
    #[must_use]
    pub(super) fn put(&self, messages: impl IntoIterator<Item = WatchMessage>) -> bool {
        let mut state = lock(&self.state);
        let was_empty = state.messages.is_empty();
        for message in messages {
            state.put(message, self.limit);
        }
        was_empty && !state.messages.is_empty()
    }
}

impl OutboxState {
    fn put(&mut self, message: WatchMessage, limit: usize) {
        let WatchMessage::Event(FsEvent { mirror, kind }) = &message else {
            return self.messages.push(message);
        };
        if self.messages.last() == Some(&message) {
            return;
        }
        let is_gone = matches!(kind, FsEventKind::RootGone(_));
        let (mirror, weight) = (*mirror, 1 + kind.path_bytes() / LONG_PATH);
        match self.queued.entry(mirror).or_insert(Some(0)) {
            None if !is_gone => return,
            Some(queued) if *queued >= limit && !is_gone => return self.replace_by_rescan(mirror),
            Some(queued) => *queued += weight,
            None => {}
        }
        self.messages.push(message);
    }

    /// Replaces the queued events of a mirror by a rescan of its whole tree.
    fn replace_by_rescan(&mut self, mirror: MirrorId) {
        self.queued.insert(mirror, None);
        let is_replaced = |message: &WatchMessage| {
            let WatchMessage::Event(event) = message else { return false };
            event.mirror == mirror && !matches!(event.kind, FsEventKind::RootGone(_))
        };
        // In the place of the first one: a barrier may follow it.
        let first = self.messages.iter().position(is_replaced).unwrap_or(self.messages.len());
        self.messages.retain(|message| !is_replaced(message));
        let kind = FsEventKind::Lost(TreePath::root());
        self.messages.insert(first, WatchMessage::Event(FsEvent { mirror, kind }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::fs_event::RootGone;

    fn lost(mirror: u32, path: &str) -> WatchMessage {
        let kind = FsEventKind::Lost(TreePath::new(path.as_bytes()).unwrap());
        WatchMessage::Event(FsEvent { mirror: MirrorId(mirror), kind })
    }

    fn outbox(limit: usize) -> Outbox {
        Outbox { state: Mutex::default(), limit }
    }

    #[test]
    fn put_wakes_once_for_all_queued_messages() {
        let outbox = outbox(10);
        assert!(!outbox.put([]));
        assert!(outbox.put([lost(0, "a"), lost(0, "a"), lost(0, "b")]));
        assert!(!outbox.put([lost(0, "c")]));
        assert_eq!(outbox.take(), [lost(0, "a"), lost(0, "b"), lost(0, "c")]);
        assert!(outbox.put([lost(0, "d")]));
    }

    #[test]
    fn events_with_long_paths_become_a_rescan_sooner() {
        let outbox = outbox(100);
        let path = "x".repeat(255);
        assert!(outbox.put((0..20).map(|number| lost(0, &format!("{path}/{number}")))));
        assert_eq!(outbox.take().len(), 20);
        let path = [&*path; 20].join("/");
        assert!(outbox.put((0..20).map(|number| lost(0, &format!("{path}/{number}")))));
        assert_eq!(outbox.take(), [lost(0, "")]);
    }

    #[test]
    fn too_many_events_become_a_rescan() {
        let outbox = outbox(2);
        let listed = WatchMessage::Listed(Inventory::default());
        let gone = WatchMessage::Event(FsEvent {
            mirror: MirrorId(0),
            kind: FsEventKind::RootGone(RootGone::Removed),
        });
        let first = [lost(0, "a"), listed.clone(), lost(1, "b"), lost(0, "c"), lost(0, "d")];
        assert!(outbox.put(first));
        assert!(!outbox.put([lost(0, "e"), gone.clone(), lost(1, "f")]));
        assert_eq!(outbox.take(), [lost(0, ""), listed, lost(1, "b"), gone, lost(1, "f")]);
        assert!(outbox.put([lost(0, "a")]));
        assert_eq!(outbox.take(), [lost(0, "a")]);
        // What was reported before a barrier stays before it.
        assert!(outbox.put([lost(0, "a"), WatchMessage::Barrier(1), lost(0, "b"), lost(0, "c")]));
        assert_eq!(outbox.take(), [lost(0, ""), WatchMessage::Barrier(1)]);
    }
}
