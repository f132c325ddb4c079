//! Schedule and content of the status file.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use mirror_core::{fleet::Member, time::Moment};
use rustix::process::Pid;

use super::{Engine, log_events, registry::SyncRegistry};
use crate::{
    config::DaemonConfig,
    report::{
        self, Category,
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
    file: StatusFile,
    interval: Duration,
    next: NextWrite,
    last_written: Moment,
    /// Earliest time of the next write.
    not_before: Moment,
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

/// Action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusAction {
    Nothing,
    /// Ask the watcher for its watches.
    RequestInventory,
    Write,
}

impl StatusWriter {
    /// Creates the status file that the settings ask for, due at `now`.
    pub(super) fn new(daemon: &DaemonConfig, now: Moment) -> Option<Self> {
        let file = StatusFile::new(daemon.status_file.clone()?);
        let (interval, inventory) = (daemon.status_interval, Inventory::default());
        Some(Self {
            file,
            interval,
            next: NextWrite::At(now),
            last_written: now,
            not_before: now,
            inventory,
        })
    }

    /// Records a change.
    pub(super) fn touch(&mut self, now: Moment) {
        if self.next == NextWrite::Idle {
            self.next = NextWrite::At((now + self.interval).max(self.not_before));
        }
    }

    /// Returns the time of the next action. It depends on whether jobs are running.
    pub(super) fn due(&self, is_busy: bool) -> Moment {
        let most = if is_busy { BUSY_INTERVAL } else { HEARTBEAT_INTERVAL };
        match self.next {
            NextWrite::Idle => (self.last_written + most.max(self.interval)).max(self.not_before),
            NextWrite::At(at) | NextWrite::AwaitingInventory(at) => at,
        }
    }

    /// Returns the action that is due at `now`. It depends on whether jobs are running.
    pub(super) fn step(&mut self, now: Moment, is_busy: bool) -> StatusAction {
        if now < self.due(is_busy) {
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

    /// Stores the report of the watcher.
    pub(super) fn set_inventory(&mut self, inventory: Inventory, now: Moment) {
        let was = std::mem::replace(&mut self.inventory, inventory);
        match &mut self.next {
            NextWrite::AwaitingInventory(until) => *until = now,
            // A status that was written without this report is corrected.
            NextWrite::Idle if self.inventory != was => self.touch(now),
            NextWrite::Idle | NextWrite::At(_) => {}
        }
    }

    /// Records that the status was written at `now`, which took `cost`.
    fn written(&mut self, now: Moment, cost: Duration) {
        self.next = NextWrite::Idle;
        self.last_written = now;
        self.not_before = now + cost * WRITE_COST_FACTOR;
    }
}

impl Engine {
    /// Writes the status file if it is due. A daemon that is shutting down does not write it.
    pub(super) fn update_status(&mut self) {
        let now = self.now();
        let Some(status) = self.status.as_mut().filter(|_| self.fleet.is_running()) else { return };
        match status.step(now, self.jobs.any_running()) {
            StatusAction::Nothing => {}
            StatusAction::RequestInventory => self.watch.list(),
            StatusAction::Write => self.write_status(now, false),
        }
    }

    /// Writes the final status, which marks the daemon as stopped.
    pub(super) fn write_final_status(&mut self) {
        self.write_status(self.now(), true);
    }

    pub(super) fn status_due(&self) -> Option<Moment> {
        let status = self.status.as_ref().filter(|_| self.fleet.is_running());
        status.map(|status| status.due(self.jobs.any_running()))
    }

    /// Records a change that the status may show.
    pub(super) fn touch_status(&mut self) {
        let now = self.now();
        if let Some(status) = &mut self.status {
            status.touch(now);
        }
    }

    fn write_status(&mut self, now: Moment, is_final: bool) {
        let began = Instant::now();
        let Some(inventory) = self.status.as_ref().map(|status| &status.inventory) else { return };
        let text = self.status_text(inventory, now, is_final);
        let Some(status) = &mut self.status else { return };
        if let Err(Some(why)) = status.file.write(&text) {
            self.log.say(Category::Error, why);
        }
        status.written(now, began.elapsed());
    }

    fn status_text(&self, inventory: &Inventory, now: Moment, is_final: bool) -> Vec<u8> {
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
                        mirror.held().iter().map(log_events::describe_held).collect()
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
        let status = status::StatusReport {
            syncs: syncs.collect(),
            processes: processes.collect(),
            watches: WatchSummary { count: inventory.watched, listed: &inventory.listed },
            notes: [watch_notes(inventory, &self.registry), self.tunnels.status_lines()].concat(),
            is_final,
            now,
            clock: report::now(),
        };
        status.text()
    }

    /// Excludes the daemon's own files from the reported changes of a source.
    pub(super) fn ignore_own_files(&self) {
        let status = self.status.as_ref();
        let status = status.map(|status| [status.file.path().to_owned(), status.file.temp_path()]);
        let daemon = &self.daemon;
        let own = [&daemon.logfile, &daemon.pidfile].into_iter().flatten().cloned();
        for path in own.chain(status.into_iter().flatten()) {
            if let Some(real) = real_path(&path) {
                self.watch.ignore(real);
            }
            self.watch.ignore(path);
        }
    }

    /// Applies changed settings of the status file.
    pub(super) fn reload_status(&mut self, was: &DaemonConfig) {
        let daemon = &self.daemon;
        if (&was.status_file, was.status_interval) != (&daemon.status_file, daemon.status_interval)
        {
            if was.status_file != daemon.status_file
                && let Some(status) = &mut self.status
            {
                // The old file is outdated. An error of writing this notice has no remedy.
                let text = status::superseded_notice(daemon.status_file.as_deref(), &report::now());
                let _ = status.file.write(&text);
            }
            self.status = StatusWriter::new(daemon, self.now());
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

/// Returns the path by which the kernel knows a file whose directory is reached through links.
fn real_path(path: &std::path::Path) -> Option<PathBuf> {
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?)).filter(|real| real != path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn status(interval: Duration) -> StatusWriter {
        let daemon = DaemonConfig {
            status_file: Some("/nonexistent/status".into()),
            status_interval: interval,
            ..DaemonConfig::default()
        };
        StatusWriter::new(&daemon, Moment::ORIGIN).unwrap()
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
        assert_eq!(status.due(false), at(60_000));
        status.touch(at(5500));
        status.touch(at(6000));
        assert_eq!(status.due(false), at(7500));
        assert_eq!(status.step(at(7499), false), StatusAction::Nothing);
        write(&mut status, 7500);
        assert_eq!(status.due(false), at(67_500));
        assert_eq!(status.due(true), at(9500));
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
        assert_eq!(status.due(false), at(600));
    }

    #[test]
    fn a_missing_inventory_delays_the_write_only_until_the_timeout() {
        let mut status = status(Duration::ZERO);
        assert_eq!(status.step(at(1), false), StatusAction::RequestInventory);
        // Changes in the meantime are part of the write.
        status.touch(at(100));
        assert_eq!(status.due(false), at(501));
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
            assert_eq!(status.due(false), due);
        }
    }

    #[test]
    fn status_is_refreshed_while_jobs_run_and_once_a_minute() {
        for (interval, busy) in [(0, 1), (1, 1), (10, 10)] {
            let mut status = status(Duration::from_secs(interval));
            write(&mut status, 0);
            assert_eq!(status.due(true), at(busy * 1000));
            assert_eq!(status.step(at(busy * 1000 - 1), true), StatusAction::Nothing);
            assert_eq!(status.step(at(busy * 1000), true), StatusAction::RequestInventory);
            status.set_inventory(Inventory::default(), at(busy * 1000));
            assert_eq!(status.step(at(busy * 1000), true), StatusAction::Write);
            status.written(at(busy * 1000), Duration::ZERO);
            assert_eq!(status.due(false), at(busy * 1000 + 60_000));
        }
        let mut rare = status(Duration::from_mins(5));
        write(&mut rare, 0);
        assert_eq!(rare.due(false), at(300_000));
    }

    #[test]
    fn no_status_file_is_written_without_a_path() {
        assert!(StatusWriter::new(&DaemonConfig::default(), Moment::ORIGIN).is_none());
    }
}
