//! Jobs for an executor, and their outcomes.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::{
    fs_event::MirrorId,
    path::TreePath,
    queue::{ObservedChanges, PathSet},
    time::Moment,
};

/// The id of a job, unique during the run of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One piece of work for the executor of a mirror.
#[derive(Clone, Debug)]
pub struct Job {
    /// The id in logs, metrics and status.
    pub id: JobId,
    /// The mirror whose target is worked on.
    pub mirror: MirrorId,
    /// The work to do.
    pub work: Work,
    /// The time of the oldest change that it transfers, if one is known.
    pub oldest: Option<Moment>,
}

impl Job {
    /// A job whose changes have no known age.
    #[must_use]
    pub const fn new(id: JobId, mirror: MirrorId, work: Work) -> Self {
        Self { id, mirror, work, oldest: None }
    }
}

/// Work for an executor.
#[derive(Clone, Debug)]
pub enum Work {
    /// Bring the whole target to the state of the source, when a mirror begins. Later that is a
    /// batch with the tree of the root.
    Full {
        /// The changes observed meanwhile.
        observed: Arc<ObservedChanges>,
    },
    /// Bring these paths of the target to the state of the source.
    Batch {
        /// The paths.
        paths: Arc<PathSet>,
        /// The changes observed there.
        observed: Arc<ObservedChanges>,
        /// Renames that may save transfers, oldest first. Both ends of each are among the paths, so
        /// a wrong hint can be dropped.
        renames: Arc<[Rename]>,
    },
    /// Transfer this file, which was split off a batch because of its size.
    Large {
        /// The file.
        path: TreePath,
        /// The changes observed there.
        observed: Arc<ObservedChanges>,
    },
}

impl Work {
    /// A first full transfer without observed changes.
    #[must_use]
    pub fn full() -> Self {
        Self::Full { observed: Arc::default() }
    }

    /// A batch with the tree of the root and these observed changes.
    #[must_use]
    pub fn full_batch(observed: Arc<ObservedChanges>) -> Self {
        let paths = Arc::new([DirtyPath::root_tree()].iter().collect());
        Self::Batch { paths, observed, renames: Arc::new([]) }
    }

    /// Returns true if it covers the whole tree.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Batch { paths, .. } => paths.covers(&TreePath::root(), Scope::Tree),
            Self::Large { .. } => false,
        }
    }

    /// The paths that it may change on the target.
    #[must_use]
    pub fn paths(&self) -> PathSet {
        match self {
            Self::Full { .. } => [DirtyPath::root_tree()].iter().collect(),
            Self::Batch { paths, .. } => PathSet::clone(paths),
            Self::Large { path, .. } => PathSet::entry(path),
        }
    }

    /// The changes observed at the paths of this work.
    #[must_use]
    pub const fn observed(&self) -> &Arc<ObservedChanges> {
        match self {
            Self::Full { observed }
            | Self::Batch { observed, .. }
            | Self::Large { observed, .. } => observed,
        }
    }
}

/// A rename that was observed at the source: a hint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rename {
    /// The old name.
    pub from: TreePath,
    /// The new name.
    pub to: TreePath,
}

/// The end of a job.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// The job.
    pub job: JobId,
    /// Its outcome.
    pub outcome: Outcome,
    /// True if the executor has compared the whole tree, whatever the job asked for: the target
    /// was lost or replaced.
    pub is_full: bool,
}

impl JobEnd {
    /// The end of a job that compared what it was asked to.
    #[must_use]
    pub const fn new(job: JobId, outcome: Outcome) -> Self {
        Self { job, outcome, is_full: false }
    }
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is on the target.
    Done,
    /// Everything but these paths, which are retried.
    Partial(Vec<(DirtyPath, Failure)>),
    /// Everything but the items named here.
    Split {
        /// Files that would delay the others and get a [`Work::Large`] each. Each was a path of the
        /// batch.
        large: Vec<TreePath>,
        /// The paths that failed and are retried.
        failed: Vec<(DirtyPath, Failure)>,
        /// Deletions beyond the budget. They are not retried automatically.
        held: Vec<HeldDeletions>,
    },
    /// The target is unreachable, or the result is unknown: the whole job is retried later.
    Retry(Failure),
    /// The exit code says that no retry can succeed. The consequence depends on the reason and on
    /// whether the mirror has been live.
    Fatal(Failure, FatalReason),
    /// The transfer is done, apart from the failed paths, but the user's hook has failed: the whole
    /// batch is repeated, later or on request.
    HookFailed {
        /// The failure of the hook.
        failure: Failure,
        /// The consequence.
        action: HookFailureAction,
        /// Deletions beyond the budget, as in [`Outcome::Split`].
        held: Vec<HeldDeletions>,
    },
    /// The root of the source has changed: nothing was done.
    SourceGone(Failure),
}

/// Deletions that were counted and not made, because they exceed the budget (`maxDelete`, or
/// `maxDeleteSeen` for deletions that were observed at the source) or because the source is empty.
///
/// An executor only returns them: the fleet reports them to log and status, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDeletions {
    /// The compared paths that contain, or may contain, at least one of them: the tree of the root
    /// for all of the source.
    pub paths: Vec<DirtyPath>,
    /// The number of entries of the target that would be deleted.
    pub count: u64,
    /// The number of entries on the target, if known.
    pub total: Option<u64>,
    /// The first entries that would be deleted, at most [`MAX_NAMES`](Self::MAX_NAMES).
    pub names: Vec<TreePath>,
    /// The reason why they are not made.
    pub reason: HoldReason,
}

/// Reasons to hold deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// They were not observed at the source, and exceed the budget for such deletions.
    Unobserved,
    /// They were observed at the source, and exceed the budget for such deletions.
    Observed,
    /// The source is empty, as with an unmounted disk: no budget allows any deletion then.
    EmptySource,
}

impl HeldDeletions {
    /// The most names that are kept of held deletions.
    pub const MAX_NAMES: usize = 10;

    /// Returns the budget that allows these deletions. When it changes, all that are held for the
    /// same reason are counted together: `all` are those of the mirror.
    #[must_use]
    pub fn sufficient_budget<'a>(&self, all: impl IntoIterator<Item = &'a Self>) -> u64 {
        let same = all.into_iter().filter(|it| it.reason == self.reason);
        same.map(|it| it.count).sum()
    }

    /// Returns true if [`names`](Self::names) certainly lists each of them, or a directory above.
    #[must_use]
    pub const fn lists_all(&self) -> bool {
        self.names.len() < Self::MAX_NAMES
    }
}

/// Consequence of a failed hook, the user's program that runs after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFailureAction {
    /// The batch is repeated later, and the hook called again.
    Retry,
    /// The sync is suspended until an operator resumes it.
    Hold,
}

/// Reasons to regard a failure as permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatalReason {
    /// The user's configuration says so of this exit code: `die`.
    User,
    /// The program defines this exit code so: a wrong argument, for example.
    Program,
    /// The meaning of this exit code is unknown.
    Unknown,
}

/// The failure of a job or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code of the program, if one ran and exited.
    pub code: Option<i32>,
    /// A message: a sentence without a full stop, names escaped.
    pub message: String,
}

impl Failure {
    /// A failure without an exit code.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { code: None, message: why.into() }
    }
}

/// A path whose target may differ from the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirtyPath {
    /// The path.
    pub path: TreePath,
    /// The extent of the possible difference.
    pub scope: Scope,
}

impl DirtyPath {
    /// The whole tree of a mirror.
    #[must_use]
    pub const fn root_tree() -> Self {
        Self { path: TreePath::root(), scope: Scope::Tree }
    }

    /// Returns true if it covers this path: the entry itself, or all below it.
    #[must_use]
    pub fn covers(&self, path: &TreePath) -> bool {
        self.path == *path || self.scope == Scope::Tree && self.path.contains(path)
    }
}

/// The extent of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The entry itself: its type, its content if it is a file, its attributes. Not the entries
    /// that a directory lists.
    Entry,
    /// The entry and everything below it.
    Tree,
}
