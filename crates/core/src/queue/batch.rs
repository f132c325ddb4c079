//! Batches of dirty paths, and their settlement.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    job::{DirtyPath, Rename, Work},
    path::TreePath,
    queue::{ObservedChanges, PathSet},
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
}

impl Batch {
    /// The dirty paths.
    #[must_use]
    pub const fn paths(&self) -> &Arc<PathSet> {
        &self.paths
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

    /// Returns true if it is one large file.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// The batch as work for an executor. `may_include_held`: see [`ObservedChanges`].
    #[must_use]
    pub fn work(&self, may_include_held: bool) -> Work {
        let observed = self.observed_by_job(may_include_held);
        if let Some(file) = &self.large {
            return Work::Large { path: file.clone(), observed };
        }
        Work::Batch { paths: Arc::clone(&self.paths), observed, renames: Arc::clone(&self.renames) }
    }

    /// The batch as the first full transfer of a mirror.
    #[must_use]
    pub fn full_work(&self, may_include_held: bool) -> Work {
        Work::Full { observed: self.observed_by_job(may_include_held) }
    }

    fn observed_by_job(&self, may_include_held: bool) -> Arc<ObservedChanges> {
        let mut observed = Arc::clone(&self.observed);
        if may_include_held {
            Arc::make_mut(&mut observed).may_include_held = true;
        }
        observed
    }
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
