//! The pause after a thread could not be started.

use std::time::{Duration, Instant};

/// Pause before the next attempt.
const DELAY: Duration = Duration::from_millis(200);

/// The pause after a thread could not be started, if one could not.
#[derive(Debug, Default)]
pub(super) struct ThreadRetry(Option<Instant>);

impl ThreadRetry {
    /// Begins a pause.
    pub(super) fn pause(&mut self) {
        self.pause_for(DELAY);
    }

    /// Begins a pause of this length.
    pub(super) fn pause_for(&mut self, delay: Duration) {
        self.0 = Some(Instant::now() + delay);
    }

    /// Returns true, and ends the pause, if threads may be started.
    pub(super) fn may_start(&mut self) -> bool {
        let is_over = self.wait().is_none_or(|wait| wait.is_zero());
        if is_over {
            self.0 = None;
        }
        is_over
    }

    /// Returns the rest of the pause: zero until an attempt has ended it.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.0.map(|until| until.saturating_duration_since(Instant::now()))
    }
}
