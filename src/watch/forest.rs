//! The watched directories, as a tree of names below `/`.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use mirror_platform::inotify::WatchId;

/// No node.
const NONE: u32 = u32::MAX;
/// The root of the file system.
pub(super) const TOP: u32 = 0;
/// The parent of the directories whose place is not known at the moment.
pub(super) const LIMBO: u32 = 1;

/// Directories, each under its parent and its name.
///
/// A moved directory takes all that is below it along in O(1), since nodes know only their
/// parents. A node costs about 70 bytes, all told.
///
/// **Invariants.** Two children of one parent have different names, except in [`LIMBO`]. Several
/// nodes have the same watch only if their places are mounts of one directory.
#[derive(Debug)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    free: u32,
    names: HashTable<u32>,
    watches: HashTable<u32>,
    hasher: DefaultHashBuilder,
    version: u64,
    departures: u64,
}

#[derive(Debug)]
struct Node {
    name: Name,
    parent: u32,
    first: u32,
    next: u32,
    previous: u32,
    watch: i32,
    twin: u32,
    generation: u32,
    state: State,
    is_root: bool,
}

/// What is known of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Only on the way to a root.
    Way,
    /// It is to be watched and read.
    Pending,
    /// It is watched and was read.
    Watched,
    /// It is watched, and what is in it was asked by its name.
    Asked,
    /// Nobody wants it.
    Skipped,
    /// It may not be read at the moment.
    Unreadable,
    /// It can't be watched, and is polled.
    Polled,
    /// What was mounted there is not any more.
    Unmounted,
}

/// A node at a time: it is not mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    index: u32,
    generation: u32,
}

/// A name, most of them without memory of their own.
#[derive(Debug)]
enum Name {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// The longest name that is kept in place, so that [`Name`] has 24 bytes.
const SHORT: usize = 22;

impl Name {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(name);
                Self::Short(length, bytes)
            }
            _ => Self::Long(name.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl Forest {
    pub(super) fn new() -> Self {
        let mut forest = Self {
            nodes: Vec::new(),
            free: NONE,
            names: HashTable::new(),
            watches: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            version: 0,
            departures: 0,
        };
        forest.allocate(b"", State::Way);
        forest.allocate(b"", State::Way);
        forest
    }

    /// Changes whenever a node gets another place.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Changes whenever a node leaves its place.
    pub(super) const fn departures(&self) -> u64 {
        self.departures
    }

    fn node(&self, index: u32) -> &Node {
        self.nodes.get(index as usize).expect("an index that the forest gave")
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        self.nodes.get_mut(index as usize).expect("an index that the forest gave")
    }

    pub(super) fn state(&self, node: u32) -> State {
        self.node(node).state
    }

    pub(super) fn set_state(&mut self, node: u32, state: State) {
        self.node_mut(node).state = state;
    }

    /// Whether it is watched and known what is in it.
    pub(super) fn is_watched(&self, node: u32) -> bool {
        matches!(self.state(node), State::Watched | State::Asked)
    }

    pub(super) fn is_root(&self, node: u32) -> bool {
        self.node(node).is_root
    }

    pub(super) fn set_root(&mut self, node: u32, is_root: bool) {
        self.node_mut(node).is_root = is_root;
        self.version += 1;
    }

    pub(super) fn name(&self, node: u32) -> &[u8] {
        self.node(node).name.bytes()
    }

    /// The parent, `None` for [`TOP`] and [`LIMBO`].
    pub(super) fn parent(&self, node: u32) -> Option<u32> {
        some(self.node(node).parent)
    }

    pub(super) fn ticket(&self, node: u32) -> Ticket {
        Ticket { index: node, generation: self.node(node).generation }
    }

    /// The node, if it still is the same.
    pub(super) fn resolve(&self, ticket: Ticket) -> Option<u32> {
        let node = self.nodes.get(ticket.index as usize)?;
        (node.generation == ticket.generation).then_some(ticket.index)
    }

    pub(super) fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = self.hash(parent, name);
        let is_it = |&index: &u32| {
            let node = self.node(index);
            node.parent == parent && node.name.bytes() == name
        };
        self.names.find(hash, is_it).copied()
    }

    /// The child of that name, made if there is none.
    pub(super) fn child_or_new(&mut self, parent: u32, name: &[u8], state: State) -> u32 {
        self.child(parent, name).unwrap_or_else(|| {
            let node = self.allocate(name, state);
            self.attach(node, parent);
            node
        })
    }

    pub(super) fn children(&self, parent: u32) -> impl Iterator<Item = u32> {
        let mut next = self.node(parent).first;
        std::iter::from_fn(move || {
            let child = some(next)?;
            next = self.node(child).next;
            Some(child)
        })
    }

    /// The node and all that are below it, parents first.
    pub(super) fn subtree(&self, node: u32) -> Vec<u32> {
        let mut all = vec![node];
        let mut done = 0;
        while let Some(&next) = all.get(done) {
            done += 1;
            all.extend(self.children(next));
        }
        all
    }

    /// The node itself, its parent, and so on up to [`TOP`] or [`LIMBO`].
    pub(super) fn way_up(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |&node| self.parent(node))
    }

    /// Where the directory is, without the leading slash. `None` in limbo.
    pub(super) fn path(&self, node: u32) -> Option<Vec<u8>> {
        let mut way: Vec<u32> = self.way_up(node).collect();
        if way.pop() != Some(TOP) {
            return None;
        }
        let names: Vec<&[u8]> = way.iter().rev().map(|&node| self.name(node)).collect();
        Some(names.join(&b'/'))
    }

    /// Gives a directory another place. The place must be free.
    pub(super) fn relocate(&mut self, node: u32, parent: u32, name: &[u8]) {
        debug_assert!(self.child(parent, name).is_none(), "the place is taken");
        self.detach(node);
        self.node_mut(node).name = Name::new(name);
        self.attach(node, parent);
    }

    /// Takes a directory, whose place is no longer known, out.
    pub(super) fn put_aside(&mut self, node: u32) {
        self.detach(node);
        self.attach(node, LIMBO);
    }

    /// Forgets a directory without children. Its watch must be unbound.
    pub(super) fn remove(&mut self, node: u32) {
        debug_assert!(self.children(node).next().is_none(), "it has children");
        self.detach(node);
        let free = self.free;
        let gone = self.node_mut(node);
        gone.generation = gone.generation.wrapping_add(1);
        gone.name = Name::new(b"");
        gone.next = free;
        self.free = node;
    }

    fn allocate(&mut self, name: &[u8], state: State) -> u32 {
        let mut node = Node {
            name: Name::new(name),
            parent: NONE,
            first: NONE,
            next: NONE,
            previous: NONE,
            watch: -1,
            twin: NONE,
            generation: 0,
            state,
            is_root: false,
        };
        if let Some(index) = some(self.free) {
            let slot = self.node_mut(index);
            node.generation = slot.generation;
            let old = std::mem::replace(slot, node);
            self.free = old.next;
            return index;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("fewer directories than the kernel has watches")
    }

    fn attach(&mut self, node: u32, parent: u32) {
        let first = self.node(parent).first;
        let attached = self.node_mut(node);
        (attached.parent, attached.previous, attached.next) = (parent, NONE, first);
        if let Some(first) = some(first) {
            self.node_mut(first).previous = node;
        }
        self.node_mut(parent).first = node;
        self.version += 1;
        if parent != LIMBO {
            let Self { nodes, names, hasher, .. } = self;
            let hash_of = |index: u32| {
                let node = nodes.get(index as usize).expect("an index that the forest gave");
                hasher.hash_one((node.parent, node.name.bytes()))
            };
            names.insert_unique(hash_of(node), node, |&index| hash_of(index));
        }
    }

    fn detach(&mut self, node: u32) {
        let hash = self.hash(self.node(node).parent, self.name(node));
        if let Ok(entry) = self.names.find_entry(hash, |&index| index == node) {
            entry.remove();
        }
        let Node { parent, previous, next, .. } = *self.node(node);
        match some(previous) {
            Some(previous) => self.node_mut(previous).next = next,
            None => self.node_mut(parent).first = next,
        }
        if let Some(next) = some(next) {
            self.node_mut(next).previous = previous;
        }
        self.version += 1;
        self.departures += 1;
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }
}

/// The watches of the nodes.
impl Forest {
    pub(super) fn watch(&self, node: u32) -> Option<WatchId> {
        let watch = self.node(node).watch;
        (watch >= 0).then_some(WatchId(watch))
    }

    /// A node with that watch; the others are its twins.
    pub(super) fn watched_by(&self, watch: WatchId) -> Option<u32> {
        let hash = self.hasher.hash_one(watch.0);
        self.watches.find(hash, |&index| self.node(index).watch == watch.0).copied()
    }

    /// The next node with the same watch.
    pub(super) fn twin(&self, node: u32) -> Option<u32> {
        some(self.node(node).twin)
    }

    /// At most `most` watches, each with the absolute path of a directory that has it, without a
    /// slash at the end. It looks at no more nodes than it has to.
    pub(super) fn list(&self, most: usize) -> Vec<(i32, Vec<u8>)> {
        let mut listed = Vec::new();
        let mut path = Vec::new();
        // A node, and the length of the path of its parent.
        let mut rest = vec![(TOP, 0)];
        while let Some((node, above)) = rest.pop().filter(|_| listed.len() < most) {
            path.truncate(above);
            if node != TOP {
                path.push(b'/');
                path.extend_from_slice(self.name(node));
            }
            if let Some(watch) = self.watch(node).filter(|&it| self.watched_by(it) == Some(node)) {
                listed.push((watch.0, path.clone()));
            }
            rest.extend(self.children(node).map(|child| (child, path.len())));
        }
        listed
    }

    /// Binds a node that has no watch to one. Others that have it stay bound to it.
    pub(super) fn bind(&mut self, node: u32, watch: WatchId) {
        debug_assert!(self.watch(node).is_none(), "it has a watch");
        self.node_mut(node).watch = watch.0;
        if let Some(twin) = self.watched_by(watch).filter(|&twin| twin != node) {
            let after = self.node(twin).twin;
            self.node_mut(node).twin = after;
            self.node_mut(twin).twin = node;
            return;
        }
        let Self { nodes, watches, hasher, .. } = self;
        let hash_of = |index: u32| {
            let node = nodes.get(index as usize).expect("an index that the forest gave");
            hasher.hash_one(node.watch)
        };
        watches.insert_unique(hash_of(node), node, |&index| hash_of(index));
    }

    /// Takes its watch from a node. Returns the watch if no other node has it.
    pub(super) fn unbind(&mut self, node: u32) -> Option<WatchId> {
        let watch = self.watch(node)?;
        let hash = self.hasher.hash_one(watch.0);
        let twin = self.node(node).twin;
        self.node_mut(node).twin = NONE;
        let head = self.watched_by(watch);
        self.node_mut(node).watch = -1;
        if head != Some(node) {
            let mut before = head?;
            while self.node(before).twin != node {
                before = some(self.node(before).twin)?;
            }
            self.node_mut(before).twin = twin;
            return None;
        }
        let entry = self.watches.find_entry(hash, |&index| index == node).ok()?;
        let (_, free) = entry.remove();
        let Some(twin) = some(twin) else { return Some(watch) };
        free.insert(twin);
        None
    }
}

const fn some(index: u32) -> Option<u32> {
    if index == NONE { None } else { Some(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_directory_takes_along_what_is_below_it() {
        let mut forest = Forest::new();
        let a = forest.child_or_new(TOP, b"a", State::Watched);
        let b = forest.child_or_new(a, b"a name of more than twenty-two bytes", State::Watched);
        let c = forest.child_or_new(b, b"c", State::Watched);
        assert_eq!(size_of::<Node>(), 56);
        forest.relocate(b, TOP, b"b");
        assert_eq!(forest.path(c).unwrap(), b"b/c");
        assert_eq!(forest.child(a, b"b"), None);
        assert_eq!(forest.children(a).count(), 0);
        forest.put_aside(b);
        assert_eq!(forest.path(c), None);
        assert_eq!(forest.child(b, b"c"), Some(c));
        assert_eq!(forest.subtree(LIMBO), [LIMBO, b, c]);
    }

    #[test]
    fn a_ticket_does_not_outlive_its_node() {
        let mut forest = Forest::new();
        let a = forest.child_or_new(TOP, b"a", State::Pending);
        let ticket = forest.ticket(a);
        assert_eq!(forest.resolve(ticket), Some(a));
        forest.remove(a);
        let b = forest.child_or_new(TOP, b"b", State::Pending);
        assert_eq!(a, b);
        assert_eq!(forest.resolve(ticket), None);
        assert_eq!(forest.path(b).unwrap(), b"b");
    }

    #[test]
    fn one_watch_may_serve_several_places() {
        let mut forest = Forest::new();
        let nodes = [b"a", b"b", b"c"].map(|name| forest.child_or_new(TOP, name, State::Watched));
        let watch = WatchId(7);
        for node in nodes {
            forest.bind(node, watch);
        }
        let listed = forest.list(10);
        assert!(matches!(&*listed, [(7, _)]), "{listed:?}");
        let all = |forest: &Forest| {
            let mut all: Vec<u32> =
                std::iter::successors(forest.watched_by(watch), |&n| forest.twin(n)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(all(&forest), nodes);
        assert_eq!(forest.unbind(nodes[0]), None);
        assert_eq!(all(&forest), nodes[1..]);
        assert_eq!(forest.unbind(nodes[2]), None);
        assert_eq!(forest.unbind(nodes[1]), Some(watch));
        assert_eq!(forest.watched_by(watch), None);
    }

    #[test]
    fn watches_are_listed_with_their_directories() {
        let mut forest = Forest::new();
        let a = forest.child_or_new(TOP, b"a", State::Way);
        let b = forest.child_or_new(a, b"b", State::Watched);
        let c = forest.child_or_new(b, b"c", State::Watched);
        let d = forest.child_or_new(TOP, b"d", State::Watched);
        for (node, watch) in [(b, 1), (c, 2), (d, 3)] {
            forest.bind(node, WatchId(watch));
        }
        let expected: [(i32, &[u8]); 3] = [(1, b"/a/b"), (2, b"/a/b/c"), (3, b"/d")];
        let listed = forest.list(10);
        let shown: Vec<(i32, &[u8])> = listed.iter().map(|(n, path)| (*n, &**path)).collect();
        assert_eq!(shown, expected);
        assert_eq!(forest.list(2), listed[..2]);
        forest.put_aside(b);
        assert_eq!(forest.list(10), listed[2..]);
    }

    #[test]
    fn many_nodes_come_and_go() {
        let mut forest = Forest::new();
        for round in 0..3_i32 {
            let names: Vec<String> = (0..1000).map(|n| format!("{round} {n}")).collect();
            for (n, name) in (0..).zip(&names) {
                let node = forest.child_or_new(TOP, name.as_bytes(), State::Watched);
                forest.bind(node, WatchId(n));
            }
            for (n, name) in (0..).zip(&names) {
                let node = forest.watched_by(WatchId(n)).unwrap();
                assert_eq!(forest.child(TOP, name.as_bytes()), Some(node));
                assert_eq!(forest.unbind(node), Some(WatchId(n)));
                forest.remove(node);
            }
        }
        assert_eq!((forest.nodes.len(), forest.names.len(), forest.watches.len()), (1002, 0, 0));
    }
}
