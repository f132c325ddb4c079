//! Directories with a pending listing.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{fs_event::EntryKind, path::TreePath};

/// The changes in directories between the request and the arrival of a listing.
///
/// Listings arrive by another channel than events: a change in the meantime may be older or newer
/// than the listing. Entries that changed are excluded from it: if one is created again, that is
/// reported, too.
#[derive(Debug, Default)]
pub(super) struct PendingListings {
    /// By path with a slash at the end: the entries below a directory follow it.
    pending: BTreeMap<Vec<u8>, PendingListing>,
}

#[derive(Debug, Default)]
struct PendingListing {
    /// The number of outstanding listings.
    answers: usize,
    /// True if the directory itself was created or deleted, so that the listing may be of another
    /// one, or if events in it were lost.
    is_stale: bool,
    /// The entries that were created or deleted.
    changed: BTreeSet<Vec<u8>>,
}

/// The use of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListingAnswer {
    /// The entries of the directory, except those with newer events.
    Entries {
        /// The names of the exceptions.
        except: BTreeSet<Vec<u8>>,
    },
    /// None: another listing is outstanding.
    Pending,
    /// None: it has to be requested again.
    Retry,
}

/// The key of a directory, a prefix of the keys of all directories below it.
fn key(directory: &TreePath) -> Vec<u8> {
    [directory.as_bytes(), b"/"].concat()
}

impl PendingListings {
    /// Notes the request of a listing.
    pub(super) fn request(&mut self, directory: &TreePath) {
        self.pending.entry(key(directory)).or_default().answers += 1;
    }

    /// The directories with an outstanding listing.
    pub(super) fn directories(&self) -> impl Iterator<Item = TreePath> {
        let names = self.pending.keys().map(|key| key.strip_suffix(b"/").unwrap_or(key));
        names.filter_map(TreePath::new)
    }

    /// Returns true if no listing is outstanding.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns true if a listing of this directory is outstanding.
    pub(super) fn is_pending(&self, directory: &TreePath) -> bool {
        self.pending.contains_key(&key(directory))
    }

    /// Notes that an entry was created or deleted.
    pub(super) fn note_change(&mut self, path: &TreePath, kind: EntryKind) {
        let parent = path.parent().and_then(|parent| self.pending.get_mut(&key(&parent)));
        if let (Some(listing), Some(name)) = (parent, path.name()) {
            listing.changed.insert(name.to_vec());
        }
        if kind == EntryKind::Directory {
            let start = key(path);
            let below = self.pending.range_mut(start.clone()..);
            for (_, listing) in below.take_while(|(key, _)| key.starts_with(&start)) {
                listing.is_stale = true;
            }
        }
    }

    /// Returns the topmost directory above this path that only an outstanding listing would report.
    /// It counts as reported from now on. `is_ignored` tells which listings report nothing.
    pub(super) fn take_unreported(
        &mut self,
        path: &TreePath,
        is_ignored: impl Fn(&TreePath) -> bool,
    ) -> Option<TreePath> {
        let mut found = None;
        let mut next = if self.pending.is_empty() { None } else { path.parent() };
        while let Some(directory) = next {
            next = directory.parent();
            if let (Some(parent), Some(name)) = (&next, directory.name())
                && !is_ignored(parent)
                && let Some(listing) = self.pending.get(&key(parent))
                && !listing.changed.contains(name)
            {
                found = Some(directory);
            }
        }
        let parent = found.as_ref().and_then(TreePath::parent);
        if let (Some(parent), Some(name)) = (parent, found.as_ref().and_then(TreePath::name))
            && let Some(listing) = self.pending.get_mut(&key(&parent))
        {
            listing.changed.insert(name.to_vec());
        }
        found
    }

    /// Notes that events were lost in this directory: earlier entries may have changed since.
    pub(super) fn mark_stale(&mut self, directory: &TreePath) {
        let start = key(directory);
        for (key, listing) in &mut self.pending {
            listing.is_stale |= directory.is_root() || key.starts_with(&start);
        }
    }

    /// Returns true if a listing is outstanding for a directory above, at or below this path.
    pub(super) fn concerns(&self, path: &TreePath) -> bool {
        let start = key(path);
        let is_below = || {
            let next = self.pending.range(start.clone()..).next();
            next.is_some_and(|(key, _)| key.starts_with(&start))
        };
        let mut above = path.clone();
        while let Some(parent) = above.parent() {
            if self.pending.contains_key(&key(&parent)) {
                return true;
            }
            above = parent;
        }
        is_below()
    }

    /// Handles the arrival of a listing.
    pub(super) fn complete(&mut self, directory: &TreePath) -> ListingAnswer {
        let key = key(directory);
        let Some(listing) = self.pending.get_mut(&key) else {
            return ListingAnswer::Entries { except: BTreeSet::new() };
        };
        listing.answers = listing.answers.saturating_sub(1);
        match (listing.answers, listing.is_stale) {
            (0, is_stale) => {
                let listing = self.pending.remove(&key).unwrap_or_default();
                if is_stale {
                    ListingAnswer::Retry
                } else {
                    ListingAnswer::Entries { except: listing.changed }
                }
            }
            (_, true) => ListingAnswer::Pending,
            (_, false) => ListingAnswer::Entries { except: listing.changed.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> TreePath {
        TreePath::new(path.as_bytes()).unwrap()
    }

    fn entries(except: &[&str]) -> ListingAnswer {
        ListingAnswer::Entries {
            except: except.iter().map(|name| name.as_bytes().to_vec()).collect(),
        }
    }

    #[test]
    fn changes_after_the_request_override_the_listing() {
        let mut listings = PendingListings::default();
        listings.note_change(&at("d/before"), EntryKind::Other);
        listings.request(&at("d"));
        listings.request(&at("d"));
        for path in ["d/a", "d/a/deep", "e/b"] {
            listings.note_change(&at(path), EntryKind::Other);
        }
        assert_eq!(listings.complete(&at("d")), entries(&["a"]));
        listings.note_change(&at("d/c"), EntryKind::Directory);
        assert_eq!(listings.complete(&at("d")), entries(&["a", "c"]));
        assert_eq!(listings.complete(&at("d")), entries(&[]));
    }

    #[test]
    fn the_listing_of_a_recreated_directory_is_requested_again() {
        let mut listings = PendingListings::default();
        listings.request(&at("d/e"));
        listings.request(&at("d/e"));
        listings.request(&at("da"));
        listings.note_change(&at("d"), EntryKind::Directory);
        assert_eq!(listings.complete(&at("d/e")), ListingAnswer::Pending);
        assert_eq!(listings.complete(&at("d/e")), ListingAnswer::Retry);
        listings.request(&at("d/e"));
        assert_eq!(listings.complete(&at("d/e")), entries(&[]));
        assert_eq!(listings.complete(&at("da")), entries(&[]));
    }

    #[test]
    fn directories_above_an_event_are_reported_before_their_listing() {
        let mut listings = PendingListings::default();
        let path = at("d/e/f/file");
        assert_eq!(listings.take_unreported(&path, |_| false), None);
        listings.request(&at("d"));
        listings.request(&at("d/e"));
        assert_eq!(listings.take_unreported(&at("d/file"), |_| false), None);
        assert_eq!(listings.take_unreported(&path, |it| *it == at("d")), Some(at("d/e/f")));
        assert_eq!(listings.take_unreported(&path, |_| false), Some(at("d/e")));
        assert_eq!(listings.take_unreported(&path, |_| false), None);
        assert_eq!(listings.complete(&at("d")), entries(&["e"]));
        assert_eq!(listings.complete(&at("d/e")), entries(&["f"]));
    }

    #[test]
    fn a_pending_listing_concerns_paths_above_and_below() {
        let mut listings = PendingListings::default();
        listings.request(&at("d/e"));
        for (path, concerns) in
            [("d", true), ("d/e", true), ("d/e/f/g", true), ("d/f", false), ("d/ea", false)]
        {
            assert_eq!(listings.concerns(&at(path)), concerns, "{path}");
        }
    }
}
