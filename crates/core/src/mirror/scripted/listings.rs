//! Directories of which it was asked what they hold.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{notice::Kind, path::TreePath};

/// What was heard of directories between the question and the answer.
///
/// The answer comes by a way of its own: what was heard meanwhile may be older or newer. Nothing
/// that came or went is in doubt then: if it came again, that is heard, too.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// By path, with a slash at its end: what lies below a directory follows it.
    asked: BTreeMap<Vec<u8>, Listing>,
}

#[derive(Debug, Default)]
struct Listing {
    /// How many answers are to come.
    answers: usize,
    /// Whether the directory itself came or went, so that nobody knows of which one an answer is, or
    /// something in it was missed.
    is_stale: bool,
    /// The entries that came or went.
    heard: BTreeSet<Vec<u8>>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What the directory holds. Of these entries there is newer news.
    Entries {
        /// Their names.
        but: BTreeSet<Vec<u8>>,
    },
    /// Nothing: there is another answer to come.
    Nothing,
    /// Nothing: it has to be asked again.
    AskAgain,
}

/// The key of a directory, with which those of all below it begin.
fn key(directory: &TreePath) -> Vec<u8> {
    [directory.as_bytes(), b"/"].concat()
}

impl Listings {
    /// It is asked what a directory holds.
    pub(super) fn ask(&mut self, directory: &TreePath) {
        self.asked.entry(key(directory)).or_default().answers += 1;
    }

    /// Those of which answers are to come.
    pub(super) fn directories(&self) -> impl Iterator<Item = TreePath> {
        let names = self.asked.keys().map(|key| key.strip_suffix(b"/").unwrap_or(key));
        names.filter_map(TreePath::new)
    }

    /// Whether an answer of this one is to come.
    pub(super) fn is_asked(&self, directory: &TreePath) -> bool {
        self.asked.contains_key(&key(directory))
    }

    /// An entry came or went.
    pub(super) fn hear(&mut self, path: &TreePath, kind: Kind) {
        let parent = path.parent().and_then(|parent| self.asked.get_mut(&key(&parent)));
        if let (Some(listing), Some(name)) = (parent, path.name()) {
            listing.heard.insert(name.to_vec());
        }
        if kind == Kind::Directory {
            let start = key(path);
            let below = self.asked.range_mut(start.clone()..);
            for (_, listing) in below.take_while(|(key, _)| key.starts_with(&start)) {
                listing.is_stale = true;
            }
        }
    }

    /// Something was missed in this directory: what came into it before may have changed since.
    pub(super) fn doubt(&mut self, directory: &TreePath) {
        let start = key(directory);
        for (key, listing) in &mut self.asked {
            listing.is_stale |= directory.is_root() || key.starts_with(&start);
        }
    }

    /// Whether an answer is to come that is about this entry, what it lies in or what it holds.
    pub(super) fn concern(&self, path: &TreePath) -> bool {
        let start = key(path);
        let is_below = || {
            let next = self.asked.range(start.clone()..).next();
            next.is_some_and(|(key, _)| key.starts_with(&start))
        };
        let mut above = path.clone();
        while let Some(parent) = above.parent() {
            if self.asked.contains_key(&key(&parent)) {
                return true;
            }
            above = parent;
        }
        is_below()
    }

    /// Takes in that there is an answer.
    pub(super) fn answer(&mut self, directory: &TreePath) -> Said {
        let key = key(directory);
        let Some(listing) = self.asked.get_mut(&key) else {
            return Said::Entries { but: BTreeSet::new() };
        };
        listing.answers = listing.answers.saturating_sub(1);
        match (listing.answers, listing.is_stale) {
            (0, is_stale) => {
                let listing = self.asked.remove(&key).unwrap_or_default();
                if is_stale { Said::AskAgain } else { Said::Entries { but: listing.heard } }
            }
            (_, true) => Said::Nothing,
            (_, false) => Said::Entries { but: listing.heard.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> TreePath {
        TreePath::new(path.as_bytes()).unwrap()
    }

    fn entries(but: &[&str]) -> Said {
        Said::Entries { but: but.iter().map(|name| name.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn what_is_heard_meanwhile_is_newer() {
        let mut listings = Listings::default();
        listings.hear(&at("d/before"), Kind::Other);
        listings.ask(&at("d"));
        listings.ask(&at("d"));
        for path in ["d/a", "d/a/deep", "e/b"] {
            listings.hear(&at(path), Kind::Other);
        }
        assert_eq!(listings.answer(&at("d")), entries(&["a"]));
        listings.hear(&at("d/c"), Kind::Directory);
        assert_eq!(listings.answer(&at("d")), entries(&["a", "c"]));
        assert_eq!(listings.answer(&at("d")), entries(&[]));
    }

    #[test]
    fn of_a_directory_that_came_again_the_last_answer_is_asked_for_again() {
        let mut listings = Listings::default();
        listings.ask(&at("d/e"));
        listings.ask(&at("d/e"));
        listings.ask(&at("da"));
        listings.hear(&at("d"), Kind::Directory);
        assert_eq!(listings.answer(&at("d/e")), Said::Nothing);
        assert_eq!(listings.answer(&at("d/e")), Said::AskAgain);
        listings.ask(&at("d/e"));
        assert_eq!(listings.answer(&at("d/e")), entries(&[]));
        assert_eq!(listings.answer(&at("da")), entries(&[]));
    }

    #[test]
    fn an_answer_is_about_what_lies_above_and_below() {
        let mut listings = Listings::default();
        listings.ask(&at("d/e"));
        for (path, concerns) in
            [("d", true), ("d/e", true), ("d/e/f/g", true), ("d/f", false), ("d/ea", false)]
        {
            assert_eq!(listings.concern(&at(path)), concerns, "{path}");
        }
    }
}
