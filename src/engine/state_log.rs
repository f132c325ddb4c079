//! State in the log, on request of an operator (`SIGUSR1`).

use super::{Engine, status::DaemonState};

impl Engine {
    /// Requests the state in the log, as soon as the watcher has reported its watches.
    pub(super) fn request_state_log(&mut self) {
        self.status.request_log(self.now());
        self.watch.list();
    }

    /// Writes the state into the log, whatever categories are enabled.
    pub(super) fn log_state(&self) {
        let Self { fleet, registry, jobs, tunnels, .. } = self;
        let state = DaemonState { fleet, registry, jobs, tunnels, is_final: false };
        self.log.answer("--- USR1 signal, state of the syncs ---");
        let report = state.report(self.status.inventory(), self.now());
        report.log_lines().iter().for_each(|line| self.log.answer(line));
    }
}
