//! The renames that were seen while places gathered.

use alloc::{collections::BTreeMap, sync::Arc};

use crate::{job::Rename, path::TreePath};

/// Renames, oldest first, as hints: whoever uses one checks it, so a wrong or a missing one costs
/// a transfer and nothing else.
///
/// Chains are folded, so that each leads from a name that the target may have to one that the
/// source may have: `a -> b` and `b -> c` become `a -> c`. One of two that lead to the same name is
/// outdated, and it is the older.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    by_age: BTreeMap<u64, Rename>,
    by_goal: BTreeMap<TreePath, u64>,
    next: u64,
}

impl Hints {
    /// Adds a rename, unless there are `limit` hints already.
    pub(super) fn add(&mut self, hint: Rename, limit: usize) {
        let Rename { from, to } = hint;
        let from = self.remove(&from).map_or(from, |earlier| earlier.from);
        self.remove(&to);
        if from != to && self.by_age.len() < limit {
            self.by_goal.insert(to.clone(), self.next);
            self.by_age.insert(self.next, Rename { from, to });
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

    fn remove(&mut self, to: &TreePath) -> Option<Rename> {
        let age = self.by_goal.remove(to)?;
        self.by_age.remove(&age)
    }
}
