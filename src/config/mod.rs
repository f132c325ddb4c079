//! The configuration, independent of its source: the command line or a configuration file.
//!
//! A [`Config`] is validated and resolved, and can be run. Two configurations can be compared, so
//! that a reload touches only what changed.

pub mod cron;
mod positions;
mod regular_file;
mod source;
mod target_check;
pub mod target_path;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    fs_event::WriteDetection,
    guard::{MaxDelete, ReplacedSource},
    job::HookFailureAction,
    mirror::{
        TargetHost,
        scripted::{FullHandling, RestartMode},
    },
    plan::{
        direct::DirectOptions,
        exit::ExitCodes,
        options::{DeletePolicy, RsyncOptions},
        target::Target,
    },
    queue::{Debounce, OpenWait},
    tunnel,
};

use crate::report::{LogFormat, RunMode};

pub use positions::{RuleSource, RuleSources, SyncPositions};
pub use regular_file::read_regular_file;
pub use source::{SourceError, awaited_source, canonical_source};
pub use target_check::{TargetBase, TargetCheck, check_target, refuse_conflict};

/// Number of pending changes that are sent regardless of the delay: the default of `maxDelays`.
pub const DEFAULT_MAX_DELAYS: usize = 1000;

/// Longest delay: about a hundred years. Longer ones are shortened to it.
pub const MAX_DELAY: Duration = Duration::from_hours(100 * 365 * 24);

/// Converts a delay in seconds, which must not be negative. Values that are too large, even
/// infinity, become [`MAX_DELAY`].
#[must_use]
pub fn delay_from_secs(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(MAX_DELAY, |delay| delay.min(MAX_DELAY))
}

/// Resolves `path` against the directory `start_dir`. An empty path stays empty, and cannot be
/// opened.
#[must_use]
pub fn absolute(start_dir: &Path, path: &OsStr) -> PathBuf {
    if path.is_empty() { PathBuf::new() } else { start_dir.join(path) }
}

/// A complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Settings of the whole process.
    pub daemon: DaemonConfig,
    /// Syncs in the order of their declaration; at least one.
    pub syncs: Vec<SyncConfig>,
    /// Tunnels to keep up. Several syncs may share one.
    pub tunnels: Vec<tunnel::TunnelSpec>,
}

/// Settings of the whole process: `settings{}` and the options of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Detached or in the foreground.
    pub mode: RunMode,
    /// Absolute path of the log file.
    pub logfile: Option<PathBuf>,
    /// Absolute path of the pid file.
    pub pidfile: Option<PathBuf>,
    /// Absolute path of the status file.
    pub status_file: Option<PathBuf>,
    /// Interval between two writes of the status file while something happens.
    pub status_interval: Duration,
    /// Absolute path of the directory for snapshots of the sources.
    pub state_dir: Option<PathBuf>,
    /// Minimum time between two snapshots of a source.
    pub state_interval: Duration,
    /// True to start with full transfers, whatever the snapshots say.
    pub full: bool,
    /// Control socket.
    pub socket: SocketSetting,
    /// Group that may connect to the read-only socket, by name or number.
    pub socket_group: Option<String>,
    /// Format of the log file and of the terminal.
    pub log_format: LogFormat,
    /// Syslog facility, one of those that `report` knows.
    pub log_facility: String,
    /// Syslog identity.
    pub log_ident: String,
    /// True to exit after the startup of all syncs.
    pub onepass: bool,
    /// Maximum number of concurrent jobs of all syncs.
    pub max_processes: Option<usize>,
    /// Watch backend.
    pub watch: WatchBackend,
    /// Events that scripts get as a change of a file's content.
    pub writes: WriteDetection,
    /// True if all syncs to one host share an ssh connection.
    pub share_connections: bool,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            mode: RunMode::Daemon,
            logfile: None,
            pidfile: None,
            status_file: None,
            status_interval: Duration::from_secs(10),
            state_dir: None,
            state_interval: Duration::from_mins(2),
            full: false,
            socket: SocketSetting::Default,
            socket_group: None,
            log_format: LogFormat::Text,
            log_facility: "user".into(),
            log_ident: "lsyncd".into(),
            onepass: false,
            max_processes: None,
            watch: WatchBackend::Auto,
            writes: WriteDetection::default(),
            share_connections: true,
        }
    }
}

/// Choice of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SocketSetting {
    /// At the default place, if there is one.
    #[default]
    Default,
    /// None.
    Off,
    /// At this absolute path.
    At(PathBuf),
}

/// Options of the command line that take precedence over a configuration file.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Delay in seconds, for every sync.
    pub delay: Option<f64>,
    /// Limit of unseen deletions, for every sync.
    pub max_delete: Option<MaxDelete>,
    /// True to retry a failed startup; see [`SyncConfig::retries_startup`].
    pub insist: bool,
    /// True to stay in the foreground.
    pub nodaemon: bool,
    /// True to exit after the startup of all syncs.
    pub onepass: bool,
    /// Absolute path of the directory for snapshots.
    pub state_dir: Option<PathBuf>,
    /// True to start with full transfers.
    pub full: bool,
    /// Absolute path of the log file.
    pub logfile: Option<PathBuf>,
    /// Absolute path of the pid file.
    pub pidfile: Option<PathBuf>,
    /// Format of the log file and of the terminal.
    pub log_format: Option<LogFormat>,
    /// Watch backend.
    pub watch: Option<WatchBackend>,
}

/// Choice of the watch backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchBackend {
    /// The best backend that is available for a source.
    #[default]
    Auto,
    /// One watch per directory.
    Inotify,
    /// One mark for a whole file system.
    Fanotify,
}

/// Configuration of a sync.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration")]
#[derive(Clone, Debug, PartialEq)]
pub struct SyncConfig {
    /// Name in the status and in messages. `Sync1` by default for the first sync.
    pub name: String,
    /// Means of transfer.
    pub kind: SyncKind,
    /// Canonical path of the source directory, without a trailing slash unless it is the root.
    pub source: PathBuf,
    /// Source as the user spelled it, made absolute. It may contain symbolic links.
    pub source_as_given: PathBuf,
    /// Target in rsync's syntax; for direct a path. It is spelled as in the configuration, with a
    /// trailing slash unless it ends in `:`. A relative target is resolved where it is used: a
    /// daemon works in `/`.
    ///
    /// **Invariants.** It is not empty. A local target is neither the root of this machine nor the
    /// source, and neither lies in the other, unless the filter excludes the target in the source.
    pub target: OsString,
    /// Delay and grouping of changes.
    pub debounce: Debounce,
    /// Time for which an open file is held back.
    pub open_wait: OpenWait,
    /// True to retry a failed startup.
    pub insist: bool,
    /// True to start with a full transfer: `init`.
    pub init: bool,
    /// Policy for deleting files that the source does not have.
    pub delete: DeletePolicy,
    /// Limit of deletions that were not seen as events.
    pub max_delete: MaxDelete,
    /// Limit of deletions that were seen as events.
    pub max_delete_seen: MaxDelete,
    /// Reaction when another file system is mounted in place of the source.
    pub replaced_source: ReplacedSource,
    /// File name that must exist in the source; the sync waits for it. It is a single name, not
    /// empty and neither `.` nor `..`.
    pub marker: Option<OsString>,
    /// True if nothing but this sync changes the target, so that a snapshot is believed without a
    /// look at it.
    pub trust_target: bool,
    /// Difference of modification times that counts as equal. `None`: detected from the target.
    pub modify_window: Option<Duration>,
    /// True to sync each file and its directory to disk. Only for direct.
    pub durable: bool,
    /// Options of direct, derived from the rsync options. Its rules are part of `filter`.
    pub direct: DirectOptions,
    /// True to perform renames on the target where possible: `onMove`.
    pub renames: bool,
    /// Filter, compiled from `exclusions`.
    pub filter: Arc<Filter>,
    /// Filter rules and excludes as the user wrote them.
    pub exclusions: Exclusions,
    /// Options of rsync. `delete` and `rules` agree with the fields of this struct.
    pub rsync: RsyncOptions,
    /// Program to run as rsync; looked up in `PATH` if it has no slash.
    pub binary: OsString,
    /// Meaning of the exit codes of rsync.
    pub exit_codes: ExitCodes,
    /// User-defined meaning of the exit codes of the ssh that performs renames.
    pub ssh_exit_codes: ExitCodes,
    /// Files with more bytes are transferred one by one: concurrently if `max_processes` allows it,
    /// else after the others.
    pub batch_size_limit: Option<u64>,
    /// Maximum number of concurrent transfers, at least one. A direct sync has one, which uses
    /// several threads.
    pub max_processes: usize,
    /// Schedule of full transfers, in local time.
    pub crontab: Vec<cron::CronRule>,
    /// Command or function to run when a batch is on the target.
    pub hook: Option<Hook>,
    /// Tunnel to the target.
    pub tunnel: Option<tunnel::TunnelSpec>,
    /// Script that gets the events. Its built-in functions use the other settings of the sync.
    pub script: Option<ScriptConfig>,
    /// Filters for the validation of the target by [`refuse_conflict`] before the first transfer,
    /// since it did not answer when the configuration was loaded. `None`: it was validated then.
    pub unchecked_target: Option<Vec<Arc<Filter>>>,
}

impl SyncConfig {
    /// Creates a sync with default settings. `source` must be free of symbolic links.
    #[must_use]
    pub fn new(name: String, kind: SyncKind, source: PathBuf, target: OsString) -> Self {
        Self {
            name,
            kind,
            source_as_given: source.clone(),
            source,
            target,
            debounce: Debounce::DEFAULT,
            open_wait: OpenWait::default(),
            insist: false,
            init: true,
            delete: DeletePolicy::Always,
            max_delete: MaxDelete::default(),
            max_delete_seen: MaxDelete::Unlimited,
            replaced_source: ReplacedSource::default(),
            marker: None,
            trust_target: false,
            modify_window: None,
            durable: false,
            direct: DirectOptions::default(),
            renames: true,
            filter: Arc::default(),
            exclusions: Exclusions::default(),
            rsync: RsyncOptions::default(),
            binary: "rsync".into(),
            exit_codes: ExitCodes::rsync(),
            ssh_exit_codes: ExitCodes::rsync(),
            batch_size_limit: None,
            unchecked_target: None,
            max_processes: 1,
            crontab: Vec::new(),
            hook: None,
            tunnel: None,
            script: None,
        }
    }

    /// Returns the place of the target.
    #[must_use]
    pub fn target_host(&self) -> TargetHost {
        let target = Target::new(self.target.as_encoded_bytes());
        let is_local = |target: Target| target.local().is_some();
        if self.kind == SyncKind::Direct || target.is_ok_and(is_local) {
            TargetHost::Local
        } else {
            TargetHost::Remote
        }
    }

    /// Returns true if a failed startup is retried. A broken tunnel is no reason to exit.
    #[must_use]
    pub const fn retries_startup(&self) -> bool {
        self.insist || self.tunnel.is_some()
    }

    /// Returns true if functions of the configuration file are called for this sync.
    #[must_use]
    pub fn has_script(&self) -> bool {
        let calls = |hook: &Hook| matches!(hook.call, HookCall::Function(_));
        self.script.is_some() || self.hook.as_ref().is_some_and(calls)
    }
}

/// Settings of a script that the engine needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptConfig {
    /// Number of the sync in its file, from 1.
    pub number: usize,
    /// Age at which an event is due.
    pub delay: Duration,
    /// Number of pending events at which all of them are due.
    pub max_delays: usize,
    /// Maximum number of concurrent child processes.
    pub max_jobs: usize,
    /// True to deliver moves as single events.
    pub wants_renames: bool,
    /// The treatment of full transfers.
    pub full: FullHandling,
    /// Treatment of pending events when the script is restarted.
    pub restart_mode: RestartMode,
    /// True to deliver events below the subdirectories of the source.
    pub subdirectories: bool,
    /// Events that count as a change of a file's content.
    pub writes: WriteDetection,
}

/// Hook that runs when a batch is on the target: `onSynced`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Program or function to call.
    pub call: HookCall,
    /// Reaction to a failure. `None`: a warning only.
    pub on_failure: Option<HookFailureAction>,
}

/// Program or function of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCall {
    /// Program with its arguments; looked up in `PATH` if it has no slash.
    Program(OsString, Vec<OsString>),
    /// Function of the script of the sync with this number.
    Function(usize),
}

/// Means of transfer of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// rsync, to any target that rsync supports.
    Rsync,
    /// rsync, to a directory reached by ssh.
    Rsyncssh,
    /// The built-in copier.
    Direct,
    /// Only the functions of a script.
    Script,
}

/// Exclusions of a sync as the user wrote them, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Rules such as `- *.tmp`. They precede the excludes.
    pub filters: Vec<Vec<u8>>,
    /// Exclude patterns.
    pub excludes: Vec<Vec<u8>>,
}
