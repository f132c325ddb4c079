//! A state directory on a file system that gets full.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    control,
    disk::{fill, make_space},
    setup::DamageSetup,
};
use crate::torture::daemon::TortureDaemon;

/// Time limit of a condition.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The warnings of the daemon: about the journal of a snapshot, and about a new one.
const WARNINGS: [&str; 2] = ["was removed, since it can't be kept", "cannot write the snapshot of"];

/// Fills the file system once a snapshot is there.
pub(crate) fn begin(setup: &DamageSetup) -> io::Result<()> {
    wait_until("there is a snapshot", || has_snapshot(setup))?;
    keep_full(setup)
}

/// Fills the file system again: the daemon has removed a snapshot that lacks changes.
pub(crate) fn keep_full(setup: &DamageSetup) -> io::Result<()> {
    fill(&setup.state_disk)
}

/// Starts the daemon again on the full file system, which has space afterwards.
pub(crate) fn end(setup: &DamageSetup, daemon: &mut TortureDaemon<'_>) -> io::Result<()> {
    daemon.restart(Signal::TERM)?;
    wait_until("the daemon runs again", || {
        control::ask(&setup.socket(), "status", "", TIMEOUT).is_ok()
    })?;
    make_space(&setup.state_disk)
}

/// Returns the first warning that the daemon has not logged.
pub(crate) fn missing_warning(daemon: &TortureDaemon<'_>) -> Option<&'static str> {
    WARNINGS.into_iter().find(|warning| !daemon.has_logged(warning))
}

/// Returns true if there is a snapshot of the source.
pub(crate) fn has_snapshot(setup: &DamageSetup) -> bool {
    let entries = fs::read_dir(setup.state_disk.join("state")).into_iter().flatten().flatten();
    entries.into_iter().any(|it| it.path().extension().is_some_and(|end| end == "snapshot"))
}

fn wait_until(description: &str, mut condition: impl FnMut() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > TIMEOUT {
            return Err(io::Error::other(format!("waited in vain until {description}")));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
