//! Deletions that nobody saw: they are counted before the first of them is made, and held if they are
//! more than the budget.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use mirror_core::{
    job::{HeldDeletions, HeldFor, Place, Scope},
    path::TreePath,
    queue::PlaceSet,
};

/// How many names that only the target has are kept. Of more it is only known that there are more:
/// then the trees are compared once more.
const MOST_NAMES: usize = 65_536;

/// How many places are told to hold deletions; with more, it is the root.
const MOST_PLACES: usize = 100;

const COUNTING: u8 = 0;
const PERMITTED: u8 = 1;
const CLOSED: u8 = 2;

/// Whether something is deleted that only the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// It stays.
    Never,
    /// It is deleted at once.
    Now,
    /// It is counted, and deleted at the end if there are not too many: those that were seen to go,
    /// or those that were not.
    Later(Witness),
    /// The end is over: another job counts it.
    TooLate,
}

/// Whether somebody saw that it went at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// The watcher did.
    Seen,
    /// Nobody did.
    Unseen,
}

/// What only the target has, and is counted before it is deleted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    stage: AtomicU8,
    found: Mutex<Found>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many entries of the target there are, those in directories included.
    pub(super) count: u64,
    /// The topmost of them, with the number of entries each.
    pub(super) names: BTreeMap<TreePath, u64>,
    /// Whether there are more of them.
    pub(super) more: bool,
}

impl Counted {
    /// What becomes of one now.
    pub(super) fn verdict(&self, witness: Witness) -> Deletion {
        match self.stage.load(Ordering::Acquire) {
            COUNTING => Deletion::Later(witness),
            PERMITTED => Deletion::Now,
            _ => Deletion::TooLate,
        }
    }

    /// Counts what is at `path`: so many entries.
    pub(super) fn add(&self, path: &TreePath, count: u64) {
        let mut found = self.found();
        if found.names.contains_key(path) {
            return;
        }
        found.count += count;
        if found.names.len() < MOST_NAMES {
            found.names.insert(path.clone(), count);
        } else {
            found.more = true;
        }
    }

    /// What was counted. From now on nothing is counted any more.
    pub(super) fn close(&self) -> Found {
        self.stage.store(CLOSED, Ordering::Release);
        std::mem::take(&mut *self.found())
    }

    /// From now on they are deleted.
    pub(super) fn permit(&self) {
        self.stage.store(PERMITTED, Ordering::Release);
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Takes out what lies in none of these places: nobody asked to look there, so what is told of it
    /// may be on its way.
    pub(super) fn split_off_others(&mut self, places: &PlaceSet) -> Vec<TreePath> {
        let others: Vec<TreePath> =
            self.names.keys().filter(|path| !places.covers(path, Scope::Entry)).cloned().collect();
        for path in &others {
            self.count -= self.names.remove(path).unwrap_or_default();
        }
        others
    }

    /// What is to be told of it when it is not deleted, by the places that were compared; `None` is
    /// all. The target held `of` entries.
    pub(super) fn held(
        self,
        places: Option<&PlaceSet>,
        of: Option<u64>,
        why: HeldFor,
    ) -> Vec<HeldDeletions> {
        let mut groups: BTreeMap<Place, HeldDeletions> = BTreeMap::new();
        let listed: u64 = self.names.values().sum();
        let tops: Vec<_> =
            self.names.into_iter().map(|(path, count)| (top(places, &path), path, count)).collect();
        let is_one = places.is_none() || self.more || {
            let mut all: Vec<_> = tops.iter().map(|(top, ..)| top).collect();
            all.dedup();
            all.len() > MOST_PLACES
        };
        for (top, path, count) in tops {
            let place = if is_one { Place::all() } else { top };
            let new =
                HeldDeletions { places: vec![place.clone()], count: 0, of, names: Vec::new(), why };
            let group = groups.entry(place).or_insert(new);
            group.count += count;
            if group.names.len() < HeldDeletions::MOST_NAMED {
                group.names.push(path);
            }
        }
        if let Some(first) = groups.values_mut().next() {
            first.count += self.count - listed;
        }
        groups.into_values().collect()
    }
}

/// The topmost place that was compared and has this path.
fn top(places: Option<&PlaceSet>, path: &TreePath) -> Place {
    let Some(places) = places else { return Place::all() };
    let mut here = TreePath::root();
    for name in path.components() {
        if places.covers(&here, Scope::Tree) || here.push(name).is_none() {
            return Place { path: here, scope: Scope::Tree };
        }
    }
    let is_tree = places.covers(&here, Scope::Tree);
    Place { path: here, scope: if is_tree { Scope::Tree } else { Scope::Entry } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn found(names: &[(&str, u64)]) -> Found {
        let unseen = Counted::default();
        for (name, count) in names {
            unseen.add(&path(name), *count);
            // Twice is once.
            unseen.add(&path(name), *count);
        }
        assert_eq!(unseen.verdict(Witness::Unseen), Deletion::Later(Witness::Unseen));
        let found = unseen.close();
        assert_eq!(unseen.verdict(Witness::Unseen), Deletion::TooLate);
        unseen.permit();
        assert_eq!(unseen.verdict(Witness::Unseen), Deletion::Now);
        found
    }

    #[test]
    fn what_is_held_is_told_by_the_places_that_were_compared() {
        let trees = ["a", "b/c"].map(|it| Place { path: path(it), scope: Scope::Tree });
        let places: PlaceSet = trees.iter().collect();
        let names = [("a/1", 3), ("a/2/x", 1), ("b/c", 5), ("d", 7)];
        let mut some = found(&names);
        assert_eq!(some.split_off_others(&places), [path("d")]);
        let held = some.held(Some(&places), Some(100), HeldFor::Budget);
        let told: Vec<_> = held
            .iter()
            .map(|it| (it.places[0].path.to_string(), it.count, it.names.len()))
            .collect();
        assert_eq!(told, [("/a".to_owned(), 4, 2), ("/b/c".to_owned(), 5, 1)]);
        let all = found(&names).held(None, None, HeldFor::Budget);
        assert_eq!((all.len(), all[0].count, all[0].places == [Place::all()]), (1, 16, true));
    }

    #[test]
    fn memory_is_bounded_and_the_number_is_right() {
        let unseen = Counted::default();
        for n in 0..MOST_NAMES + 10 {
            unseen.add(&path(&n.to_string()), 2);
        }
        let found = unseen.close();
        assert!(found.more && found.names.len() == MOST_NAMES);
        let held = found.held(None, None, HeldFor::Budget);
        assert_eq!(held[0].count, 2 * (MOST_NAMES as u64 + 10));
        assert_eq!(held[0].names.len(), HeldDeletions::MOST_NAMED);
    }
}
