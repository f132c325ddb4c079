//! What a mirror has under way.

use alloc::collections::BTreeSet;

use crate::{
    job::{JobId, Outcome, Scope},
    path::TreePath,
    queue::{Batch, Settled},
};

/// A batch that is being carried out.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: JobId,
    pub(super) batch: Batch,
    pub(super) purpose: Purpose,
    /// The way to the target was lost while it ran: if it fails, that says nothing.
    pub(super) lost_way: bool,
}

impl Flight {
    /// Whether this outcome says nothing of the target or its changes.
    pub(super) const fn was_in_vain(&self, outcome: &Outcome) -> bool {
        let failed =
            matches!(outcome, Outcome::Again(_) | Outcome::Fatal(..) | Outcome::HookFailed { .. });
        matches!(self.purpose, Purpose::Outlived) || self.lost_way && failed
    }
}

/// What a running job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first full transfer.
    Startup,
    /// Another full transfer.
    Full,
    /// Changes.
    Changes,
    /// Nothing any more: the source went while it ran, and a full transfer will follow.
    Outlived,
}

impl Purpose {
    /// That of a batch of a live mirror.
    pub(super) fn of(batch: &Batch) -> Self {
        let all = batch.places().covers(&TreePath::root(), Scope::Tree);
        if all { Self::Full } else { Self::Changes }
    }

    pub(super) const fn is_full(self) -> bool {
        matches!(self, Self::Startup | Self::Full)
    }
}

/// What an outcome means for the places of the job.
pub(crate) fn settled(outcome: &Outcome) -> Settled {
    match outcome {
        Outcome::Done => Settled::All,
        Outcome::Partly(failed) | Outcome::Split { failed, .. } => {
            Settled::Except(failed.iter().map(|(place, _)| place.clone()).collect())
        }
        Outcome::Again(_)
        | Outcome::Fatal(..)
        | Outcome::HookFailed { .. }
        | Outcome::SourceGone(_) => Settled::Nothing,
    }
}

/// The files that a job left for others.
pub(crate) fn left(outcome: &Outcome) -> BTreeSet<TreePath> {
    let Outcome::Split { large, .. } = outcome else { return BTreeSet::new() };
    large.iter().cloned().collect()
}
