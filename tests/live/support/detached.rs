//! A daemon that has detached.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mirror_platform::process_handle::ProcessHandle;
use rustix::process::{Pid, Signal};

use super::wait_until;

/// A daemon in the background, found by its pidfile.
#[derive(Debug)]
pub(crate) struct DetachedDaemon {
    /// `None` if it has exited before it was found.
    process: Option<ProcessHandle>,
    log: PathBuf,
}

impl DetachedDaemon {
    /// Waits until a daemon has written `pidfile`.
    #[track_caller]
    pub(crate) fn find(pidfile: &Path, log: &Path) -> Self {
        let mut pid = None;
        let log_text = || fs::read_to_string(log).unwrap_or_default();
        wait_until("the pidfile is written", log_text, || {
            let text = fs::read_to_string(pidfile).unwrap_or_default();
            pid = text.strip_suffix('\n').and_then(|text| Pid::from_raw(text.parse().ok()?));
            pid.is_some()
        });
        Self { process: ProcessHandle::open(pid.unwrap()).ok(), log: log.to_owned() }
    }

    /// Returns the content of its logfile.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn wait_until(&self, description: &str, condition: impl FnMut() -> bool) {
        wait_until(description, || self.log(), condition);
    }

    /// Returns true if it still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.has_exited())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal).unwrap();
    }
}

impl Drop for DetachedDaemon {
    fn drop(&mut self) {
        // Most tests have already ended it.
        let _ = self.process.as_ref().map(|process| process.signal(Signal::KILL));
    }
}
