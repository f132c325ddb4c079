//! What a mirror has to know beforehand.

use alloc::sync::Arc;

use crate::{
    filter::Filter,
    input::Gate,
    plan::options::DeletePolicy,
    queue::{OpenWait, Pace},
};

/// What a mirror has to know beforehand.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When changes are carried out.
    pub pace: Pace,
    /// How long a file that is being written is left alone.
    pub open_wait: OpenWait,
    /// Whether it begins with a full transfer.
    pub init: bool,
    /// When its jobs delete anything.
    pub delete: DeletePolicy,
    /// What a first transfer that fails means for the daemon.
    pub insist: Insist,
    /// What does not concern this mirror.
    pub filter: Arc<Filter>,
    /// Whether there is a way to the target yet.
    pub gate: Gate,
    /// How many jobs may run at once, at least one.
    pub max_jobs: usize,
    /// Through which connection its jobs go. `None` if each has its own, or none.
    pub connection: Option<Connection>,
}

/// The name of a connection that the jobs of several mirrors share.
pub type Connection = Arc<[u8]>;

/// What a first transfer that fails means for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// It ends, as the original does.
    No,
    /// It ends for an exit code that says that no later try can help, else it tries again.
    Yes,
    /// It tries again: it was running before there was this mirror, and others depend on it.
    Always,
}
