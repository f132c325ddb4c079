//! Requests to flush, and their answers.

use alloc::{string::String, vec::Vec};

use crate::{fs_event::MirrorId, path::TreePath, time::Moment};

/// A request to flush.
#[derive(Clone, Debug)]
pub struct FlushRequest {
    /// Number of the request, for its answer.
    pub id: u64,
    /// The paths that have to be on the targets.
    pub paths: Vec<FlushPath>,
    /// The end of the patience, until which failures are retried. `None`: the answer comes at the
    /// first obstacle.
    pub until: Option<Moment>,
}

/// A path of one mirror, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushPath {
    /// The mirror.
    pub mirror: MirrorId,
    /// The path: the root for everything.
    pub path: TreePath,
}

/// The answer to a [`FlushRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushEnd {
    /// Number of the request.
    pub id: u64,
    /// The obstacles. Empty if everything is on the targets.
    pub obstacles: Vec<(MirrorId, FlushObstacle)>,
}

/// An obstacle of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlushObstacle {
    /// Not all of it is transferred yet: so many paths. `None`: a full transfer runs or is due.
    Unfinished(Option<usize>),
    /// The watches are being set up.
    SettingUp,
    /// The source is not there.
    SourceGone(String),
    /// The tunnel to the target is down.
    LinkDown,
    /// The last transfer failed, and is retried later.
    TransferFailed(String),
    /// So many paths fail, the first one for this reason.
    PathsFailed {
        /// Their number.
        count: usize,
        /// One of them.
        first: TreePath,
        /// The reason, if known.
        reason: Option<String>,
    },
    /// The sync waits for an operator since its hook failed.
    HookFailed(String),
    /// So many deletions are held for an operator.
    DeletionsHeld(u64),
    /// An operator has paused the sync.
    Paused,
    /// The sync was removed from the configuration.
    Removed,
    /// The daemon is exiting.
    Exiting,
}

impl FlushObstacle {
    /// Returns true if it may pass without an operator.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unfinished(_)
            | Self::SettingUp
            | Self::SourceGone(_)
            | Self::LinkDown
            | Self::TransferFailed(_)
            | Self::PathsFailed { .. } => true,
            Self::HookFailed(_)
            | Self::DeletionsHeld(_)
            | Self::Paused
            | Self::Removed
            | Self::Exiting => false,
        }
    }
}
