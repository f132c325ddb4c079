//! Finds the newest event that is related to a new one, in a number of steps proportional to the
//! depth of its path.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    event::{Etype, EventSubject},
    relation::Coupling,
};
use crate::{fs_event::EntryKind, path::TreePath, queue::steps::step};

/// The position of an event in the queue. A replacement keeps the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition(pub(super) u64);

impl QueuePosition {
    /// Before all.
    pub(super) const FIRST: Self = Self(0);
    /// After all.
    pub(super) const END: Self = Self(u64::MAX);
}

/// The role of a name in an event, as far as it matters for blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NameRole {
    /// Any event of a directory.
    Directory,
    /// The file was deleted.
    Delete,
    /// Any other event of the file.
    Plain,
    /// The file was moved from here.
    From,
    /// The file was moved here.
    To,
}

const ALL: [NameRole; 5] =
    [NameRole::Directory, NameRole::Delete, NameRole::Plain, NameRole::From, NameRole::To];

/// The events of one name.
#[derive(Debug, Default)]
struct NameNode {
    here: BTreeSet<(NameRole, QueuePosition)>,
    /// All events of names below.
    below: BTreeSet<QueuePosition>,
}

impl NameNode {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }

    fn newest(&self, class: NameRole, before: QueuePosition) -> Option<QueuePosition> {
        step();
        self.here
            .range((class, QueuePosition::FIRST)..(class, before))
            .next_back()
            .map(|&(_, position)| position)
    }
}

/// The events of a queue by their names.
#[derive(Debug, Default)]
pub(super) struct EventIndex {
    nodes: BTreeMap<TreePath, NameNode>,
    barriers: BTreeSet<QueuePosition>,
    fulls: BTreeSet<QueuePosition>,
}

impl EventIndex {
    pub(super) fn add(&mut self, position: QueuePosition, subject: &EventSubject) {
        match subject.etype {
            Etype::Full => {
                self.fulls.insert(position);
            }
            Etype::Init | Etype::Blanket => {
                self.barriers.insert(position);
            }
            Etype::Attrib | Etype::Create | Etype::Modify | Etype::Delete | Etype::Move => {
                for (path, class) in ends(subject) {
                    self.node(path).here.insert((class, position));
                    for_each_ancestor(path, |above| {
                        self.node(&above).below.insert(position);
                    });
                }
            }
        }
    }

    pub(super) fn remove(&mut self, position: QueuePosition, subject: &EventSubject) {
        self.barriers.remove(&position);
        self.fulls.remove(&position);
        for (path, class) in ends(subject) {
            self.strip(path, |node| node.here.remove(&(class, position)));
            for_each_ancestor(path, |above| {
                self.strip(&above, |node| node.below.remove(&position));
            });
        }
    }

    /// Returns true if there is a full event.
    pub(super) fn has_full(&self) -> bool {
        !self.fulls.is_empty()
    }

    fn node(&mut self, path: &TreePath) -> &mut NameNode {
        step();
        // Most names exist: the second lookup for a new one is acceptable.
        if !self.nodes.contains_key(path) {
            self.nodes.insert(path.clone(), NameNode::default());
        }
        self.nodes.entry(path.clone()).or_default()
    }

    fn strip(&mut self, path: &TreePath, take: impl FnOnce(&mut NameNode) -> bool) {
        step();
        let Some(node) = self.nodes.get_mut(path) else { return };
        take(node);
        if node.is_empty() {
            self.nodes.remove(path);
        }
    }

    /// The newest event before this position that is related to `new`.
    pub(super) fn newest(
        &self,
        new: &EventSubject,
        before: QueuePosition,
        coupling: Coupling,
    ) -> Option<QueuePosition> {
        let mut newest = self.barriers.range(..before).next_back().copied();
        for (path, class) in ends(new) {
            let roles = blocking_roles(new.etype, class, coupling);
            newest = newest.max(self.newest_at(path, roles, before));
            if new.kind == EntryKind::Directory {
                let node = self.nodes.get(path);
                newest =
                    newest.max(node.and_then(|it| it.below.range(..before).next_back().copied()));
            }
            for_each_ancestor(path, |above| {
                let node = self.nodes.get(&above);
                newest = newest.max(node.and_then(|it| it.newest(NameRole::Directory, before)));
            });
        }
        newest
    }

    /// All events after this position with exactly one of these names.
    pub(super) fn later_at(
        &self,
        subject: &EventSubject,
        position: QueuePosition,
    ) -> BTreeSet<QueuePosition> {
        let nodes = ends(subject).filter_map(|(path, _)| self.nodes.get(path));
        let positions = nodes.flat_map(|node| node.here.iter().map(|&(_, it)| it));
        positions.filter(|&it| it > position).collect()
    }

    /// All events of this name and of names below it.
    pub(super) fn at_and_below(&self, path: &TreePath) -> BTreeSet<QueuePosition> {
        let Some(node) = self.nodes.get(path) else { return BTreeSet::new() };
        let here = node.here.iter().map(|&(_, position)| position);
        here.chain(node.below.iter().copied()).collect()
    }

    /// All events after this position by which this entry may have disappeared: those of itself and
    /// of the directories above it.
    pub(super) fn possible_removals(
        &self,
        path: &TreePath,
        position: QueuePosition,
    ) -> Vec<QueuePosition> {
        let later = |path: &TreePath, class| {
            let node = self.nodes.get(path);
            let positions =
                node.map(|node| node.here.range((class, position)..=(class, QueuePosition::END)));
            positions.into_iter().flatten().map(|&(_, it)| it).filter(move |&it| it > position)
        };
        let here = [NameRole::Delete, NameRole::Directory].map(|class| later(path, class));
        let mut found: Vec<_> = here.into_iter().flatten().collect();
        for_each_ancestor(path, |above| found.extend(later(&above, NameRole::Directory)));
        found
    }

    /// The newest event of exactly this name in one of these roles.
    fn newest_at(
        &self,
        path: &TreePath,
        roles: &[NameRole],
        before: QueuePosition,
    ) -> Option<QueuePosition> {
        let node = self.nodes.get(path)?;
        roles.iter().filter_map(|&role| node.newest(role, before)).max()
    }
}

/// Returns the roles of a name in which an older event blocks a new one that has it as `role`.
const fn blocking_roles(etype: Etype, role: NameRole, coupling: Coupling) -> &'static [NameRole] {
    match (coupling, role, etype) {
        (Coupling::Tight, ..) | (Coupling::Loose, NameRole::Directory | NameRole::From, _) => &ALL,
        // Two moves to one name are independent.
        (Coupling::Loose, NameRole::To, _) => {
            &[NameRole::Directory, NameRole::Delete, NameRole::Plain, NameRole::From]
        }
        (Coupling::Loose, _, Etype::Create) => {
            &[NameRole::Directory, NameRole::Delete, NameRole::From, NameRole::To]
        }
        (Coupling::Loose, NameRole::Delete | NameRole::Plain, _) => {
            &[NameRole::Directory, NameRole::From, NameRole::To]
        }
    }
}

/// The names of an event.
fn ends(subject: &EventSubject) -> impl Iterator<Item = (&TreePath, NameRole)> {
    let class = |there: NameRole| match subject.kind {
        EntryKind::Directory => NameRole::Directory,
        EntryKind::Other => there,
    };
    let here = match subject.etype {
        Etype::Move => NameRole::From,
        Etype::Delete => NameRole::Delete,
        Etype::Attrib
        | Etype::Create
        | Etype::Modify
        | Etype::Init
        | Etype::Blanket
        | Etype::Full => NameRole::Plain,
    };
    let to = subject.to.iter().map(move |to| (to, class(NameRole::To)));
    core::iter::once((&subject.path, class(here))).chain(to)
}

/// Calls `act` for each directory above a path, the root last.
fn for_each_ancestor(path: &TreePath, mut act: impl FnMut(TreePath)) {
    let mut above = path.parent();
    while let Some(path) = above {
        step();
        above = path.parent();
        act(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_events_leave_no_name() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let mut index = EventIndex::default();
        let events = [(Etype::Create, None), (Etype::Move, Some(path("d/e/g")))];
        let events = events.map(|(etype, to)| EventSubject {
            etype,
            path: path("d/f"),
            kind: EntryKind::Other,
            to,
        });
        for (at, subject) in (1..).zip(&events) {
            index.add(QueuePosition(at), subject);
        }
        assert_eq!(index.nodes.len(), 5, "/, /d, /d/f, /d/e and /d/e/g");
        index.remove(QueuePosition(2), &events[1]);
        assert_eq!(index.nodes.len(), 3, "/, /d and /d/f");
        index.remove(QueuePosition(1), &events[0]);
        assert!(index.nodes.is_empty());
    }
}
