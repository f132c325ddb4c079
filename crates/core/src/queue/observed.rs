//! Observed changes: facts that a comparison of source and target does not reveal.

use core::{mem, time::Duration};

use crate::{
    guard::AcceptedDeletions,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
    time::Moment,
};

/// The changes that the watch backend reported at some paths.
///
/// The file system does not reveal that a file was written whose size and time are unchanged, nor
/// that a missing entry was deleted by somebody and is not merely invisible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedChanges {
    /// Paths that were written, created or renamed, so equal size and time prove nothing. With
    /// [`Scope::Tree`] the same holds for everything below.
    pub written: PathSet,
    /// The new names of renamed entries. They count as written, unless the rename is repeated on
    /// the target, which then has the content that it had under the old name.
    pub renamed_to: PathSet,
    /// Names that were observed to disappear while the source was whole, each with everything that
    /// the target holds below it, whatever the scope: these deletions need not be counted.
    pub deleted: PathSet,
    /// The deleted names whose entry has another name in the source now: a rename is no deletion.
    pub renamed_from: PathSet,
    /// Paths that the startup has failed on: what the target has there may be older than the
    /// mirror.
    pub left_by_startup: PathSet,
    /// True in a job that may find deletions that were observed earlier and are held: deletions
    /// that are not observed are then made only if the budgets for both kinds allow them.
    pub may_include_held: bool,
    /// Deletions that an operator has accepted: the job may make as many, whatever the budgets are.
    pub accepted: AcceptedDeletions,
}

/// The most paths below the old name of a rename that are copied one by one to the new name. With
/// more, everything there counts as written, and deletions have to be counted.
const MAX_REBASED: usize = 1_000;

/// The changes observed in the last settled batches.
///
/// If a directory or file was renamed before its batch was executed, the job found nothing there,
/// and the rename is reported only later.
#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    /// Those of the batches from `since` on.
    observed: ObservedChanges,
    /// Those of the batches in the window before.
    previous: ObservedChanges,
    since: Moment,
}

/// The minimum time that observed changes are kept after their batch. A rename is reported much
/// sooner.
const RECENT_WINDOW: Duration = Duration::from_secs(10);

/// The most names that are kept after their batch.
const MAX_RECENT: usize = 10_000;

impl RecentChanges {
    /// Adds the changes of a batch that was settled at `now`.
    pub(super) fn add(&mut self, observed: ObservedChanges, now: Moment) {
        if self.since + RECENT_WINDOW < now {
            self.previous = mem::take(&mut self.observed);
            self.since = now;
        }
        if self.previous.len() + self.observed.len() + observed.len() > MAX_RECENT {
            *self = Self::default();
        }
        if observed.len() <= MAX_RECENT {
            self.observed.append(observed);
        }
    }

    /// See [`ObservedChanges::forget_deletions`].
    pub(super) fn forget_deletions(&mut self) {
        self.observed.forget_deletions();
        self.previous.forget_deletions();
    }

    /// The changes that concern the new name of a rename.
    pub(super) fn rebased(&self, from: &TreePath, to: &DirtyPath) -> ObservedChanges {
        let windows = [&self.previous, &self.observed];
        // The deletion of `from` itself is done, and says nothing of the entry that has the name
        // now.
        let is_deleted = windows.iter().any(|observed| observed.is_deleted(from));
        let mut rebased = ObservedChanges::default();
        for observed in windows {
            rebased.append(observed.written_rebased(from, to));
            if to.scope == Scope::Tree && !is_deleted {
                rebased.deleted.append(observed.deleted_rebased(from, to));
            }
        }
        rebased
    }
}

impl ObservedChanges {
    /// Returns true if nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let sets = [&self.written, &self.renamed_to, &self.deleted, &self.left_by_startup];
        sets.into_iter().all(PathSet::is_empty)
    }

    /// Returns true if the content of this entry may differ from that on the target although size
    /// and time are equal. `is_repeated` tells whether the rename to this name was repeated on the
    /// target.
    #[must_use]
    pub fn is_written(&self, path: &TreePath, is_repeated: impl FnOnce() -> bool) -> bool {
        self.written.covers(path, Scope::Entry)
            || self.renamed_to.covers(path, Scope::Entry) && !is_repeated()
    }

    /// Returns true if this name, or a directory above it, was observed to disappear: entries that
    /// the target has here and the source has not may be deleted without being counted.
    #[must_use]
    pub fn is_deleted(&self, path: &TreePath) -> bool {
        self.deleted.has_at_or_above(path)
    }

    /// Returns true if there is a path that the startup has failed on and where no other change was
    /// observed since.
    #[must_use]
    pub fn retries_startup(&self) -> bool {
        let sets = [&self.written, &self.renamed_to, &self.deleted];
        let is_unchanged =
            |dirty: DirtyPath| !sets.iter().any(|it| it.has_at_or_above(&dirty.path));
        self.left_by_startup.iter().any(is_unchanged)
    }

    /// Returns true if a deletion at, above or below this path was observed that is no rename.
    pub(super) fn overlaps_deletion(&self, path: &TreePath) -> bool {
        let is_rename = |path: &TreePath| self.renamed_from.has_at_or_above(path);
        self.deleted.has_at_or_above(path) && !is_rename(path)
            || self
                .deleted
                .within(path, MAX_REBASED)
                .is_none_or(|below| below.iter().any(|dirty| !is_rename(&dirty.path)))
    }

    /// Notes a write.
    pub(super) fn add_written(&mut self, dirty: &DirtyPath) {
        self.written.insert(&dirty.path, dirty.scope);
    }

    /// Notes a deletion.
    pub(super) fn add_deleted(&mut self, dirty: &DirtyPath) {
        self.deleted.insert(&dirty.path, dirty.scope);
        // A renamed entry may be deleted with it, and it is not known which; or it is another entry
        // that has the old name of a renamed one.
        let may_include_renamed = self.renamed_to.covers(&dirty.path, Scope::Entry)
            || self.renamed_to.within(&dirty.path, 0).is_none();
        if may_include_renamed || self.renamed_from.overlaps(&dirty.path, Scope::Tree) {
            self.renamed_from = PathSet::new();
        }
    }

    /// Notes that the entry of this name has another one in the source now.
    pub(super) fn add_renamed_from(&mut self, from: &DirtyPath) {
        self.deleted.insert(&from.path, from.scope);
        self.renamed_from.insert(&from.path, from.scope);
    }

    /// Notes that an entry was renamed to `to`.
    pub(super) fn add_renamed_to(&mut self, to: &DirtyPath) {
        self.renamed_to.insert(&to.path, to.scope);
    }

    /// Each path with an observed change.
    pub(crate) fn paths(&self) -> impl Iterator<Item = DirtyPath> {
        [&self.written, &self.renamed_to, &self.deleted].into_iter().flat_map(PathSet::iter)
    }

    /// The number of names.
    pub(super) const fn len(&self) -> usize {
        self.written.len() + self.renamed_to.len() + self.deleted.len() + self.renamed_from.len()
    }

    /// Replaces each name by the tree that `tree_of` has for it, if there is one.
    pub(super) fn widen(&mut self, tree_of: impl Fn(&TreePath) -> Option<TreePath>) {
        for set in
            [&mut self.written, &mut self.renamed_to, &mut self.deleted, &mut self.renamed_from]
        {
            let join = |dirty: DirtyPath| match tree_of(&dirty.path) {
                Some(path) => DirtyPath { path, scope: Scope::Tree },
                None => dirty,
            };
            *set = set.iter().map(join).collect();
        }
    }

    /// The changes observed at and below `from`, under the names that apply once `from` is called
    /// `to`: the target may repeat the rename, and then has the earlier state there.
    pub(super) fn rebased(&self, from: &TreePath, to: &DirtyPath) -> Self {
        let mut rebased = self.written_rebased(from, to);
        if to.scope == Scope::Entry {
            return rebased;
        }
        if self.is_deleted(from) {
            // The entry that has this name now is new; the old content of the target was deleted
            // before.
            rebased.add_deleted(to);
        } else {
            rebased.deleted = self.deleted_rebased(from, to);
        }
        rebased
    }

    fn written_rebased(&self, from: &TreePath, to: &DirtyPath) -> Self {
        let mut rebased = Self::default();
        if to.scope == Scope::Entry {
            if self.written.covers(from, Scope::Entry) {
                rebased.add_written(to);
            }
            return rebased;
        }
        match self.written.within(from, MAX_REBASED) {
            Some(below) => {
                let below = below.iter().filter_map(|dirty| rebase(dirty, from, to));
                rebased.written = below.collect();
            }
            None => rebased.add_written(to),
        }
        rebased
    }

    fn deleted_rebased(&self, from: &TreePath, to: &DirtyPath) -> PathSet {
        let gone = self.deleted.within(from, MAX_REBASED).unwrap_or_default();
        gone.iter().filter_map(|dirty| rebase(dirty, from, to)).collect()
    }

    /// Forgets the deletions: from now on they have to be counted.
    pub(super) fn forget_deletions(&mut self) {
        self.deleted = PathSet::new();
        self.renamed_from = PathSet::new();
    }

    /// Takes the changes in these paths. Changes with a larger scope also stay.
    pub(super) fn take_within(&mut self, paths: &PathSet) -> Self {
        let mut taken = Self {
            written: self.written.take_within(paths),
            renamed_to: self.renamed_to.take_within(paths),
            deleted: self.deleted.take_within(paths),
            renamed_from: self.renamed_from.take_within(paths),
            left_by_startup: self.left_by_startup.take_within(paths),
            ..Self::default()
        };
        taken.append(self.covering(paths));
        taken
    }

    /// The part of the changes that concerns these paths.
    pub(super) fn restrict(&self, paths: &PathSet) -> Self {
        let mut part = self.covering(paths);
        let within = |it: &DirtyPath| paths.covers(&it.path, it.scope);
        part.written.append(self.written.iter().filter(within).collect());
        part.renamed_to.append(self.renamed_to.iter().filter(within).collect());
        part.deleted.append(self.deleted.iter().filter(within).collect());
        part.renamed_from.append(self.renamed_from.iter().filter(within).collect());
        part.left_by_startup.append(self.left_by_startup.iter().filter(within).collect());
        part
    }

    /// The part of `paths` that is covered by changes with a larger scope.
    fn covering(&self, paths: &PathSet) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let of =
            |is_observed: &dyn Fn(&DirtyPath) -> bool| paths.iter().filter(is_observed).collect();
        Self {
            written: of(&|it| self.written.covers(&it.path, it.scope)),
            renamed_to: of(&|it| self.renamed_to.covers(&it.path, it.scope)),
            deleted: of(&|it| self.deleted.has_at_or_above(&it.path)),
            renamed_from: of(&|it| self.renamed_from.has_at_or_above(&it.path)),
            left_by_startup: of(&|it| self.left_by_startup.covers(&it.path, it.scope)),
            ..Self::default()
        }
    }

    /// Adds the changes of `other`.
    pub(super) fn append(&mut self, other: Self) {
        self.written.append(other.written);
        self.renamed_to.append(other.renamed_to);
        self.deleted.append(other.deleted);
        self.renamed_from.append(other.renamed_from);
        self.left_by_startup.append(other.left_by_startup);
    }

    /// The approximate memory use in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let sets = [&self.written, &self.renamed_to, &self.deleted, &self.renamed_from];
        sets.into_iter().map(PathSet::memory).sum()
    }
}

fn rebase(dirty: &DirtyPath, from: &TreePath, to: &DirtyPath) -> Option<DirtyPath> {
    Some(DirtyPath { path: dirty.path.rebase(from, &to.path)?, scope: dirty.scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirty(path: &str) -> DirtyPath {
        DirtyPath { path: TreePath::new(path.as_bytes()).unwrap(), scope: Scope::Tree }
    }

    fn written(path: &str) -> ObservedChanges {
        let mut observed = ObservedChanges::default();
        observed.add_written(&dirty(path));
        observed
    }

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    /// Returns true if a write to `a` is still known when `a` turns out to be called `b`.
    fn is_recent(recent: &RecentChanges) -> bool {
        recent.rebased(&dirty("a").path, &dirty("b")).is_written(&dirty("b").path, || false)
    }

    #[test]
    fn settled_changes_stay_known_for_ten_seconds() {
        let mut recent = RecentChanges::default();
        recent.add(written("a"), at(9_999));
        assert!(is_recent(&recent));
        recent.add(written("other"), at(10_001));
        recent.add(written("other"), at(19_999));
        assert!(is_recent(&recent));
        recent.add(written("other"), at(20_002));
        assert!(!is_recent(&recent));
        recent.add(written("a"), at(20_003));
        assert!(is_recent(&recent));
    }

    #[test]
    fn settled_changes_are_bounded() {
        let many = |count: usize| {
            let path = |n| TreePath::new(std::format!("many/{n}").as_bytes()).unwrap();
            let paths = (0..count).map(|n| DirtyPath { path: path(n), scope: Scope::Entry });
            ObservedChanges { written: paths.collect(), ..ObservedChanges::default() }
        };
        for (settled, is_kept) in [
            (&[MAX_RECENT - 1][..], true),
            (&[MAX_RECENT], false),
            (&[MAX_RECENT + 1], false),
            (&[1, MAX_RECENT - 1], false),
        ] {
            let mut recent = RecentChanges::default();
            recent.add(written("a"), at(9_000));
            // The limit includes those of the window before.
            for count in settled {
                recent.add(many(*count), at(11_000));
            }
            assert_eq!(is_recent(&recent), is_kept, "{settled:?}");
            let last = settled.last().unwrap();
            let kept = recent.observed.len();
            assert_eq!(kept, if *last > MAX_RECENT { 0 } else { *last }, "{settled:?}");
            assert!(recent.observed.len() + recent.previous.len() <= MAX_RECENT);
        }
    }

    #[test]
    fn forgotten_deletions_have_to_be_counted() {
        let mut observed = written("old/in");
        observed.add_renamed_from(&dirty("old"));
        observed.add_deleted(&dirty("gone"));
        let mut recent = RecentChanges::default();
        recent.add(observed.clone(), at(0));
        recent.add(observed.clone(), at(11_000));
        observed.forget_deletions();
        recent.forget_deletions();
        for observed in [&observed, &recent.observed, &recent.previous] {
            assert!(!observed.is_deleted(&dirty("gone").path));
            assert!(!observed.is_deleted(&dirty("old").path) && observed.renamed_from.is_empty());
            assert!(observed.is_written(&dirty("old/in").path, || false), "a write stays known");
        }
    }

    #[test]
    fn a_repeated_rename_is_no_write() {
        let mut observed = ObservedChanges::default();
        observed.add_renamed_to(&dirty("new"));
        assert!(!observed.is_written(&dirty("new").path, || true));
        assert!(observed.is_written(&dirty("new").path, || false));
    }

    #[test]
    fn each_kind_of_observed_change_counts() {
        let mut observed = ObservedChanges::default();
        assert!(observed.is_empty());
        observed.add_written(&dirty("written"));
        assert!(!observed.is_empty());
        observed.add_renamed_to(&dirty("new"));
        observed.add_deleted(&dirty("gone"));
        observed.add_renamed_from(&dirty("old"));
        assert_eq!(observed.len(), 5, "an old name is also a deleted one");
        let empty = ObservedChanges::default();
        for dirty in [dirty("written"), dirty("new"), dirty("gone")] {
            let path = dirty.path.clone();
            assert_eq!(observed.paths().filter(|it| it.path == path).count(), 1);
        }
        assert!(observed.memory() > empty.memory());
    }

    #[test]
    fn a_renamed_entry_is_not_deleted_unless_its_new_name_is() {
        for (gone, left) in [(None, true), (Some("other"), true), (Some("new/in"), false)]
            .into_iter()
            .chain([(Some("new"), false), (Some(""), false)])
        {
            let mut observed = ObservedChanges::default();
            observed.add_renamed_from(&dirty("old"));
            observed.add_renamed_to(&dirty("new"));
            if let Some(gone) = gone {
                observed.add_deleted(&dirty(gone));
            }
            assert!(observed.is_deleted(&dirty("old").path));
            assert_eq!(
                observed.renamed_from.covers(&dirty("old").path, Scope::Entry),
                left,
                "{gone:?}"
            );
        }
    }
}
