//! Renames that were observed while paths were gathered.

use alloc::{collections::BTreeMap, sync::Arc};

use crate::job::Rename;

/// Rename hints, oldest first. The user of a hint verifies it, so a wrong or missing one costs a
/// transfer and nothing else.
///
/// They are kept as reported, because the effect of several depends on their order; see
/// [`coalesce_renames`](crate::plan::renames::coalesce_renames). A repeated hint counts at its last
/// position.
#[derive(Clone, Debug, Default)]
pub(super) struct RenameHints {
    by_age: BTreeMap<u64, Rename>,
    ages: BTreeMap<Rename, u64>,
    next: u64,
}

impl RenameHints {
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

    /// The hints, oldest first, for sharing with a job.
    pub(super) fn share(&self) -> Arc<[Rename]> {
        self.iter().cloned().collect()
    }
}
