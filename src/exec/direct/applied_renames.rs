//! Outcome of the rename hints of a job.

use std::{collections::BTreeMap, sync::OnceLock};

use mirror_core::path::TreePath;

/// Outcome of the rename hints at the target.
#[derive(Debug, Default)]
pub(super) struct AppliedRenames {
    /// Each new name, and whether the hint was applied: whether the target has there what it had
    /// under the old name.
    names: OnceLock<BTreeMap<TreePath, bool>>,
}

impl AppliedRenames {
    /// Sets the outcome of all hints of the job.
    pub(super) fn set(&self, names: BTreeMap<TreePath, bool>) {
        let _ = self.names.set(names);
    }

    /// Returns true if the entry at `path` arrived by an applied rename.
    pub(super) fn contains(&self, path: &TreePath) -> bool {
        let Some(names) = self.names.get() else { return false };
        let mut here = path.clone();
        loop {
            if let Some(is_repeated) = names.get(&here) {
                return *is_repeated;
            }
            if here.is_root() {
                return false;
            }
            here.pop();
        }
    }
}
