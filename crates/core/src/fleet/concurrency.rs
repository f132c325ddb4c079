//! Limits of concurrency: the jobs that run, in all and per connection.

use alloc::collections::BTreeMap;

use crate::mirror::Connection;

/// Most concurrent jobs per connection: `sshd` allows ten sessions by default (`MaxSessions`), and
/// the persistent shell and other helpers need some of them.
pub const MAX_JOBS_PER_CONNECTION: usize = 8;

/// Counts the running jobs against their limits.
#[derive(Clone, Debug)]
pub(super) struct Concurrency {
    max_jobs: Option<usize>,
    jobs: usize,
    per_connection: BTreeMap<Connection, usize>,
}

impl Concurrency {
    /// No job yet, and at most `most` of them.
    pub(super) const fn new(max_jobs: Option<usize>) -> Self {
        Self { max_jobs, jobs: 0, per_connection: BTreeMap::new() }
    }

    /// Counts jobs of this connection.
    pub(super) fn add(&mut self, connection: Option<&Connection>, jobs: usize) {
        self.jobs += jobs;
        if let Some(connection) = connection.filter(|_| jobs > 0) {
            *self.per_connection.entry(connection.clone()).or_default() += jobs;
        }
    }

    /// Returns true if one more job of this connection may start.
    pub(super) fn has_room(&self, connection: Option<&Connection>) -> bool {
        let per_connection = connection.and_then(|connection| self.per_connection.get(connection));
        self.max_jobs.is_none_or(|max_jobs| self.jobs < max_jobs)
            && per_connection.is_none_or(|&jobs| jobs < MAX_JOBS_PER_CONNECTION)
    }
}
