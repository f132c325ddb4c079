//! The copier in this process: mirrors a tree onto a path of this machine.
//!
//! It works through directory handles below both roots and never follows a symbolic link out of
//! either. Nothing is visible at the target under its own name before it is whole. What it leaves
//! to others: when to look, and where.
//!
//! A job passes the modules in this order: `moves` and `places` make tasks for the
//! crew, a folder is listed and compared, an entry is copied, linked or removed, its attributes
//! are set, and the directory's own when all in it is done.

mod attributes;
mod branch;
mod crew;
mod draft;
mod entry;
mod file;
mod folder;
mod grain;
mod learned;
mod links;
mod moves;
mod near;
mod options;
mod pass;
mod places;
mod remove;
mod search;
#[cfg(test)]
mod tests;
mod throttle;
mod traits;
mod trouble;
mod unseen;
mod warn;

use std::{
    fs, io,
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
    plan::direct::DirectOptions,
    queue::PlaceSet,
};
use mirror_platform::dir::Dir;
use rustix::process;

use super::{
    Executor,
    process::cancel::Stop,
    source_root::SourceRoot,
    target_identity::Presence,
    trusted::{self, Refused},
};
use crate::report::Log;
use pass::Pass;
use throttle::Throttle;

pub use learned::Learned;

/// The most threads that help to copy if nothing else is said: more only wait for one disk.
const MOST_WORKERS: usize = 8;

/// When what the source does not have is deleted at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete {
    /// By the first transfer of everything.
    pub startup: bool,
    /// By the changes after it.
    pub running: bool,
}

/// What a user can say about a target of the copier.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root of the target. It is made if only its parent exists.
    pub target: PathBuf,
    /// What does not concern the mirror, on either side.
    pub filter: Arc<Filter>,
    /// When to delete.
    pub delete: Delete,
    /// Whether what was renamed is renamed at the target.
    pub moves: bool,
    /// The most deletions that are made though nobody saw what was deleted go at the source.
    pub max_delete: MaxDelete,
    /// The most deletions that are made of what somebody saw go.
    pub max_delete_seen: MaxDelete,
    /// By how much times may differ that count as the same.
    pub modify_window: Option<Duration>,
    /// Whether each file and its directory are on the disk before the job ends.
    pub durable: bool,
    /// What the user says in the words of rsync.
    pub options: DirectOptions,
    /// How many threads copy one job, the caller included; [`default_workers`] if in doubt.
    pub workers: NonZeroUsize,
}

/// The step in nanoseconds of the times that files below `target` can have. If it can't be tried, it
/// is taken as fine.
pub(super) fn step_of_times(target: &Dir) -> u64 {
    traits::Traits::of(target, false).grain.step()
}

/// As many threads as there are processors, within reason.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    const LEAST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
    let processors = thread::available_parallelism().unwrap_or(LEAST);
    NonZeroUsize::new(MOST_WORKERS).map_or(LEAST, |most| processors.clamp(LEAST, most))
}

/// Carries jobs out by copying in this process.
///
/// One job at a time: two at once on the same places would undo each other's temporary names.
#[derive(Debug)]
pub struct DirectExecutor {
    source: Arc<SourceRoot>,
    settings: Settings,
    log: Log,
    /// Whether owners, devices and all extended attributes can be expected to travel.
    privileged: bool,
    learned: Arc<Learned>,
    throttle: Option<Throttle>,
    /// The bits that new files don't get where permissions are not mirrored.
    umask: u32,
    presence: Arc<Presence>,
}

impl DirectExecutor {
    /// An executor that has touched nothing yet.
    #[must_use]
    pub fn new(source: Arc<SourceRoot>, settings: Settings, log: Log) -> Self {
        Self::with(source, settings, Arc::default(), log)
    }

    /// An executor for the same source and target as one before it, which has `learned` this.
    #[must_use]
    pub fn with(
        source: Arc<SourceRoot>,
        settings: Settings,
        learned: Arc<Learned>,
        log: Log,
    ) -> Self {
        let throttle = settings.options.bwlimit.map(Throttle::new);
        let presence = learned.presence(&settings.target, &log);
        Self {
            source,
            settings,
            log,
            privileged: process::geteuid().is_root(),
            learned,
            throttle,
            umask: umask(),
            presence,
        }
    }

    /// What it has found out about its source and its target.
    #[must_use]
    pub fn learned(&self) -> Arc<Learned> {
        Arc::clone(&self.learned)
    }

    fn open_target(&self) -> Result<Dir, Outcome> {
        let path = &self.settings.target;
        trusted::open_or_make(path).map_err(|refused| {
            let path = path_text(path);
            let why = match refused {
                Refused::System(error) if error.kind() == io::ErrorKind::NotFound => format!(
                    "{}: make the directory that it lies in, or mount what belongs there",
                    trouble::said(&error)
                ),
                Refused::System(error) => trouble::said(&error),
                planted @ Refused::Planted(_) => planted.to_string(),
            };
            Outcome::Again(Failure::new(format!("cannot open the target {path}: {why}")))
        })
    }
}

impl Executor for DirectExecutor {
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome {
        let source = match self.source.open_for(&job.work, &self.log) {
            Ok(source) => source,
            Err(outcome) => return outcome,
        };
        let before = match self.presence.look(&mut job.work) {
            Ok(before) => before,
            Err(outcome) => return outcome,
        };
        let target = match self.open_target() {
            Ok(target) => target,
            Err(outcome) => return outcome,
        };
        self.learned.probe(&target, self.privileged);
        let delete = match job.work {
            Work::Full { .. } => self.settings.delete.startup,
            Work::Batch { .. } | Work::Large { .. } => self.settings.delete.running,
        };
        let heard = Arc::clone(job.work.heard());
        let pass = Pass::new(self, (source, target), (&heard, delete), stop);
        match &job.work {
            Work::Full { .. } => places::full(&pass),
            Work::Batch { places, moves, .. } => {
                // The old name of a rename goes, and what has the new one.
                let is_free = delete && !options::is_protected(&self.settings.options);
                let moves = if self.settings.moves && is_free { moves } else { &[][..] };
                places::batch(&pass, places, moves);
            }
            Work::Large { path, .. } => places::batch(&pass, &PlaceSet::entry(path), &[]),
        }
        let all = pass.visits_all();
        let outcome = pass.into_outcome();
        if let Err(gone @ Outcome::SourceGone(_)) = self.source.open() {
            return gone;
        }
        match outcome {
            outcome @ (Outcome::Done | Outcome::Partly(_) | Outcome::Split { .. }) => {
                if let Err(outcome) = self.presence.settle(&before, all) {
                    return outcome;
                }
                if all && outcome == Outcome::Done {
                    self.presence.adopt();
                }
                outcome
            }
            outcome => outcome,
        }
    }
}

/// The mode mask of this process, which can't be asked for without being changed.
fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(USUAL)
}

/// A path of the user's own as text for people, without a slash at its end.
fn path_text(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    Escaped(bytes.strip_suffix(b"/").unwrap_or(bytes)).to_string()
}
