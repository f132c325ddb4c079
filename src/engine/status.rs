//! Schedule and content of the status file.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use mirror_core::{
    fleet::{Fleet, Member},
    job::HeldDeletions,
    time::Moment,
};
use rustix::process::Pid;

use super::{jobs::Jobs, log_events, registry::SyncRegistry, tunnels::Tunnels};
use crate::{
    config::DaemonConfig,
    report::{
        self,
        status::{self, RunningProcess, StatusFile, SyncStatus, WatchSummary},
    },
    watch::Inventory,
};

/// Time limit for the watcher to report its watches. After it the previous report is written, since
/// a partly outdated status is better than none; a late report is written again.
const INVENTORY_TIMEOUT: Duration = Duration::from_millis(500);

/// Writing the status takes at most this fraction of the time, whatever the interval is.
const WRITE_COST_FACTOR: u32 = 20;

/// Maximum age of the status file, which shows that the daemon is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_mins(1);

/// Maximum age of the status file while a transfer runs without events.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// Schedule of the status file.
///
/// It is written once at startup, and an interval after a change, with all changes up to then.
/// While jobs run it is rewritten continually, otherwise once a minute as a sign of life.
#[derive(Debug)]
pub(super) struct StatusWriter {
    /// `None`: nothing is ever written.
    file: Option<StatusFile>,
    interval: Duration,
    next: NextWrite,
    last_written: Moment,
    /// Earliest time of the next write.
    not_before: Moment,
    /// Time at which the state is logged, if that was requested: after the report of the watcher,
    /// or without it.
    log_at: Option<Moment>,
    /// Last report of the watcher.
    inventory: Inventory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextWrite {
    /// Nothing has changed since the last write.
    Idle,
    /// The next write is due at this time.
    At(Moment),
    /// The watcher was asked for its watches, and may answer until this time.
    AwaitingInventory(Moment),
}

/// State of the daemon that the status shows.
pub(super) struct DaemonState<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) registry: &'a SyncRegistry,
    pub(super) jobs: &'a Jobs,
    pub(super) tunnels: &'a Tunnels,
    /// True if the daemon exits after this status.
    pub(super) is_final: bool,
}

/// Action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusAction {
    Nothing,
    /// Ask the watcher for its watches.
    RequestInventory,
    Write,
    /// Write the state into the log.
    Log,
}

impl StatusWriter {
    /// Creates the writer that the settings ask for, due at `now`.
    pub(super) fn new(daemon: &DaemonConfig, now: Moment) -> Self {
        Self {
            file: daemon.status_file.clone().map(StatusFile::new),
            interval: daemon.status_interval,
            next: NextWrite::At(now),
            last_written: now,
            not_before: now,
            log_at: None,
            inventory: Inventory::default(),
        }
    }

    /// Records a change.
    pub(super) fn touch(&mut self, now: Moment) {
        if self.next == NextWrite::Idle {
            self.next = NextWrite::At((now + self.interval).max(self.not_before));
        }
    }

    /// Returns the time of the next action. It depends on whether jobs are running. `None`: never.
    pub(super) fn due(&self, is_busy: bool) -> Option<Moment> {
        self.write_due(is_busy).into_iter().chain(self.log_at).min()
    }

    /// Returns the time of the next action for the file.
    fn write_due(&self, is_busy: bool) -> Option<Moment> {
        self.file.as_ref()?;
        let most = if is_busy { BUSY_INTERVAL } else { HEARTBEAT_INTERVAL };
        Some(match self.next {
            NextWrite::Idle => (self.last_written + most.max(self.interval)).max(self.not_before),
            NextWrite::At(at) | NextWrite::AwaitingInventory(at) => at,
        })
    }

    /// Returns the action that is due at `now`. It depends on whether jobs are running.
    pub(super) fn step(&mut self, now: Moment, is_busy: bool) -> StatusAction {
        if self.log_at.is_some_and(|at| at <= now) {
            self.log_at = None;
            return StatusAction::Log;
        }
        if self.write_due(is_busy).is_none_or(|due| now < due) {
            return StatusAction::Nothing;
        }
        match self.next {
            NextWrite::Idle | NextWrite::At(_) => {
                self.next = NextWrite::AwaitingInventory(now + INVENTORY_TIMEOUT);
                StatusAction::RequestInventory
            }
            NextWrite::AwaitingInventory(_) => StatusAction::Write,
        }
    }

    /// Requests [`StatusAction::Log`] for the time of the report of the watcher.
    pub(super) fn request_log(&mut self, now: Moment) {
        self.log_at.get_or_insert(now + INVENTORY_TIMEOUT);
    }

    /// Returns the last report of the watcher.
    pub(super) const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Stores the report of the watcher.
    pub(super) fn set_inventory(&mut self, inventory: Inventory, now: Moment) {
        let was = std::mem::replace(&mut self.inventory, inventory);
        self.log_at = self.log_at.map(|_| now);
        match &mut self.next {
            NextWrite::AwaitingInventory(until) => *until = now,
            // A status that was written without this report is corrected.
            NextWrite::Idle if self.inventory != was => self.touch(now),
            NextWrite::Idle | NextWrite::At(_) => {}
        }
    }

    /// Writes the status.
    ///
    /// # Errors
    ///
    /// As [`StatusFile::write`].
    pub(super) fn write(
        &mut self,
        state: &DaemonState<'_>,
        now: Moment,
    ) -> Result<(), Option<String>> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let began = Instant::now();
        let written = file.write(&state.text(&self.inventory, now));
        self.written(now, began.elapsed());
        written
    }

    /// Records that the status was written at `now`, which took `cost`.
    fn written(&mut self, now: Moment, cost: Duration) {
        self.next = NextWrite::Idle;
        self.last_written = now;
        self.not_before = now + cost * WRITE_COST_FACTOR;
    }

    /// Returns the paths that are written.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.file.iter().flat_map(|file| [file.path().to_owned(), file.temp_path()])
    }

    /// Applies changed settings, from `now` on.
    pub(super) fn reload(&mut self, daemon: &DaemonConfig, now: Moment) {
        let path = self.file.as_ref().map(StatusFile::path);
        let is_same_path = path == daemon.status_file.as_deref();
        if is_same_path && self.interval == daemon.status_interval {
            return;
        }
        if let (false, Some(file)) = (is_same_path, &mut self.file) {
            // The old file is outdated. An error of writing this notice has no remedy.
            let text = status::superseded_notice(daemon.status_file.as_deref(), &report::now());
            let _ = file.write(&text);
        }
        *self = Self { log_at: self.log_at, ..Self::new(daemon, now) };
    }
}

impl DaemonState<'_> {
    fn text(&self, inventory: &Inventory, now: Moment) -> Vec<u8> {
        self.report(inventory, now).text()
    }

    /// Returns the state at `now`, with these watches.
    pub(super) fn report<'s>(
        &'s self,
        inventory: &'s Inventory,
        now: Moment,
    ) -> status::StatusReport<'s> {
        let members = self.fleet.members().iter();
        let syncs = members.filter_map(|mirror| {
            let sync = &self.registry.get(mirror.id())?.config;
            Some(SyncStatus {
                name: &sync.name,
                source: &sync.source,
                filters: &sync.exclusions.filters,
                excludes: &sync.exclusions.excludes,
                target: &sync.target,
                mirror: mirror.into(),
                held: match mirror {
                    Member::BuiltIn(mirror) => {
                        let budget = |held: &HeldDeletions| held.sufficient_budget(mirror.held());
                        let describe = |held| log_events::describe_held(held, budget(held));
                        mirror.held().map(describe).collect()
                    }
                    Member::Scripted(_) => Vec::new(),
                },
            })
        });
        let process = |(pid, started): (Pid, u64)| RunningProcess {
            pid: pid.as_raw_nonzero().get(),
            started,
        };
        let processes = self.jobs.children().into_iter().map(process);
        status::StatusReport {
            syncs: syncs.collect(),
            processes: processes.collect(),
            watches: WatchSummary { count: inventory.watched, listed: &inventory.listed },
            notes: [watch_notes(inventory, self.registry), self.tunnels.status_lines()].concat(),
            is_final: self.is_final,
            now,
            clock: report::now(),
        }
    }
}

/// Returns further lines about the watches.
fn watch_notes(inventory: &Inventory, registry: &SyncRegistry) -> Vec<String> {
    let name = |id| registry.get(id).map(|instance| &*instance.config.name);
    let marked = inventory.marked.iter().filter_map(|&id| name(id));
    let marked = marked.map(|name| format!("Fanotify watching the file system of {name}"));
    let polled = inventory.polled.iter().filter_map(|&(id, count)| Some((name(id)?, count)));
    let polled = polled.map(|(name, count)| format!("Polling {count} directories of {name}"));
    marked.chain(polled).chain(inventory.advice.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mirror_core::fleet::{FleetLimits, MirrorSpec};

    use super::{super::MessageChannel, *};
    use crate::report::Log;

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn status(interval: Duration) -> StatusWriter {
        let daemon = DaemonConfig {
            status_file: Some("/nonexistent/status".into()),
            status_interval: interval,
            ..DaemonConfig::default()
        };
        StatusWriter::new(&daemon, Moment::ORIGIN)
    }

    /// Requests, receives and writes a report at one moment.
    fn write(status: &mut StatusWriter, millis: u64) {
        assert_eq!(status.step(at(millis), false), StatusAction::RequestInventory);
        assert_eq!(status.step(at(millis), false), StatusAction::Nothing);
        status.set_inventory(Inventory::default(), at(millis));
        assert_eq!(status.step(at(millis), false), StatusAction::Write);
        status.written(at(millis), Duration::ZERO);
    }

    #[test]
    fn status_is_written_at_startup_and_an_interval_after_the_first_change() {
        let mut status = status(Duration::from_secs(2));
        write(&mut status, 0);
        assert_eq!(status.due(false), Some(at(60_000)));
        status.touch(at(5500));
        status.touch(at(6000));
        assert_eq!(status.due(false), Some(at(7500)));
        assert_eq!(status.step(at(7499), false), StatusAction::Nothing);
        write(&mut status, 7500);
        assert_eq!(status.due(false), Some(at(67_500)));
        assert_eq!(status.due(true), Some(at(9500)));
    }

    #[test]
    fn interval_zero_writes_after_each_turn_with_a_change() {
        let mut status = status(Duration::ZERO);
        write(&mut status, 0);
        for millis in [3, 4, 9] {
            status.touch(at(millis));
            write(&mut status, millis);
        }
    }

    #[test]
    fn writing_takes_at_most_a_twentieth_of_the_time() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(0), false), StatusAction::RequestInventory);
        status.written(at(0), Duration::from_millis(30));
        status.touch(at(1));
        assert_eq!(status.due(false), Some(at(600)));
    }

    #[test]
    fn a_missing_inventory_delays_the_write_only_until_the_timeout() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(1), false), StatusAction::RequestInventory);
        // Changes in the meantime are part of the write.
        status.touch(at(100));
        assert_eq!(status.due(false), Some(at(501)));
        assert_eq!(status.step(at(501), false), StatusAction::Write);
    }

    #[test]
    fn a_late_inventory_is_written_later() {
        let mut status = status(Duration::ZERO);
        let late = Inventory { watched: 2, ..Inventory::default() };
        // The second late report is the same as the first.
        for (asked, due) in [(0, at(700)), (700, at(61_200))] {
            assert_eq!(status.step(at(asked), false), StatusAction::RequestInventory);
            assert_eq!(status.step(at(asked + 500), false), StatusAction::Write);
            status.written(at(asked + 500), Duration::ZERO);
            status.set_inventory(late.clone(), at(asked + 700));
            assert_eq!(status.due(false), Some(due));
        }
    }

    #[test]
    fn status_is_refreshed_while_jobs_run_and_once_a_minute() {
        for (interval, busy) in [(0, 1), (1, 1), (10, 10)] {
            let mut status = status(Duration::from_secs(interval));
            write(&mut status, 0);
            assert_eq!(status.due(true), Some(at(busy * 1000)));
            assert_eq!(status.step(at(busy * 1000 - 1), true), StatusAction::Nothing);
            assert_eq!(status.step(at(busy * 1000), true), StatusAction::RequestInventory);
            status.set_inventory(Inventory::default(), at(busy * 1000));
            assert_eq!(status.step(at(busy * 1000), true), StatusAction::Write);
            status.written(at(busy * 1000), Duration::ZERO);
            assert_eq!(status.due(false), Some(at(busy * 1000 + 60_000)));
        }
        let mut rare = status(Duration::from_mins(5));
        write(&mut rare, 0);
        assert_eq!(rare.due(false), Some(at(300_000)));
    }

    #[test]
    fn a_requested_log_waits_for_the_inventory_until_the_timeout() {
        for status_file in [None, Some("/nonexistent/status".into())] {
            let daemon = DaemonConfig { status_file, ..DaemonConfig::default() };
            let mut status = StatusWriter::new(&daemon, at(60_000));
            status.request_log(at(100));
            status.request_log(at(200));
            assert_eq!(status.due(false), Some(at(600)));
            assert_eq!(status.step(at(599), false), StatusAction::Nothing);
            assert_eq!(status.step(at(600), false), StatusAction::Log);
            assert_eq!(status.step(at(601), false), StatusAction::Nothing);
            status.request_log(at(700));
            status.set_inventory(Inventory::default(), at(800));
            assert_eq!(status.step(at(800), false), StatusAction::Log);
        }
    }

    #[test]
    fn no_status_file_is_written_without_a_path() {
        let mut status = StatusWriter::new(&DaemonConfig::default(), Moment::ORIGIN);
        assert_eq!(status.due(true), None);
        assert_eq!(status.step(at(120_000), true), StatusAction::Nothing);
    }

    #[test]
    fn a_final_status_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let daemon = DaemonConfig { status_file: Some(path.clone()), ..DaemonConfig::default() };
        let mut status = StatusWriter::new(&daemon, Moment::ORIGIN);
        let jobs = Jobs::new(None, MessageChannel::default().inbox, Log::default());
        for is_final in [false, true] {
            let state = DaemonState {
                fleet: &Fleet::new(Vec::<MirrorSpec>::new(), FleetLimits::default()),
                registry: &SyncRegistry::default(),
                jobs: &jobs,
                tunnels: &Tunnels::default(),
                is_final,
            };
            status.write(&state, at(0)).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.contains("has stopped"), is_final, "{text}");
        }
    }
}
