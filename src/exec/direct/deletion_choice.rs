//! The choice between deleting an entry that only the target has, and keeping it.

use mirror_core::{fs_event::EntryKind, guard::MaxDelete, path::TreePath};

use super::{
    copy_job::CopyJob,
    deletions::{CountedDeletions, Deletion, DeletionClass},
};
use crate::exec::lookup::has_lost_new_name;

impl CopyJob<'_> {
    /// Decides on the deletion of a target entry that the source lacks.
    pub(super) fn deletion(&self, path: &TreePath, kind: EntryKind) -> Deletion {
        if !self.delete || self.protects(path, kind) || self.is_unmounted(path) {
            return Deletion::Never;
        }
        let is_renamed = self.observed.renamed_from.has_at_or_above(path);
        // A rename is no deletion.
        if is_renamed && !has_lost_new_name(&self.source, self.renames, path) {
            return Deletion::Now;
        }
        if is_renamed || self.observed.is_deleted(path) {
            return match self.executor.settings.max_delete_seen {
                MaxDelete::Unlimited => Deletion::Now,
                MaxDelete::Share(_) | MaxDelete::Count(_) => {
                    self.observed_deletions.decide(DeletionClass::Observed)
                }
            };
        }
        self.unobserved_deletions.decide(DeletionClass::Unobserved)
    }

    pub(super) const fn counted_deletions(&self, class: DeletionClass) -> &CountedDeletions {
        match class {
            DeletionClass::Observed => &self.observed_deletions,
            DeletionClass::Unobserved => &self.unobserved_deletions,
        }
    }
}
