//! Polling of conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Time limit of a condition. Only a failing test reaches it, so it is generous: ssh to a vanished
/// host needs one minute of it, and the machine may be busy.
const TIMEOUT: Duration = Duration::from_mins(3);
/// Interval between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds. After the time limit the test fails and prints `evidence`.
#[track_caller]
pub(crate) fn wait_until(
    description: &str,
    evidence: impl FnOnce() -> String,
    mut condition: impl FnMut() -> bool,
) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "waited in vain until {description}\n{}", evidence());
        thread::sleep(POLL_INTERVAL);
    }
}
