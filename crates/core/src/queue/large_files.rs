//! Files that are too large to be transferred with others.

use alloc::collections::BTreeMap;

use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
    time::Moment,
};

/// Files that were split off a batch and wait for a job of their own, each with the time of
/// the oldest change that it stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct LargeFiles {
    files: BTreeMap<TreePath, Moment>,
}

impl LargeFiles {
    pub(super) fn add(&mut self, file: TreePath, since: Moment) {
        self.files.entry(file).and_modify(|oldest| *oldest = since.min(*oldest)).or_insert(since);
    }

    /// Returns true if this path is one of the files, whose job transfers its new changes, too.
    pub(super) fn covers(&self, dirty: &DirtyPath) -> bool {
        dirty.scope == Scope::Entry && self.files.contains_key(&dirty.path)
    }

    /// Removes one file.
    pub(super) fn take(&mut self, file: &TreePath) -> Option<Moment> {
        self.files.remove(file)
    }

    /// Removes the files that are transferred with these paths anyway, and returns the time of
    /// their oldest change.
    pub(super) fn take_within(&mut self, paths: &PathSet) -> Option<Moment> {
        let within = |file: &TreePath, _: &mut Moment| paths.covers(file, Scope::Entry);
        self.files.extract_if(.., within).map(|(_, since)| since).min()
    }

    /// The number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The time of the oldest change that these files stand for.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.files.values().copied().min()
    }

    /// The files, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TreePath> {
        self.files.keys()
    }
}
