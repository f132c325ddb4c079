//! How much runs, and whether more may.

use alloc::collections::BTreeMap;

use crate::mirror::Connection;

/// The most jobs at once through one connection: `sshd` takes ten by default (`MaxSessions`), and
/// the shell that stays and whatever else goes that way need some, too.
pub const MOST_THROUGH_CONNECTION: usize = 8;

/// The jobs that run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    most: Option<usize>,
    jobs: usize,
    through: BTreeMap<Connection, usize>,
}

impl Load {
    /// No job, and at most so many.
    pub(super) const fn new(most: Option<usize>) -> Self {
        Self { most, jobs: 0, through: BTreeMap::new() }
    }

    /// Counts jobs that go this way.
    pub(super) fn add(&mut self, connection: Option<&Connection>, jobs: usize) {
        self.jobs += jobs;
        if let Some(connection) = connection.filter(|_| jobs > 0) {
            *self.through.entry(connection.clone()).or_default() += jobs;
        }
    }

    /// Whether one more job may go this way.
    pub(super) fn has_room(&self, connection: Option<&Connection>) -> bool {
        let through = connection.and_then(|connection| self.through.get(connection));
        self.most.is_none_or(|most| self.jobs < most)
            && through.is_none_or(|&jobs| jobs < MOST_THROUGH_CONNECTION)
    }
}
