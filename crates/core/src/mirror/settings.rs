//! Settings of a mirror with a built-in target.

use alloc::sync::Arc;

use super::TargetHost;
use crate::{
    filter::Filter,
    input::TargetLink,
    plan::options::DeletePolicy,
    queue::{Debounce, OpenWait},
};

/// Settings of a mirror with a built-in target.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// The delay of changes.
    pub debounce: Debounce,
    /// The delay of files that are being written.
    pub open_wait: OpenWait,
    /// True if the mirror begins with a full transfer.
    pub init: bool,
    /// True if that is reduced to the differences between the source and its last snapshot, where
    /// this is possible.
    pub has_snapshots: bool,
    /// The deletions that its jobs make.
    pub delete: DeletePolicy,
    /// The consequence of a failed first transfer for the daemon.
    pub insist: Insist,
    /// The host of the target.
    pub host: TargetHost,
    /// The rules that exclude entries.
    pub filter: Arc<Filter>,
    /// The link to the target.
    pub target_link: TargetLink,
    /// The most concurrent jobs, at least one.
    pub max_jobs: usize,
    /// The connection of its jobs. `None` if each has its own, or none.
    pub connection: Option<Connection>,
}

impl MirrorSettings {
    /// The extent of the first transfer, as far as it is known before the source is watched.
    pub(super) fn first_transfer(&self) -> FirstTransfer {
        // With other policies the first transfer deletes what later ones do not, or the reverse.
        let deletes_equally = matches!(self.delete, DeletePolicy::Always | DeletePolicy::Never);
        if self.init && self.has_snapshots && deletes_equally {
            FirstTransfer::Unknown
        } else {
            FirstTransfer::Full
        }
    }
}

/// The extent of the first transfer of a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstTransfer {
    /// The source is still to be compared with its last snapshot.
    Unknown,
    /// The differences from that snapshot.
    Differences,
    /// Everything.
    Full,
}

/// The name of a connection that the jobs of several mirrors share.
pub type Connection = Arc<[u8]>;

/// Consequence of a failed first transfer for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// The daemon exits, as the original does.
    No,
    /// The daemon exits only for an exit code that says that no retry can succeed; otherwise the
    /// transfer is retried.
    Yes,
    /// The transfer is retried: the daemon was running before the mirror was added, and other
    /// mirrors depend on it.
    Always,
}
