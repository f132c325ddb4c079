//! Settings of a mirror with a built-in target.

use alloc::sync::Arc;

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
    /// The deletions that its jobs make.
    pub delete: DeletePolicy,
    /// The consequence of a failed first transfer for the daemon.
    pub insist: Insist,
    /// The rules that exclude entries.
    pub filter: Arc<Filter>,
    /// The link to the target.
    pub target_link: TargetLink,
    /// The most concurrent jobs, at least one.
    pub max_jobs: usize,
    /// The connection of its jobs. `None` if each has its own, or none.
    pub connection: Option<Connection>,
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
