//! Progress of a connection: whoever does not read loses it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::lock;

/// Maximum time without progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The time of the last progress of a connection.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    /// The progress of a connection that begins now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Notes that the client has taken something.
    pub(super) fn note(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// Returns true if the client is to be disconnected.
    pub(super) fn is_stalled(&self) -> bool {
        lock(&self.0).elapsed() > STALL_TIMEOUT
    }
}
