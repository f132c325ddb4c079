//! The files that are too large to go with the others.

use alloc::collections::BTreeMap;

use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{PlaceSet, group::Stamp},
};

/// Files that were left out of a batch and wait to go alone, each with the oldest change that it
/// stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Large {
    files: BTreeMap<TreePath, Stamp>,
}

impl Large {
    /// Adds a file.
    pub(super) fn add(&mut self, file: TreePath, since: Stamp) {
        self.files.entry(file).and_modify(|stamp| *stamp = stamp.oldest(since)).or_insert(since);
    }

    /// Whether this place is one of the files; then it brings the news of it, too.
    pub(super) fn covers(&self, place: &Place) -> bool {
        place.scope == Scope::Entry && self.files.contains_key(&place.path)
    }

    /// Takes out one file.
    pub(super) fn take(&mut self, file: &TreePath) -> Option<Stamp> {
        self.files.remove(file)
    }

    /// Takes out what goes with these places anyway, and returns the oldest change of that.
    pub(super) fn take_within(&mut self, places: &PlaceSet) -> Option<Stamp> {
        let within = |file: &TreePath, _: &mut Stamp| places.covers(file, Scope::Entry);
        self.files.extract_if(.., within).map(|(_, stamp)| stamp).reduce(Stamp::oldest)
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The oldest change that these files stand for.
    pub(super) fn oldest(&self) -> Option<Stamp> {
        self.files.values().copied().reduce(Stamp::oldest)
    }

    /// The files, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TreePath> {
        self.files.keys()
    }
}
