//! A daemon that has detached.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::wait_until;

/// A daemon in the background, identified by its pidfile.
#[derive(Debug)]
pub(crate) struct DetachedDaemon {
    pid: Pid,
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
        Self { pid: pid.unwrap(), log: log.to_owned() }
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
        test_kill_process(self.pid).is_ok() && !self.is_zombie()
    }

    /// Returns its PID.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Returns true if it is a zombie: a container may not reap orphans.
    fn is_zombie(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| stat.contains(") Z "))
    }
}

impl Drop for DetachedDaemon {
    fn drop(&mut self) {
        let program = fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default();
        // Its PID may have been reused.
        if program == Path::new(env!("CARGO_BIN_EXE_lsyncd")) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}
