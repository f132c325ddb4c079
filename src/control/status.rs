//! The status document: the state of a daemon and its syncs, for programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of a daemon and of the selected syncs.
///
/// Times are in seconds since the epoch, durations in seconds. Names are escaped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Time of the document.
    pub time: f64,
    /// The daemon.
    pub daemon: DaemonReport,
    /// The selected syncs, in the order of the configuration.
    pub syncs: Vec<SyncReport>,
}

/// The state of a daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Start of the process.
    pub started: f64,
    /// True if it is exiting.
    pub is_exiting: bool,
    /// Configuration files; empty if the command line configures it.
    pub config_files: Vec<String>,
    /// Hash of the configuration in force: hexadecimal digits.
    pub config_hash: String,
    /// The last reload. `None`: there was none.
    pub reload: Option<ReloadReport>,
    /// Number of watches of single directories.
    pub watches: u64,
    /// The kernel's limit of such watches for the user.
    pub watch_limit: Option<u64>,
    /// Number of directories that are polled.
    pub polled_directories: u64,
    /// Number of overflows of the kernel's event queues.
    pub overflows: u64,
    /// Number of running child processes.
    pub processes: u64,
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Its time.
    pub time: f64,
    /// The reason why it was refused. `None`: it was accepted.
    pub error: Option<String>,
}

/// The state of one sync with its target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Name, unique in the daemon: the configured one, or the target.
    pub name: String,
    /// `rsync`, `rsyncssh`, `direct` or `script`.
    pub kind: String,
    /// Source path.
    pub source: String,
    /// Target as configured.
    pub target: String,
    /// State.
    pub state: SyncState,
    /// Start of the state.
    pub since: f64,
    /// Explanation of the state for people, if there is more to say.
    pub message: Option<String>,
    /// Age of the oldest change that is not known to be on the target. `None`: there is none, or
    /// the number of differences is unknown until a full transfer ends.
    pub oldest_change: Option<f64>,
    /// Paths that wait or are being transferred.
    pub pending: PendingReport,
    /// Failing paths: the first ones.
    pub failed: Vec<FailedPathReport>,
    /// Deletions that are held.
    pub held: Vec<HeldReport>,
    /// True if an operator has paused it.
    pub is_paused: bool,
    /// Time of the next try while the target is paused after a failure. `None`: there is no
    /// failure, or it waits for an operator.
    pub next_try: Option<f64>,
    /// End of the last successful transfer.
    pub last_success: Option<f64>,
    /// Exit code of the last program.
    pub last_exit: Option<i32>,
    /// Failure of the last transfer. `None`: it succeeded.
    pub last_failure: Option<String>,
    /// Failure of the last call of `onSynced`. `None`: it succeeded, or there was none.
    #[serde(default)]
    pub hook_failure: Option<String>,
    /// Watching of the source, for people: backend and coverage.
    pub watcher: String,
    /// Number of directories of the source that are polled.
    pub polled_directories: u64,
    /// State of the tunnel and of the shared ssh connection, for people. `None`: there is neither.
    pub connection: Option<String>,
    /// Snapshot of the source. `None`: it has none.
    #[serde(default)]
    pub snapshot: Option<SnapshotReport>,
    /// Counters since the start of the daemon.
    pub totals: Totals,
}

/// The snapshot of a source, with which a restart transfers only what has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Time of the present snapshot. `None`: there is none yet.
    pub taken: Option<f64>,
    /// Number of paths that the start has compared, because the rest was as in the last snapshot.
    /// `None`: it did not use that.
    pub compared_paths: Option<u64>,
    /// Reason why the start transfers everything. `None`: it does not, or that is unknown yet.
    pub full_reason: Option<String>,
}

impl SyncReport {
    /// A report with the configuration only: the sync has done nothing yet, and is stopped.
    #[must_use]
    pub fn new(name: String, kind: &str, source: String, target: String) -> Self {
        Self {
            name,
            kind: kind.to_owned(),
            source,
            target,
            state: SyncState::Stopped,
            since: 0.0,
            message: None,
            oldest_change: None,
            pending: PendingReport::default(),
            failed: Vec::new(),
            held: Vec::new(),
            is_paused: false,
            next_try: None,
            last_success: None,
            last_exit: None,
            last_failure: None,
            hook_failure: None,
            watcher: String::new(),
            polled_directories: 0,
            connection: None,
            snapshot: None,
            totals: Totals::default(),
        }
    }

    /// Number of deletions that are held.
    #[must_use]
    pub fn held_count(&self) -> u64 {
        self.held.iter().map(|held| held.count).sum()
    }
}

/// States of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// The target is known to have everything.
    InSync,
    /// Changes wait or are being transferred.
    Pending,
    /// A full transfer is due or runs, the first one included.
    FullTransfer,
    /// The watches are being set up.
    SettingUp,
    /// Single paths fail and are retried; the others are on the target or on their way.
    Failing,
    /// The last transfer failed: the target is retried later.
    Retrying,
    /// The source is not there: nothing is done until it is back.
    SourceUnavailable,
    /// The tunnel to the target is down.
    NoTunnel,
    /// Deletions, another source or a failed `onSynced` wait for an operator.
    Held,
    /// An operator has paused it.
    Paused,
    /// The daemon is exiting.
    Stopped,
}

impl SyncState {
    /// All states.
    pub const ALL: [Self; 11] = [
        Self::InSync,
        Self::Pending,
        Self::FullTransfer,
        Self::SettingUp,
        Self::Failing,
        Self::Retrying,
        Self::SourceUnavailable,
        Self::NoTunnel,
        Self::Held,
        Self::Paused,
        Self::Stopped,
    ];

    /// The name for people: `in sync`.
    #[must_use]
    pub fn words(self) -> String {
        self.name().replace('_', " ")
    }

    /// The name in the document and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Pending => "pending",
            Self::FullTransfer => "full_transfer",
            Self::SettingUp => "setting_up",
            Self::Failing => "failing",
            Self::Retrying => "retrying",
            Self::SourceUnavailable => "source_unavailable",
            Self::NoTunnel => "no_tunnel",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Numbers of paths that wait or are being transferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReport {
    /// Paths that wait, those that wait for a running transfer included.
    pub waiting: u64,
    /// Paths that are being transferred.
    pub in_flight: u64,
    /// Bytes that the running batch has sent so far. `None`: no batch runs, or its program does not
    /// tell.
    #[serde(default)]
    pub in_flight_bytes: Option<u64>,
    /// Files that are being written and wait for their writer.
    pub open: u64,
    /// Failing paths.
    pub failed: u64,
    /// The first waiting and transferred paths.
    pub names: Vec<String>,
}

/// A failing path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedPathReport {
    /// The path in the source.
    pub path: String,
    /// The reason, if known.
    pub reason: Option<String>,
    /// Number of failures in a row.
    pub tries: u32,
    /// Time of the next try. `None`: it depends on something else.
    pub next_try: Option<f64>,
}

/// Deletions that are held for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// Number of deletions.
    pub count: u64,
    /// Number of entries on the target, if known.
    pub total: Option<u64>,
    /// `observed`, `unobserved` or `empty_source`.
    pub reason: String,
    /// Explanation with the remedy, for people.
    pub message: String,
    /// The first names.
    pub names: Vec<String>,
}

/// Counters of a sync since the start of the daemon. A reload does not reset them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Transfers by the exit code of their program, `done` and `failed` if there was none.
    pub transfers: BTreeMap<String, u64>,
    /// Sent files, as far as they are known.
    #[serde(default)]
    pub sent_files: u64,
    /// Sent bytes, as far as they are known.
    pub sent_bytes: u64,
    /// Deletions on the target, as far as they are known.
    pub deleted: u64,
    /// Durations of the batches.
    pub batch_duration: Histogram,
    /// Ages of the oldest changes of batches at their ends.
    pub lag: Histogram,
}

/// A histogram of durations in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Number of values up to each of [`Histogram::BOUNDS`], not cumulated; the last one counts the
    /// values above all bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// Upper bounds of the buckets in seconds.
    pub const BOUNDS: [f64; 12] =
        [0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10_000.0];

    /// Adds a value.
    pub fn add(&mut self, seconds: f64) {
        let at = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; Self::BOUNDS.len() + 1], sum: 0.0 }
    }
}
