//! Finds the newest event that has to do with a new one, in steps in proportion to the depth of
//! its path.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    entry::{Etype, Subject},
    relation::Bond,
};
use crate::{notice::Kind, path::TreePath, queue::steps::step};

/// The place of an event in the line. One that takes the place of another has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(pub(super) u64);

impl Turn {
    /// Before all.
    pub(super) const FIRST: Self = Self(0);
    /// Behind all.
    pub(super) const END: Self = Self(u64::MAX);
}

/// What an event is to a name, as far as it matters who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Anything about a directory.
    Directory,
    /// The file went.
    Delete,
    /// Anything else about the file.
    Plain,
    /// It was moved from here.
    From,
    /// It was moved here.
    To,
}

const ALL: [Class; 5] = [Class::Directory, Class::Delete, Class::Plain, Class::From, Class::To];

/// What is known of one name.
#[derive(Debug, Default)]
struct Node {
    here: BTreeSet<(Class, Turn)>,
    /// All that is about something below.
    below: BTreeSet<Turn>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }

    fn newest(&self, class: Class, before: Turn) -> Option<Turn> {
        step();
        self.here.range((class, Turn::FIRST)..(class, before)).next_back().map(|&(_, turn)| turn)
    }
}

/// All events of a queue by what they are about.
#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: BTreeMap<TreePath, Node>,
    barriers: BTreeSet<Turn>,
    fulls: BTreeSet<Turn>,
}

impl Index {
    pub(super) fn add(&mut self, turn: Turn, subject: &Subject) {
        match subject.etype {
            Etype::Full => {
                self.fulls.insert(turn);
            }
            Etype::Init | Etype::Blanket => {
                self.barriers.insert(turn);
            }
            _ => {
                for (path, class) in ends(subject) {
                    self.node(path).here.insert((class, turn));
                    each_above(path, |above| {
                        self.node(&above).below.insert(turn);
                    });
                }
            }
        }
    }

    pub(super) fn remove(&mut self, turn: Turn, subject: &Subject) {
        self.barriers.remove(&turn);
        self.fulls.remove(&turn);
        for (path, class) in ends(subject) {
            self.strip(path, |node| node.here.remove(&(class, turn)));
            each_above(path, |above| self.strip(&above, |node| node.below.remove(&turn)));
        }
    }

    /// Whether there is an event that says that all of something is to be mirrored.
    pub(super) fn has_full(&self) -> bool {
        !self.fulls.is_empty()
    }

    fn node(&mut self, path: &TreePath) -> &mut Node {
        step();
        // Most names are there: that of a new one is worth the second look.
        if !self.nodes.contains_key(path) {
            self.nodes.insert(path.clone(), Node::default());
        }
        self.nodes.entry(path.clone()).or_default()
    }

    fn strip(&mut self, path: &TreePath, take: impl FnOnce(&mut Node) -> bool) {
        step();
        let Some(node) = self.nodes.get_mut(path) else { return };
        take(node);
        if node.is_empty() {
            self.nodes.remove(path);
        }
    }

    /// The newest event before this turn with which `new` has any relation.
    pub(super) fn newest(&self, new: &Subject, before: Turn, bond: Bond) -> Option<Turn> {
        let mut newest = self.barriers.range(..before).next_back().copied();
        for (path, class) in ends(new) {
            newest = newest.max(self.newest_at(path, (new.etype, class), before, bond));
            if new.kind == Kind::Directory {
                let node = self.nodes.get(path);
                newest =
                    newest.max(node.and_then(|it| it.below.range(..before).next_back().copied()));
            }
            each_above(path, |above| {
                let node = self.nodes.get(&above);
                newest = newest.max(node.and_then(|it| it.newest(Class::Directory, before)));
            });
        }
        newest
    }

    /// All behind this turn that are about one of exactly these names.
    pub(super) fn behind(&self, subject: &Subject, turn: Turn) -> BTreeSet<Turn> {
        let nodes = ends(subject).filter_map(|(path, _)| self.nodes.get(path));
        let turns = nodes.flat_map(|node| node.here.iter().map(|&(_, it)| it));
        turns.filter(|&it| it > turn).collect()
    }

    /// All that are about this name or something below it.
    pub(super) fn at_and_below(&self, path: &TreePath) -> BTreeSet<Turn> {
        let Some(node) = self.nodes.get(path) else { return BTreeSet::new() };
        let here = node.here.iter().map(|&(_, turn)| turn);
        here.chain(node.below.iter().copied()).collect()
    }

    /// All behind this turn by which this entry may have gone: it went itself, or something happened to
    /// a directory that holds it.
    pub(super) fn may_end(&self, path: &TreePath, turn: Turn) -> Vec<Turn> {
        let behind = |path: &TreePath, class| {
            let node = self.nodes.get(path);
            let turns = node.map(|node| node.here.range((class, turn)..=(class, Turn::END)));
            turns.into_iter().flatten().map(|&(_, it)| it).filter(move |&it| it > turn)
        };
        let here = [Class::Delete, Class::Directory].map(|class| behind(path, class));
        let mut found: Vec<_> = here.into_iter().flatten().collect();
        each_above(path, |above| found.extend(behind(&above, Class::Directory)));
        found
    }

    /// The newest of those of exactly this name.
    fn newest_at(
        &self,
        path: &TreePath,
        (etype, class): (Etype, Class),
        before: Turn,
        bond: Bond,
    ) -> Option<Turn> {
        let node = self.nodes.get(path)?;
        let classes: &[Class] = match (bond, class, etype) {
            (Bond::Tight, ..) | (Bond::Loose, Class::Directory | Class::From, _) => &ALL,
            // Two moves to one name do not know of each other.
            (Bond::Loose, Class::To, _) => {
                &[Class::Directory, Class::Delete, Class::Plain, Class::From]
            }
            (Bond::Loose, _, Etype::Create) => {
                &[Class::Directory, Class::Delete, Class::From, Class::To]
            }
            (Bond::Loose, Class::Delete | Class::Plain, _) => {
                &[Class::Directory, Class::From, Class::To]
            }
        };
        classes.iter().filter_map(|&class| node.newest(class, before)).max()
    }
}

/// The names that an event is about.
fn ends(subject: &Subject) -> impl Iterator<Item = (&TreePath, Class)> {
    let class = |there: Class| match subject.kind {
        Kind::Directory => Class::Directory,
        Kind::Other => there,
    };
    let here = match subject.etype {
        Etype::Move => Class::From,
        Etype::Delete => Class::Delete,
        _ => Class::Plain,
    };
    let to = subject.to.iter().map(move |to| (to, class(Class::To)));
    core::iter::once((&subject.path, class(here))).chain(to)
}

/// Every directory above a path, the root last.
fn each_above(path: &TreePath, mut act: impl FnMut(TreePath)) {
    let mut above = path.parent();
    while let Some(path) = above {
        step();
        above = path.parent();
        act(path);
    }
}
