//! Built-in copier: mirrors a tree to a path on this machine.
//!
//! It works through directory handles below both roots and never follows a symbolic link out of
//! either one. No entry appears at the target under its own name before it is complete. The caller
//! decides when a job runs and which paths it covers.
//!
//! A job passes through the modules in this order: `renames` applies rename hints, `tasks` groups
//! paths into tasks for the `pool`, `directory` lists and compares a directory, `entry` copies,
//! links or removes each entry, and `attributes` sets the attributes of the entry. The attributes
//! of the directory itself are set after all tasks in it.
//!
//! The modules are layers: the facts about the target (`capabilities`, `state`), the job that all
//! threads share (`copy_job`), the work on one entry or open directory (`attributes`, `backup`,
//! `remove`, `dir_pair`), the context of a directory (`dir_context`), and the walk.

mod applied_renames;
mod attributes;
mod backup;
mod capabilities;
mod copy_job;
mod deletion_choice;
mod deletions;
mod dir_cache;
mod dir_context;
mod dir_node;
mod dir_pair;
mod directory;
mod dry_run;
mod entry;
mod error;
mod file;
mod hardlink_index;
mod hardlink_search;
mod options;
mod pool;
mod remove;
mod renames;
mod state;
mod tally;
mod tasks;
mod temp_file;
#[cfg(test)]
mod tests;
mod throttle;
mod timestamps;
mod warnings;

use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    guard::MaxDelete,
    job::{Failure, Job, Outcome, Work},
    path::Escaped,
    plan::{direct::DirectOptions, options::DeletePolicy},
    queue::PathSet,
};
use mirror_platform::{clone_file, dir::Dir, umask};
use rustix::process;

use super::{
    Executor,
    process::cancel::CancelToken,
    source_root::SourceRoot,
    spelling::CaseSides,
    target_identity::TargetIdentity,
    trusted_path::{self, TrustedOpenError},
};
use crate::report::Log;
use copy_job::CopyJob;
use throttle::Throttle;

pub(crate) use state::DirectState;

/// Maximum default number of copy threads. More threads only wait for the same disk.
const MAX_WORKERS: usize = 8;

/// The usual umask, where it cannot be read.
const ASSUMED_UMASK: u32 = 0o022;

/// Settings of a [`DirectExecutor`].
#[derive(Clone, Debug)]
pub(crate) struct DirectSettings {
    /// Root of the target. It is created if its parent exists.
    pub target: PathBuf,
    /// Filter rules: excluded paths are neither copied nor deleted.
    pub filter: Arc<Filter>,
    /// Phases in which deletions are applied.
    pub delete: DeletePolicy,
    /// True if renames in the source are applied as renames at the target.
    pub renames: bool,
    /// Budget for deletions that no watch event reported.
    pub max_delete: MaxDelete,
    /// Budget for deletions that a watch event reported.
    pub max_delete_seen: MaxDelete,
    /// Maximum difference between modification times that count as equal.
    pub modify_window: Option<Duration>,
    /// True if each file and its directory are flushed to disk before the job ends.
    pub durable: bool,
    /// Options given in rsync's syntax.
    pub options: DirectOptions,
    /// Number of threads that copy one job, including the caller; see [`default_workers`].
    pub workers: NonZeroUsize,
}

/// Returns the granularity, in nanoseconds, of modification times below `target`. Returns the
/// finest one if it cannot be measured.
pub(super) fn timestamp_granularity(target: &Dir) -> u64 {
    capabilities::TargetCapabilities::probe(target, false).granularity.step()
}

/// Returns true if names that differ only in case are the same below `target`, which may be empty.
pub(super) fn ignores_case(target: &Dir) -> bool {
    capabilities::TargetCapabilities::probe(target, false).folds_case
}

/// Returns the number of processors, limited to a range of 2 to 8.
#[must_use]
pub(crate) fn default_workers() -> NonZeroUsize {
    const LEAST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
    let processors = thread::available_parallelism().unwrap_or(LEAST);
    NonZeroUsize::new(MAX_WORKERS).map_or(LEAST, |most| processors.clamp(LEAST, most))
}

/// Executor that copies in this process.
///
/// It runs one job at a time: two concurrent jobs for the same paths would remove each other's
/// temporary files.
#[derive(Debug)]
pub(crate) struct DirectExecutor {
    source: Arc<SourceRoot>,
    settings: DirectSettings,
    log: Log,
    /// True if owners, devices and all extended attributes can be expected to be settable.
    privileged: bool,
    /// True if files are cloned under a temporary name.
    clones: bool,
    state: Arc<DirectState>,
    throttle: Option<Throttle>,
    /// Permission bits that new files do not get if permissions are not mirrored.
    umask: u32,
    target_identity: Arc<TargetIdentity>,
}

impl DirectExecutor {
    /// Creates an executor. It can reuse the `state` of an earlier one for the same source and
    /// target.
    #[must_use]
    pub(crate) fn new(
        source: Arc<SourceRoot>,
        mut settings: DirectSettings,
        state: Arc<DirectState>,
        log: Log,
    ) -> Self {
        if let Some(backup) = &mut settings.options.backup {
            backup::name_within_target(backup, &settings.target);
        }
        let throttle = settings.options.bwlimit.map(Throttle::new);
        let target_identity = state.target_identity(&settings.target, &log);
        Self {
            source,
            settings,
            log,
            privileged: process::geteuid().is_root(),
            clones: clone_file::IS_NEEDED,
            state,
            throttle,
            umask: umask::current().unwrap_or(ASSUMED_UMASK),
            target_identity,
        }
    }

    fn open_target(&self) -> Result<Dir, Outcome> {
        let path = &self.settings.target;
        trusted_path::open_or_make(path).map_err(|refused| {
            let path = path_text(path);
            let why = match refused {
                TrustedOpenError::System(error) if error.kind() == io::ErrorKind::NotFound => {
                    format!(
                        "{}: create its parent directory, or mount its file system",
                        error::os_message(&error)
                    )
                }
                TrustedOpenError::System(error) => error::os_message(&error),
                planted @ TrustedOpenError::UntrustedLink(_) => planted.to_string(),
            };
            Outcome::Retry(Failure::new(format!("cannot open the target {path}: {why}")))
        })
    }
}

impl DirectExecutor {
    fn copy(&self, copy_job: &CopyJob<'_>, work: &Work) {
        match work {
            Work::Full { .. } => {
                let progress = self.log.show_progress(&self.state.meter);
                tasks::full(copy_job);
                drop(progress);
            }
            Work::Batch { paths, renames, .. } => {
                // A rename deletes the old name and whatever has the new name.
                let is_free =
                    copy_job.delete && !options::may_protect_target(&self.settings.options);
                let renames = if self.settings.renames && is_free { renames } else { &[][..] };
                tasks::batch(copy_job, paths, renames);
            }
            Work::Large { path, .. } => tasks::batch(copy_job, &PathSet::entry(path), &[]),
        }
    }
}

impl Executor for DirectExecutor {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        let _timer = self.state.meter.time_job();
        let source = match self.source.open_for(&job.work, &self.log) {
            Ok(source) => source,
            Err(outcome) => return outcome,
        };
        let before = match self.target_identity.check_before(&mut job.work) {
            Ok(before) => before,
            Err(outcome) => return outcome,
        };
        let target = match self.open_target() {
            Ok(target) => target,
            Err(outcome) => return outcome,
        };
        self.state.probe(&target, self.privileged);
        self.state.observed_holds.begin(&job.work);
        let mut copy_job = CopyJob::new(self, &job.work, source, target, cancel);
        if copy_job.capabilities().folds_case {
            let (source, target, filter) = (&copy_job.source, &copy_job.target, copy_job.filter());
            let sides = CaseSides { source, target, filter };
            copy_job.shared_names = sides.respell(&job.work.paths());
        }
        self.copy(&copy_job, &job.work);
        let all = copy_job.is_full();
        let outcome = copy_job.into_outcome();
        if let Err(gone @ Outcome::SourceGone(_)) = self.source.open() {
            return gone;
        }
        match outcome {
            Outcome::Done | Outcome::Partial(_) | Outcome::Split { .. } => {
                if let Err(outcome) = self.target_identity.check_after(&before, all) {
                    return outcome;
                }
                if all && outcome == Outcome::Done {
                    self.target_identity.adopt();
                }
                outcome
            }
            Outcome::Retry(_)
            | Outcome::Fatal(..)
            | Outcome::HookFailed { .. }
            | Outcome::SourceGone(_) => outcome,
        }
    }
}

/// Returns the path as escaped text without a trailing slash.
fn path_text(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    Escaped(bytes.strip_suffix(b"/").unwrap_or(bytes)).to_string()
}
