//! State in the log, on request of an operator (`SIGUSR1`), and the result of one pass.

use mirror_core::{
    fleet::Member,
    mirror::{Backlog, Mirror, TargetState},
};

use super::{Engine, log_events::sync_label, status::DaemonState, sync::SyncInstance};
use crate::report::{Category, TransferTotals, size_text};

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

    /// Logs the result of each sync at the end of one pass.
    pub(super) fn log_onepass_summary(&self) {
        if !self.daemon.onepass {
            return;
        }
        for member in self.fleet.members() {
            let Some(instance) = self.registry.get(member.id()) else { continue };
            let result = match member {
                Member::BuiltIn(mirror) => result_of(mirror),
                Member::Scripted(mirror) => match mirror.queue().len() {
                    0 => "all events are handled".to_owned(),
                    left => format!("{left} events are not handled"),
                },
            };
            let text = format!("{}: {result}{}", sync_label(instance), numbers(instance));
            self.log.for_sync(&instance.config.name).say(Category::Normal, text);
        }
    }
}

/// Describes the result of one pass.
fn result_of(mirror: &Mirror) -> String {
    let failed = mirror.queue().counts().backing_off;
    let held: u64 = mirror.held().map(|held| held.count).sum();
    let result = match mirror.target() {
        TargetState::Starting => "not transferred".to_owned(),
        TargetState::Away(_) => "failed".to_owned(),
        TargetState::Live if failed > 0 => format!("transferred except for {failed} failed paths"),
        TargetState::Live => match mirror.backlog() {
            Backlog::FullTransfer { .. } => "not transferred".to_owned(),
            // Later changes are not part of the pass.
            Backlog::Nothing | Backlog::Paths(_) | Backlog::AfterHook(_) => {
                "transferred".to_owned()
            }
        },
    };
    if held == 0 { result } else { format!("{result}, {held} deletions held") }
}

/// Describes the numbers and the time of the transfers, as far as they are known.
fn numbers(instance: &SyncInstance) -> String {
    let Some(meter) = instance.meter() else { return String::new() };
    let totals = meter.known_totals().map(|TransferTotals { files, bytes }| {
        let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        format!(", {files}, {}", size_text(bytes))
    });
    format!("{}, in {:.1} s", totals.unwrap_or_default(), meter.busy().as_secs_f64())
}
