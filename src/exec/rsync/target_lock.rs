//! An advisory lock on a local target that all processes of a transfer inherit.
//!
//! When the daemon is killed, its rsync is killed with it. The other processes of that rsync are
//! not children of the daemon: they go on until they have handled what was already sent to them. A
//! daemon that is started at that moment would compare the target while they still write to it.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use mirror_platform::dir::Dir;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::flag::Flag;
use crate::{
    exec::process::cancel::CancelToken,
    report::{Category, Log},
};

/// Longest wait for the processes of others. They may also be those of another daemon with the same
/// target, and then they may take any time.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Interval of checks while others write.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The lock of one target. It is shared by the transfers of this daemon.
#[derive(Debug, Default)]
pub(super) struct TargetLock {
    /// Set when the first transfer has waited for those before it.
    has_waited: Flag,
}

impl TargetLock {
    /// Returns the lock for the processes of a transfer to the local target at `path`, or `None` if
    /// it cannot be opened, or its file system has no locks. Before the first transfer it waits for
    /// processes that still write to the target, for at most [`MAX_WAIT`].
    pub(super) fn acquire(
        &self,
        path: &Path,
        cancel: &CancelToken,
        log: &Log,
    ) -> Option<Arc<OwnedFd>> {
        let directory = Dir::open(path).ok()?.as_fd().try_clone_to_owned().ok()?;
        if !self.has_waited.set(true) {
            let name = Escaped(path.as_os_str().as_bytes());
            wait_for_writers(&directory, cancel, || {
                let text = format_args!("an earlier rsync still writes to {name}: waiting for it");
                log.say(Category::Normal, text);
            });
        }
        flock(&directory, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Arc::new(directory))
    }
}

/// Waits until no process holds the lock, and calls `on_wait` once if one does.
fn wait_for_writers(directory: &OwnedFd, cancel: &CancelToken, on_wait: impl FnOnce()) {
    let deadline = Instant::now() + MAX_WAIT;
    let mut on_wait = Some(on_wait);
    // Another error than this one: the file system has no such locks.
    while flock(directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        if cancel.is_cancelled() || Instant::now() >= deadline {
            return;
        }
        thread::sleep(CHECK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_transfer_waits_for_earlier_processes_and_later_ones_share_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, cancel, log) = (TargetLock::default(), CancelToken::default(), Log::default());
        let earlier = ours.acquire(directory.path(), &cancel, &log).unwrap();
        drop(ours.acquire(directory.path(), &cancel, &log).unwrap());
        let open = Dir::open(directory.path()).unwrap().as_fd().try_clone_to_owned().unwrap();
        // It lets go as soon as somebody waits for it.
        let mut earlier = Some(earlier);
        wait_for_writers(&open, &cancel, || drop(earlier.take()));
        assert!(earlier.is_none(), "nobody waited");
        cancel.cancel();
        let first = || TargetLock::default().acquire(directory.path(), &cancel, &log);
        assert!(first().is_none(), "shared with a writer");
        // Not by closing it: a process that another test starts has it, too, for a moment.
        flock(&open, FlockOperation::Unlock).unwrap();
        assert!(first().is_some());
    }

    #[test]
    fn a_missing_target_has_no_lock() {
        let missing = Path::new("/nonexistent/target");
        let lock = TargetLock::default();
        assert!(lock.acquire(missing, &CancelToken::default(), &Log::default()).is_none());
    }
}
