//! Batches of dirty paths, and their settlement.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use crate::{
    guard::AcceptedDeletions,
    job::{DirtyPath, Rename, Scope, Work},
    path::TreePath,
    queue::{ObservedChanges, PathSet},
    time::Moment,
};

/// Dirty paths that are dispatched together and settled together.
///
/// It can't be copied, and only [`DirtySet::settle`](crate::queue::DirtySet::settle) consumes it.
/// So no batch is settled twice, and one that is forgotten is a warning of the compiler.
#[must_use = "a batch that is not settled blocks its paths for ever"]
#[derive(Debug)]
pub struct Batch {
    pub(super) number: u64,
    pub(super) paths: Arc<PathSet>,
    pub(super) observed: Arc<ObservedChanges>,
    pub(super) renames: Arc<[Rename]>,
    /// The file, if it is dispatched alone because of its size.
    pub(super) large: Option<TreePath>,
    /// The time of its oldest change.
    pub(super) oldest: Option<Moment>,
}

impl Batch {
    /// The dirty paths.
    #[must_use]
    pub const fn paths(&self) -> &Arc<PathSet> {
        &self.paths
    }

    /// Returns true if it contains the tree of the root.
    #[must_use]
    pub fn covers_root(&self) -> bool {
        self.paths.covers(&TreePath::root(), Scope::Tree)
    }

    /// The changes observed at the paths.
    #[must_use]
    pub const fn observed(&self) -> &Arc<ObservedChanges> {
        &self.observed
    }

    /// Renames that may save transfers, oldest first. Both ends of each are among the paths.
    #[must_use]
    pub const fn renames(&self) -> &Arc<[Rename]> {
        &self.renames
    }

    /// The time of its oldest change. `None` if all of it is retried after failures.
    #[must_use]
    pub const fn oldest(&self) -> Option<Moment> {
        self.oldest
    }

    /// Returns true if it is one large file.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// The batch as work for an executor.
    #[must_use]
    pub fn work(&self, held: HeldBefore) -> Work {
        let observed = self.observed_by_job(held);
        if let Some(file) = &self.large {
            return Work::Large { path: file.clone(), observed };
        }
        Work::Batch { paths: Arc::clone(&self.paths), observed, renames: Arc::clone(&self.renames) }
    }

    /// The batch as the first full transfer of a mirror.
    #[must_use]
    pub fn full_work(&self, held: HeldBefore) -> Work {
        Work::Full { observed: self.observed_by_job(held) }
    }

    fn observed_by_job(&self, held: HeldBefore) -> Arc<ObservedChanges> {
        let mut observed = Arc::clone(&self.observed);
        if held != HeldBefore::default() {
            let HeldBefore { may_include_held, accepted } = held;
            let changes = Arc::make_mut(&mut observed);
            (changes.may_include_held, changes.accepted) = (may_include_held, accepted);
        }
        observed
    }
}

/// Deletions that are held when a job begins, as far as they concern it: see [`ObservedChanges`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBefore {
    /// True if it may find deletions that were observed.
    pub may_include_held: bool,
    /// Those that an operator has accepted.
    pub accepted: AcceptedDeletions,
}

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything is on the target.
    All,
    /// Everything but these paths, which are backed off and then wait again.
    Except(Vec<DirtyPath>),
    /// Unknown: the whole batch waits again at once, with its original age. The caller decides when
    /// to retry.
    Nothing,
}

impl Settled {
    /// Returns the paths that have to be tried again, apart from those of a result that is unknown:
    /// the failed ones, and the large files that were split off.
    pub(crate) fn left(&self, large: &BTreeSet<TreePath>) -> PathSet {
        let failed = match self {
            Self::Except(failed) => failed.as_slice(),
            Self::All | Self::Nothing => &[],
        };
        let large = large.iter().map(|path| DirtyPath { path: path.clone(), scope: Scope::Entry });
        failed.iter().cloned().chain(large).collect()
    }
}
