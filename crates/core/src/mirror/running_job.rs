//! The running jobs of a mirror.

use alloc::{collections::BTreeSet, sync::Arc};

use crate::{
    job::{DirtyPath, JobId, Outcome},
    path::TreePath,
    queue::{Batch, PathSet, Settled},
};

/// A job that runs, with its batch.
#[derive(Debug)]
pub(super) struct RunningJob {
    pub(super) job: JobId,
    pub(super) batch: Batch,
    pub(super) purpose: JobPurpose,
    /// The link to the target went down while it ran: its failure proves nothing.
    pub(super) link_lost: bool,
}

impl RunningJob {
    /// The paths that it has compared: all if `is_full`.
    pub(super) fn compared_paths(&self, is_full: bool) -> Arc<PathSet> {
        if is_full {
            return Arc::new([DirtyPath::root_tree()].iter().collect());
        }
        Arc::clone(self.batch.paths())
    }

    /// Returns true if it compares everything.
    pub(super) fn is_full(&self) -> bool {
        self.purpose != JobPurpose::Obsolete && self.batch.covers_root()
    }

    /// Returns true if it did not come to its end: processes of it may live on elsewhere.
    pub(super) const fn is_lost(&self, outcome: &Outcome) -> bool {
        matches!(self.purpose, JobPurpose::Obsolete)
            || matches!(outcome, Outcome::Retry(_) | Outcome::Fatal(..) | Outcome::SourceGone(_))
    }

    /// Returns true if this outcome proves nothing about the target or its changes.
    pub(super) const fn is_inconclusive(&self, outcome: &Outcome) -> bool {
        let failed =
            matches!(outcome, Outcome::Retry(_) | Outcome::Fatal(..) | Outcome::HookFailed { .. });
        matches!(self.purpose, JobPurpose::Obsolete) || self.link_lost && failed
    }
}

/// The purpose of a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobPurpose {
    /// The first transfer: everything, or the differences from the last snapshot.
    Startup,
    /// A later full transfer.
    Full,
    /// Changes.
    Changes,
    /// None any more: the source disappeared while it ran, and a full transfer will follow.
    Obsolete,
}

impl JobPurpose {
    /// The purpose of a batch of a live mirror.
    pub(super) fn of(batch: &Batch) -> Self {
        if batch.covers_root() { Self::Full } else { Self::Changes }
    }
}

/// Translates an outcome into a settlement of the batch.
pub(crate) fn settlement(outcome: &Outcome) -> Settled {
    match outcome {
        Outcome::Done => Settled::All,
        Outcome::Partial(failed) | Outcome::Split { failed, .. } => {
            Settled::Except(failed.iter().map(|(dirty, _)| dirty.clone()).collect())
        }
        Outcome::Retry(_)
        | Outcome::Fatal(..)
        | Outcome::HookFailed { .. }
        | Outcome::SourceGone(_) => Settled::Nothing,
    }
}

/// The large files that a job split off.
pub(crate) fn large_files(outcome: &Outcome) -> BTreeSet<TreePath> {
    let Outcome::Split { large, .. } = outcome else { return BTreeSet::new() };
    large.iter().cloned().collect()
}
