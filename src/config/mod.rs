//! What the daemon is to do, whoever said it: the command line or a configuration file.
//!
//! All of it is checked and looked up: what is in a [`Setup`] can be run. Two setups can be compared,
//! so that a reload touches only what changed.

pub mod cron;
pub mod place;
mod places;
mod source;
mod target;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    guard::{MaxDelete, ReplacedSource},
    job::AfterHook,
    mirror::scripted::Reset,
    notice::Writes,
    plan::{
        direct::DirectOptions,
        exit::ExitCodes,
        options::{DeletePolicy, RsyncOptions},
    },
    queue::{OpenWait, Pace},
    tunnel,
};

use crate::report::Mode;

pub use places::Places;
pub use source::{BadSource, awaited_source, canonical_source};
pub use target::{Base, check_target};

/// Where no delay was given: a change goes out once nothing new came for `quiet`, and at the
/// latest after `ceiling`. See `docs/decisions/0004-pace.md`.
pub const PACE: Pace =
    Pace::Quiet { quiet: Duration::from_millis(100), ceiling: Duration::from_secs(1) };

/// With so many changes waiting, all of them go out, whatever delay was given: `maxDelays`.
pub const MOST_WAITING: usize = 1000;

/// The longest delay that is told apart from for ever: about a hundred years.
pub const LONGEST_DELAY: Duration = Duration::from_hours(100 * 365 * 24);

/// A delay of so many seconds, which are not negative. What is too long for a duration, even
/// infinite, is the longest.
#[must_use]
pub fn delay(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY))
}

/// The absolute path that somebody in the directory `here` means. An empty one stays so, and can't
/// be opened.
#[must_use]
pub fn absolute(here: &Path, path: &OsStr) -> PathBuf {
    if path.is_empty() { PathBuf::new() } else { here.join(path) }
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// What holds for the whole process.
    pub daemon: Daemon,
    /// In the order in which they were given, at least one.
    pub syncs: Vec<Sync>,
    /// The tunnels that are kept standing, whoever uses them.
    pub tunnels: Vec<tunnel::Plan>,
}

/// What holds for the whole process: `settings{}` and the options of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Whether to detach.
    pub mode: Mode,
    /// Absolute.
    pub logfile: Option<PathBuf>,
    /// Absolute.
    pub pidfile: Option<PathBuf>,
    /// Absolute.
    pub status_file: Option<PathBuf>,
    /// The time between two writes of the status file while something happens.
    pub status_interval: Duration,
    /// The facility for the system's log, one of those that `report` knows.
    pub log_facility: String,
    /// The name in the system's log.
    pub log_ident: String,
    /// Whether to end after the startup of all syncs.
    pub onepass: bool,
    /// The most jobs at once, of all syncs together.
    pub max_processes: Option<usize>,
    /// How changes are noticed.
    pub watch: Watch,
    /// Which events of a file tell scripts that its content changed.
    pub writes: Writes,
    /// Whether all syncs to one host share a connection.
    pub share_connections: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            mode: Mode::Daemon,
            logfile: None,
            pidfile: None,
            status_file: None,
            status_interval: Duration::from_secs(10),
            log_facility: "user".into(),
            log_ident: "lsyncd".into(),
            onepass: false,
            max_processes: None,
            watch: Watch::Auto,
            writes: Writes::default(),
            share_connections: true,
        }
    }
}

/// What the command line says, and what comes before what a configuration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Seconds, for every sync.
    pub delay: Option<f64>,
    /// The most unseen deletions, for every sync.
    pub max_delete: Option<MaxDelete>,
    /// Whether a failed startup is to be tried again; see [`Sync::insists`].
    pub insist: bool,
    /// Whether to stay in the foreground.
    pub nodaemon: bool,
    /// Whether to end after the startup of all syncs.
    pub onepass: bool,
    /// Absolute.
    pub logfile: Option<PathBuf>,
    /// Absolute.
    pub pidfile: Option<PathBuf>,
    /// How changes are noticed.
    pub watch: Option<Watch>,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Whatever is best for a source.
    #[default]
    Auto,
    /// One watch for each directory.
    Inotify,
    /// One mark for a whole file system.
    Fanotify,
}

/// One sync.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration")]
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// Its name in the status and in messages: `Sync1` for the first.
    pub name: String,
    /// Who carries it out.
    pub kind: Kind,
    /// A canonical path of a directory, without a slash at the end unless it is the root.
    pub source: PathBuf,
    /// The same directory as the user named it: absolute, and maybe by way of symbolic links.
    pub given: PathBuf,
    /// For rsync a target in rsync's syntax; for direct a path. As it was given, with a slash at
    /// the end unless it ends in `:`. A relative one is resolved where it is used: a daemon works
    /// in `/`.
    ///
    /// **Invariants.** It is not empty. A local one is neither the root of this machine nor the
    /// source, and neither lies in the other.
    pub target: OsString,
    /// When changes go out.
    pub pace: Pace,
    /// How long a file that is being written is left alone.
    pub open_wait: OpenWait,
    /// Whether a failed startup is tried again.
    pub insist: bool,
    /// Whether it begins with a full transfer: `init`.
    pub init: bool,
    /// When what the source does not have is deleted.
    pub delete: DeletePolicy,
    /// The most deletions that are carried out though nobody saw them happen.
    pub max_delete: MaxDelete,
    /// The most deletions that are carried out of those that were seen to happen.
    pub max_delete_seen: MaxDelete,
    /// What to do when another file system stands where the source was.
    pub replaced_source: ReplacedSource,
    /// A name that has to be in the source itself, or the sync waits. It is one name, neither
    /// empty nor `.` nor `..`.
    pub marker: Option<OsString>,
    /// By how much times of files may differ and still count as equal. `None`: what the target
    /// keeps is found out.
    pub modify_window: Option<Duration>,
    /// Whether each file and its directory are synced. Only for direct.
    pub durable: bool,
    /// What the words for rsync say to the copier in this process. Its rules are in `filter`.
    pub direct: DirectOptions,
    /// Whether what is renamed in the source may be renamed at the target, where that can be done:
    /// `onMove`.
    pub moves: bool,
    /// What is left out, compiled from `exclusions`.
    pub filter: Arc<Filter>,
    /// What is left out, in the words of the user.
    pub exclusions: Exclusions,
    /// How rsync is called. Its `delete` and `rules` say the same as those here.
    pub rsync: RsyncOptions,
    /// The program rsync, looked up in `PATH` if it has no slash.
    pub binary: OsString,
    /// What its exit codes mean.
    pub codes: ExitCodes,
    /// What the user says that the exit codes of an ssh mean that renames something.
    pub ssh_codes: ExitCodes,
    /// Files of more bytes are transferred each by a call of its own: beside the others where more
    /// than one transfer runs at once, else after them.
    pub batch_size_limit: Option<u64>,
    /// How many transfers run at once, at least one. A direct sync uses several threads anyway, and
    /// has one.
    pub max_processes: usize,
    /// When a full transfer is made, in local time.
    pub crontab: Vec<cron::Rule>,
    /// What is done when a batch is on the target.
    pub hook: Option<Hook>,
    /// What the target is reached through.
    pub tunnel: Option<tunnel::Plan>,
    /// The script to which its changes are told. It has the same settings then, as far as its
    /// functions use what we do with a target.
    pub script: Option<Script>,
}

impl Sync {
    /// A sync of which nothing more is said. The source has no link in it, and is what was given.
    #[must_use]
    pub fn new(name: String, kind: Kind, source: PathBuf, target: OsString) -> Self {
        Self {
            name,
            kind,
            given: source.clone(),
            source,
            target,
            pace: PACE,
            open_wait: OpenWait::default(),
            insist: false,
            init: true,
            delete: DeletePolicy::Always,
            max_delete: MaxDelete::default(),
            max_delete_seen: MaxDelete::Unlimited,
            replaced_source: ReplacedSource::default(),
            marker: None,
            modify_window: None,
            durable: false,
            direct: DirectOptions::default(),
            moves: true,
            filter: Arc::default(),
            exclusions: Exclusions::default(),
            rsync: RsyncOptions::default(),
            binary: "rsync".into(),
            codes: ExitCodes::rsync(),
            ssh_codes: ExitCodes::rsync(),
            batch_size_limit: None,
            max_processes: 1,
            crontab: Vec::new(),
            hook: None,
            tunnel: None,
            script: None,
        }
    }

    /// Whether a failed startup is tried again: a tunnel that breaks is no reason to end.
    #[must_use]
    pub const fn insists(&self) -> bool {
        self.insist || self.tunnel.is_some()
    }

    /// Whether functions of a file are called for it.
    #[must_use]
    pub fn has_script(&self) -> bool {
        let calls = |hook: &Hook| matches!(hook.call, HookCall::Function(_));
        self.script.is_some() || self.hook.as_ref().is_some_and(calls)
    }
}

/// What has to be known of a script beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The number of the sync in its file, from 1 on.
    pub number: usize,
    /// How old an event becomes before it is due.
    pub delay: Duration,
    /// With so many events all are due at once.
    pub max_delays: usize,
    /// The most children at once.
    pub max_jobs: usize,
    /// Whether it wants to be told of moves.
    pub moves: bool,
    /// Whether it has a function for full transfers.
    pub full: bool,
    /// What becomes of what waits when it begins anew.
    pub anew: Reset,
    /// Whether it wants to be told of what is below the directories of its source.
    pub subdirectories: bool,
    /// Which events of a file tell it that the content changed.
    pub writes: Writes,
}

/// What is done when a batch is on the target: `onSynced`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What is called.
    pub call: HookCall,
    /// What follows if it fails. `None`: nothing but a warning.
    pub on_failure: Option<AfterHook>,
}

/// What is called when a batch is on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCall {
    /// A program with its words, looked up in `PATH` if it has no slash.
    Program(OsString, Vec<OsString>),
    /// A function of the script of the sync of this number.
    Function(usize),
}

/// Who carries out a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program rsync.
    Rsync,
    /// The program rsync, to a directory behind ssh.
    Rsyncssh,
    /// The copier in this process.
    Direct,
    /// Nobody but its script.
    Own,
}

/// What is left out of a sync, in the words of the user, as the status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Rules such as `- *.tmp`: they come first.
    pub filters: Vec<Vec<u8>>,
    /// Patterns.
    pub excludes: Vec<Vec<u8>>,
}
