//! Work for an executor, and how it ended.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::{
    notice::MirrorId,
    path::TreePath,
    queue::{Heard, PlaceSet},
};

/// One job of the run of the daemon. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One piece of work for the executor of a mirror.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name in logs, metrics and status.
    pub id: JobId,
    /// Whose target is worked on.
    pub mirror: MirrorId,
    /// What has to be done.
    pub work: Work,
}

/// What an executor can be asked to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// Bring the whole target to the state of the source, as a mirror begins. Later that is a
    /// batch with all of the root.
    Full {
        /// What was heard meanwhile.
        heard: Arc<Heard>,
    },
    /// Bring these places of the target to the state of the source.
    Batch {
        /// The places.
        places: Arc<PlaceSet>,
        /// What was heard of them.
        heard: Arc<Heard>,
        /// Renames that may save transfers, oldest first. Both ends of each are among the places,
        /// so a hint that turns out wrong can be dropped.
        moves: Arc<[Rename]>,
    },
    /// Bring this file, which was left out of a batch for its size.
    Large {
        /// The file.
        path: TreePath,
        /// What was heard of it.
        heard: Arc<Heard>,
    },
}

impl Work {
    /// A first full transfer, of which nothing was heard.
    #[must_use]
    pub fn full() -> Self {
        Self::Full { heard: Arc::default() }
    }

    /// A batch with all of the root, of which this was heard.
    #[must_use]
    pub fn all(heard: Arc<Heard>) -> Self {
        let places = Arc::new([Place::all()].iter().collect());
        Self::Batch { places, heard, moves: Arc::new([]) }
    }

    /// What was heard of what is to be looked at.
    #[must_use]
    pub const fn heard(&self) -> &Arc<Heard> {
        match self {
            Self::Full { heard } | Self::Batch { heard, .. } | Self::Large { heard, .. } => heard,
        }
    }
}

/// A rename that was seen at the source: a hint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rename {
    /// The name before.
    pub from: TreePath,
    /// The name now.
    pub to: TreePath,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is on the target.
    Done,
    /// All but these places, which are tried again.
    Partly(Vec<(Place, Failure)>),
    /// All but what is named here.
    Split {
        /// Files that would keep the others waiting, and are to go by a [`Work::Large`] each. Each
        /// was a place of the batch.
        large: Vec<TreePath>,
        /// The places that failed, which are tried again.
        failed: Vec<(Place, Failure)>,
        /// Unseen deletions that are more than the budget. They are not tried again by themselves.
        held: Vec<HeldDeletions>,
    },
    /// The target is away, or nothing is known: the whole job is tried again later.
    Again(Failure),
    /// Its exit code says that to try again is of no use. What follows from that depends on who
    /// says so, and on whether the mirror has been live.
    Fatal(Failure, Grounds),
    /// All of it is on the target, or all but what failed, but what the user wants done then has
    /// failed: it is all done again, at once or when somebody says so.
    HookFailed {
        /// Why it failed.
        failure: Failure,
        /// What follows from that.
        then: AfterHook,
        /// Unseen deletions that are more than the budget, as in [`Outcome::Split`].
        held: Vec<HeldDeletions>,
    },
    /// The root of the source is not what it was: nothing was done.
    SourceGone(Failure),
}

/// Deletions that were counted and not made, since they are more than the budget (`maxDelete`, or
/// `maxDeleteSeen` for those that were seen to happen at the source), or the source is empty.
///
/// An executor only returns them: the fleet has them told in the log and in the status, with the
/// remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldDeletions {
    /// The places that were compared and in which they are, or may be, one at least: the tree of the
    /// root for all of the source.
    pub places: Vec<Place>,
    /// How many entries of the target would go.
    pub count: u64,
    /// How many entries the target holds, where that is known.
    pub of: Option<u64>,
    /// The first of those that would go, at most [`MOST_NAMED`](Self::MOST_NAMED).
    pub names: Vec<TreePath>,
    /// Why they are not made.
    pub why: HeldFor,
}

/// Why deletions are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldFor {
    /// Nobody saw them happen, and they are more than the budget for such ones.
    Budget,
    /// They were seen to happen, and are more than the budget for such ones.
    Seen,
    /// The source lists nothing, as it does when its disk is not mounted: then no budget allows any.
    EmptySource,
}

impl HeldDeletions {
    /// The most names that are kept of deletions that are held.
    pub const MOST_NAMED: usize = 10;
}

/// What follows if the user's own program fails that is called when a batch is on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHook {
    /// The batch is made again later, and the program called again.
    Retry,
    /// Nothing more is done until somebody says so.
    Hold,
}

/// Why a failure is taken for one that no later try can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The user said so of this exit code: `die`.
    User,
    /// What the program means by this exit code: a wrong word on its command line, say.
    Program,
    /// Nobody knows what this exit code means.
    Unknown,
}

/// Why a job, or a part of it, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code of the program, where one ran and returned.
    pub code: Option<i32>,
    /// What happened, as a sentence without a full stop, names escaped.
    pub why: String,
}

impl Failure {
    /// A failure without an exit code.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { code: None, why: why.into() }
    }
}

/// A place to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where.
    pub path: TreePath,
    /// How much of it.
    pub scope: Scope,
}

impl Place {
    /// All of a mirror.
    #[must_use]
    pub const fn all() -> Self {
        Self { path: TreePath::root(), scope: Scope::Tree }
    }
}

/// How much of a place has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The entry itself: what it is, its content if it is a file, its attributes. Not what a
    /// directory lists.
    Entry,
    /// The entry and everything below it.
    Tree,
}
