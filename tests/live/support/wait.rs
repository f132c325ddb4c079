//! Waiting for conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take. It is only reached by a test that fails, so it is generous: an ssh
/// that waits for a host that is gone needs one minute of it, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(3);
/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds. When that takes too long the test fails and shows `evidence`.
#[track_caller]
pub(crate) fn wait_until(
    what: &str,
    evidence: impl FnOnce() -> String,
    mut condition: impl FnMut() -> bool,
) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}\n{}", evidence());
        thread::sleep(INTERVAL);
    }
}
