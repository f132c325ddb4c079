//! What was heard of places, beyond what the disk shows when they are looked at.

use core::time::Duration;

use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::PlaceSet,
    time::Moment,
};

/// What the watcher told of places.
///
/// The disk tells what is there, but not that a file was written whose size and time are as before,
/// nor that what is missing was removed by somebody and is not only out of sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Somebody wrote, created or moved something here, so equal size and time prove nothing.
    /// [`Scope::Tree`]: the same for everything below.
    pub written: PlaceSet,
    /// The new names of what was renamed. They count as written, unless the rename is repeated on
    /// the target, which then has the content that it had under the old name.
    pub moved: PlaceSet,
    /// Names that were seen to go while the source was whole, and with each of them everything that
    /// the target holds below it, whatever the scope: these deletions need not be counted.
    pub gone: PlaceSet,
    /// Those of them whose entry has another name in the source now: a rename is no deletion.
    pub left: PlaceSet,
}

/// The most places below the old name of a rename that are noted one by one under the new one. With
/// more, all counts as written there, and what went has to be counted.
const MOST_REBASED: usize = 1_000;

/// What was heard of the batches that were settled last.
///
/// Where a directory or a file got another name before its batch was carried out, nothing was found
/// there, and the rename is heard only later.
#[derive(Debug, Default)]
pub(super) struct Recent {
    heard: Heard,
    since: Moment,
}

/// How long what was heard is known after its batch at least. A rename is heard much sooner.
const RECENT: Duration = Duration::from_secs(10);

/// The most names that are kept after their batch.
const MOST_RECENT: usize = 10_000;

impl Recent {
    /// Adds what was heard of a batch that was settled at `now`.
    pub(super) fn add(&mut self, heard: Heard, now: Moment) {
        let is_old = self.since + RECENT < now;
        if is_old || self.heard.len() + heard.len() > MOST_RECENT {
            *self = Self { heard: Heard::default(), since: now };
        }
        if heard.len() <= MOST_RECENT {
            self.heard.append(heard);
        }
    }

    /// See [`Heard::forget_deletions`].
    pub(super) fn forget_deletions(&mut self) {
        self.heard.forget_deletions();
    }

    /// What of this concerns the new name of a rename.
    pub(super) fn rebased(&self, from: &TreePath, to: &Place) -> Heard {
        let mut rebased = self.heard.written_rebased(from, to);
        // That `from` itself went is done, and says nothing of what has that name now.
        if to.scope == Scope::Tree && !self.heard.is_gone(from) {
            rebased.gone = self.heard.gone_rebased(from, to);
        }
        rebased
    }
}

impl Heard {
    /// Returns true if nothing was heard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.moved.is_empty() && self.gone.is_empty()
    }

    /// Returns true if the content of this entry may differ from that on the target though size
    /// and time are equal. `is_repeated` tells whether the target has it by a rename, as the source.
    #[must_use]
    pub fn is_written(&self, path: &TreePath, is_repeated: impl FnOnce() -> bool) -> bool {
        self.written.covers(path, Scope::Entry)
            || self.moved.covers(path, Scope::Entry) && !is_repeated()
    }

    /// Returns true if this name, or a directory above it, was seen to go: what the target holds
    /// here and the source does not may be deleted without being counted.
    #[must_use]
    pub fn is_gone(&self, path: &TreePath) -> bool {
        self.gone.covers_or_leads_to(path)
    }

    /// Notes that something was written here.
    pub(super) fn write(&mut self, place: &Place) {
        self.written.insert(&place.path, place.scope);
    }

    /// Notes that this name was seen to go.
    pub(super) fn go(&mut self, place: &Place) {
        self.gone.insert(&place.path, place.scope);
        // What had another name before may go with it, and it is not known which.
        let has_come = self.moved.covers(&place.path, Scope::Entry)
            || self.moved.within(&place.path, 0).is_none();
        if has_come {
            self.left = PlaceSet::new();
        }
    }

    /// Notes that what had this name has another one in the source.
    pub(super) fn leave(&mut self, from: &Place) {
        self.gone.insert(&from.path, from.scope);
        self.left.insert(&from.path, from.scope);
    }

    /// Notes that something got the name `to`.
    pub(super) fn come(&mut self, to: &Place) {
        self.moved.insert(&to.path, to.scope);
    }

    /// Each place of which something was heard.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        [&self.written, &self.moved, &self.gone].into_iter().flat_map(PlaceSet::iter)
    }

    /// How many names are kept.
    pub(super) const fn len(&self) -> usize {
        self.written.len() + self.moved.len() + self.gone.len() + self.left.len()
    }

    /// Replaces each name by the tree that `tree_of` has for it, if there is one.
    pub(super) fn join(&mut self, tree_of: impl Fn(&TreePath) -> Option<TreePath>) {
        for set in [&mut self.written, &mut self.moved, &mut self.gone, &mut self.left] {
            let join = |place: Place| match tree_of(&place.path) {
                Some(path) => Place { path, scope: Scope::Tree },
                None => place,
            };
            *set = set.iter().map(join).collect();
        }
    }

    /// What was heard at and below `from`, by the names that it has once that is called `to`: the
    /// target may repeat the rename, and then has there what it had before that.
    pub(super) fn rebased(&self, from: &TreePath, to: &Place) -> Self {
        let mut rebased = self.written_rebased(from, to);
        if to.scope == Scope::Entry {
            return rebased;
        }
        if self.is_gone(from) {
            // What has this name now is new, and what the target has under it went before that.
            rebased.go(to);
        } else {
            rebased.gone = self.gone_rebased(from, to);
        }
        rebased
    }

    fn written_rebased(&self, from: &TreePath, to: &Place) -> Self {
        let mut rebased = Self::default();
        if to.scope == Scope::Entry {
            if self.written.covers(from, Scope::Entry) {
                rebased.write(to);
            }
            return rebased;
        }
        match self.written.within(from, MOST_REBASED) {
            Some(below) => {
                let below = below.iter().filter_map(|place| rebase(place, from, to));
                rebased.written = below.collect();
            }
            None => rebased.write(to),
        }
        rebased
    }

    fn gone_rebased(&self, from: &TreePath, to: &Place) -> PlaceSet {
        let gone = self.gone.within(from, MOST_REBASED).unwrap_or_default();
        gone.iter().filter_map(|place| rebase(place, from, to)).collect()
    }

    /// Forgets which names were seen to go: from now on they have to be counted.
    pub(super) fn forget_deletions(&mut self) {
        self.gone = PlaceSet::new();
        self.left = PlaceSet::new();
    }

    /// Takes out what was heard in these places. What was heard of more than them stays as well.
    pub(super) fn take_within(&mut self, places: &PlaceSet) -> Self {
        let mut taken = Self {
            written: self.written.take_within(places),
            moved: self.moved.take_within(places),
            gone: self.gone.take_within(places),
            left: self.left.take_within(places),
        };
        taken.append(self.around(places));
        taken
    }

    /// What of this concerns these places.
    pub(super) fn restricted(&self, places: &PlaceSet) -> Self {
        let mut part = self.around(places);
        let within = |it: &Place| places.covers(&it.path, it.scope);
        part.written.append(self.written.iter().filter(within).collect());
        part.moved.append(self.moved.iter().filter(within).collect());
        part.gone.append(self.gone.iter().filter(within).collect());
        part.left.append(self.left.iter().filter(within).collect());
        part
    }

    /// Of which of these places something was heard because it was of more than them.
    fn around(&self, places: &PlaceSet) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let of = |is_heard: &dyn Fn(&Place) -> bool| places.iter().filter(is_heard).collect();
        Self {
            written: of(&|it| self.written.covers(&it.path, it.scope)),
            moved: of(&|it| self.moved.covers(&it.path, it.scope)),
            gone: of(&|it| self.gone.covers_or_leads_to(&it.path)),
            left: of(&|it| self.left.covers_or_leads_to(&it.path)),
        }
    }

    /// Adds all that was heard otherwise.
    pub(super) fn append(&mut self, other: Self) {
        self.written.append(other.written);
        self.moved.append(other.moved);
        self.gone.append(other.gone);
        self.left.append(other.left);
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        let sets = [&self.written, &self.moved, &self.gone, &self.left];
        sets.into_iter().map(PlaceSet::memory).sum()
    }
}

fn rebase(place: &Place, from: &TreePath, to: &Place) -> Option<Place> {
    Some(Place { path: place.path.rebase(from, &to.path)?, scope: place.scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { path: TreePath::new(path.as_bytes()).unwrap(), scope: Scope::Tree }
    }

    #[test]
    fn what_has_another_name_is_not_deleted_unless_it_goes_under_that() {
        for (gone, left) in [(None, true), (Some("other"), true), (Some("new/in"), false)]
            .into_iter()
            .chain([(Some("new"), false), (Some(""), false)])
        {
            let mut heard = Heard::default();
            heard.leave(&place("old"));
            heard.come(&place("new"));
            if let Some(gone) = gone {
                heard.go(&place(gone));
            }
            assert!(heard.is_gone(&place("old").path));
            assert_eq!(heard.left.covers(&place("old").path, Scope::Entry), left, "{gone:?}");
        }
    }
}
