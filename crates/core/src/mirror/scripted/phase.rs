//! Progress of a scripted mirror from its init event to the later ones.

use crate::queue::event_queue::{EventId, QueueMark};

/// Treatment of queued events at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartMode {
    /// They are kept: the script has no init function, so nothing makes up for them.
    Keep,
    /// They are dropped, and so are those that arrive until then.
    Clear,
}

/// The phase of a scripted mirror. While the source is gone, it says what follows when that is
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptPhase {
    /// An init event is queued as soon as nothing runs.
    Restarting {
        /// The treatment of the queued events.
        mode: RestartMode,
        /// The init event of the previous start, if that was not finished. It is used again if it
        /// is still queued.
        init: Option<EventId>,
    },
    /// The init event is queued or in progress.
    Starting {
        /// The init event.
        init: EventId,
    },
    /// The init event is done.
    Live {
        /// The end of the queue at that time.
        mark: QueueMark,
    },
}

impl ScriptPhase {
    /// The init event, until it is done.
    pub(super) const fn init(self) -> Option<EventId> {
        match self {
            Self::Restarting { init, .. } => init,
            Self::Starting { init } => Some(init),
            Self::Live { .. } => None,
        }
    }

    /// The phase after a request to restart. The stricter mode of several requests applies.
    pub(super) fn restarted(self, mode: RestartMode) -> Self {
        let init = self.init();
        match self {
            Self::Restarting { mode: pending, .. } => {
                Self::Restarting { mode: mode.max(pending), init }
            }
            Self::Starting { .. } | Self::Live { .. } => Self::Restarting { mode, init },
        }
    }
}
