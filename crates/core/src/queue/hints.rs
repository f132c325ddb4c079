//! The renames that were seen while places gathered.

use alloc::{collections::BTreeMap, sync::Arc};

use crate::job::Rename;

/// Renames, oldest first, as hints: whoever uses one checks it, so a wrong or a missing one costs
/// a transfer and nothing else.
///
/// They are kept as they were seen, since what several of them come to depends on their order; see
/// [`joined`](crate::plan::moves::joined). One that is seen again counts where it was seen last.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    by_age: BTreeMap<u64, Rename>,
    ages: BTreeMap<Rename, u64>,
    next: u64,
}

impl Hints {
    /// Adds a rename, unless there are `limit` hints already.
    pub(super) fn add(&mut self, hint: Rename, limit: usize) {
        if let Some(age) = self.ages.remove(&hint) {
            self.by_age.remove(&age);
        }
        if hint.from != hint.to && self.by_age.len() < limit {
            self.ages.insert(hint.clone(), self.next);
            self.by_age.insert(self.next, hint);
            self.next += 1;
        }
    }

    /// The hints, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rename> {
        self.by_age.values()
    }

    /// The hints, oldest first, to be shared with a job.
    pub(super) fn share(&self) -> Arc<[Rename]> {
        self.iter().cloned().collect()
    }
}
