//! Tree of the watched directories by name, starting at `/`.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use mirror_platform::inotify::WatchId;

/// Marks the absence of a node.
const NONE: u32 = u32::MAX;
/// The root of the file system.
pub(super) const ROOT: u32 = 0;
/// Parent of the directories whose location is currently unknown.
pub(super) const LIMBO: u32 = 1;

/// Directories, each stored under its parent and name.
///
/// Moving a directory with everything below it is O(1), because nodes refer only to their parents.
/// A node takes about 70 bytes in total.
///
/// **Invariants.** Two children of one parent have different names, except in [`LIMBO`]. Several
/// nodes share a watch only if they are mounts of one directory.
#[derive(Debug)]
pub(super) struct DirTree {
    nodes: Vec<DirTreeNode>,
    free: u32,
    names: HashTable<u32>,
    watches: HashTable<u32>,
    hasher: DefaultHashBuilder,
    version: u64,
    detach_count: u64,
}

#[derive(Debug)]
struct DirTreeNode {
    name: SmallName,
    parent: u32,
    first_child: u32,
    next_sibling: u32,
    previous_sibling: u32,
    watch: i32,
    next_same_watch: u32,
    generation: u32,
    state: DirState,
    is_root: bool,
}

/// State of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirState {
    /// Not watched: only an ancestor of a root.
    Ancestor,
    /// To be watched and read.
    Pending,
    /// Watched and read.
    Watched,
    /// Watched, and its subdirectories were read by its name: they may be those of another
    /// directory.
    WatchedByName,
    /// Not wanted by any mirror.
    Skipped,
    /// Currently not readable.
    Unreadable,
    /// Can't be watched, and is polled.
    Polled,
    /// The file system that was mounted here was unmounted.
    Unmounted,
}

/// Reference to a node, which detects reuse of the node's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    index: u32,
    generation: u32,
}

/// Directory name, stored inline if it is short.
#[derive(Debug)]
enum SmallName {
    Short(u8, [u8; MAX_INLINE]),
    Long(Box<[u8]>),
}

/// Longest inline name; [`SmallName`] has 24 bytes with it.
const MAX_INLINE: usize = 22;

impl SmallName {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; MAX_INLINE];
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

impl DirTree {
    pub(super) fn new() -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            free: NONE,
            names: HashTable::new(),
            watches: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            version: 0,
            detach_count: 0,
        };
        tree.allocate(b"", DirState::Ancestor);
        tree.allocate(b"", DirState::Ancestor);
        tree
    }

    /// Returns a counter that changes whenever a node changes its location.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Returns a counter that changes whenever a node leaves its location.
    pub(super) const fn detach_count(&self) -> u64 {
        self.detach_count
    }

    fn node(&self, index: u32) -> &DirTreeNode {
        self.nodes.get(index as usize).expect("an index of this tree")
    }

    fn node_mut(&mut self, index: u32) -> &mut DirTreeNode {
        self.nodes.get_mut(index as usize).expect("an index of this tree")
    }

    pub(super) fn state(&self, node: u32) -> DirState {
        self.node(node).state
    }

    pub(super) fn set_state(&mut self, node: u32, state: DirState) {
        self.node_mut(node).state = state;
    }

    /// Returns true if the directory is watched and its subdirectories are known.
    pub(super) fn is_watched(&self, node: u32) -> bool {
        matches!(self.state(node), DirState::Watched | DirState::WatchedByName)
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

    /// Returns the parent; `None` for [`ROOT`] and [`LIMBO`].
    pub(super) fn parent(&self, node: u32) -> Option<u32> {
        some_index(self.node(node).parent)
    }

    pub(super) fn ticket(&self, node: u32) -> Ticket {
        Ticket { index: node, generation: self.node(node).generation }
    }

    /// Returns the node, unless it was removed.
    pub(super) fn resolve(&self, ticket: Ticket) -> Option<u32> {
        let node = self.nodes.get(ticket.index as usize)?;
        (node.generation == ticket.generation).then_some(ticket.index)
    }

    pub(super) fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = self.hash(parent, name);
        let is_match = |&index: &u32| {
            let node = self.node(index);
            node.parent == parent && node.name.bytes() == name
        };
        self.names.find(hash, is_match).copied()
    }

    /// Returns the child of that name; creates it if it does not exist.
    pub(super) fn child_or_new(&mut self, parent: u32, name: &[u8], state: DirState) -> u32 {
        self.child(parent, name).unwrap_or_else(|| {
            let node = self.allocate(name, state);
            self.attach(node, parent);
            node
        })
    }

    pub(super) fn children(&self, parent: u32) -> impl Iterator<Item = u32> {
        let mut next_sibling = self.node(parent).first_child;
        std::iter::from_fn(move || {
            let child = some_index(next_sibling)?;
            next_sibling = self.node(child).next_sibling;
            Some(child)
        })
    }

    /// Returns the node and all nodes below it, parents first.
    pub(super) fn subtree(&self, node: u32) -> Vec<u32> {
        let mut all = vec![node];
        let mut done = 0;
        while let Some(&next) = all.get(done) {
            done += 1;
            all.extend(self.children(next));
        }
        all
    }

    /// Iterates over the node itself, its parent, and so on up to [`ROOT`] or [`LIMBO`].
    pub(super) fn ancestors(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |&node| self.parent(node))
    }

    /// Returns the path of the directory without the leading slash. `None` in limbo.
    pub(super) fn path(&self, node: u32) -> Option<Vec<u8>> {
        let mut ancestors: Vec<u32> = self.ancestors(node).collect();
        if ancestors.pop() != Some(ROOT) {
            return None;
        }
        let names: Vec<&[u8]> = ancestors.iter().rev().map(|&node| self.name(node)).collect();
        Some(names.join(&b'/'))
    }

    /// Moves a directory to another location, which must be free.
    pub(super) fn relocate(&mut self, node: u32, parent: u32, name: &[u8]) {
        debug_assert!(self.child(parent, name).is_none(), "the location is taken");
        self.detach(node);
        self.node_mut(node).name = SmallName::new(name);
        self.attach(node, parent);
    }

    /// Moves a directory whose location is unknown to [`LIMBO`].
    pub(super) fn move_to_limbo(&mut self, node: u32) {
        self.detach(node);
        self.attach(node, LIMBO);
    }

    /// Removes a directory without children. Its watch must be unbound.
    pub(super) fn remove(&mut self, node: u32) {
        debug_assert!(self.children(node).next().is_none(), "it has children");
        self.detach(node);
        let free = self.free;
        let gone = self.node_mut(node);
        gone.generation = gone.generation.wrapping_add(1);
        gone.name = SmallName::new(b"");
        gone.next_sibling = free;
        self.free = node;
    }

    fn allocate(&mut self, name: &[u8], state: DirState) -> u32 {
        let mut node = DirTreeNode {
            name: SmallName::new(name),
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            previous_sibling: NONE,
            watch: -1,
            next_same_watch: NONE,
            generation: 0,
            state,
            is_root: false,
        };
        if let Some(index) = some_index(self.free) {
            let slot = self.node_mut(index);
            node.generation = slot.generation;
            let old = std::mem::replace(slot, node);
            self.free = old.next_sibling;
            return index;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("fewer directories than the kernel has watches")
    }

    fn attach(&mut self, node: u32, parent: u32) {
        let first_child = self.node(parent).first_child;
        let attached = self.node_mut(node);
        (attached.parent, attached.previous_sibling, attached.next_sibling) =
            (parent, NONE, first_child);
        if let Some(first_child) = some_index(first_child) {
            self.node_mut(first_child).previous_sibling = node;
        }
        self.node_mut(parent).first_child = node;
        self.version += 1;
        if parent != LIMBO {
            let Self { nodes, names, hasher, .. } = self;
            let hash_of = |index: u32| {
                let node = nodes.get(index as usize).expect("an index of this tree");
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
        let DirTreeNode { parent, previous_sibling, next_sibling, .. } = *self.node(node);
        match some_index(previous_sibling) {
            Some(previous_sibling) => self.node_mut(previous_sibling).next_sibling = next_sibling,
            None => self.node_mut(parent).first_child = next_sibling,
        }
        if let Some(next_sibling) = some_index(next_sibling) {
            self.node_mut(next_sibling).previous_sibling = previous_sibling;
        }
        self.version += 1;
        self.detach_count += 1;
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }
}

/// Binding of watches to nodes.
impl DirTree {
    pub(super) fn watch(&self, node: u32) -> Option<WatchId> {
        let watch = self.node(node).watch;
        (watch >= 0).then_some(WatchId(watch))
    }

    /// Returns a node with that watch; [`next_with_watch`](Self::next_with_watch) returns the
    /// others.
    pub(super) fn node_with_watch(&self, watch: WatchId) -> Option<u32> {
        let hash = self.hasher.hash_one(watch.0);
        self.watches.find(hash, |&index| self.node(index).watch == watch.0).copied()
    }

    /// Returns the next node with the same watch.
    pub(super) fn next_with_watch(&self, node: u32) -> Option<u32> {
        some_index(self.node(node).next_same_watch)
    }

    /// Lists at most `limit` watches, each with the absolute path of one of its directories,
    /// without a trailing slash. Visits no more nodes than necessary.
    pub(super) fn list(&self, limit: usize) -> Vec<(i32, Vec<u8>)> {
        let mut listed = Vec::new();
        let mut path = Vec::new();
        // A node, and the length of its parent's path.
        let mut rest = vec![(ROOT, 0)];
        while let Some((node, above)) = rest.pop().filter(|_| listed.len() < limit) {
            path.truncate(above);
            if node != ROOT {
                path.push(b'/');
                path.extend_from_slice(self.name(node));
            }
            if let Some(watch) =
                self.watch(node).filter(|&it| self.node_with_watch(it) == Some(node))
            {
                listed.push((watch.0, path.clone()));
            }
            rest.extend(self.children(node).map(|child| (child, path.len())));
        }
        listed
    }

    /// Binds a watch to a node that has none. Other nodes with this watch keep it.
    pub(super) fn bind(&mut self, node: u32, watch: WatchId) {
        debug_assert!(self.watch(node).is_none(), "it has a watch");
        self.node_mut(node).watch = watch.0;
        if let Some(other) = self.node_with_watch(watch).filter(|&other| other != node) {
            let after = self.node(other).next_same_watch;
            self.node_mut(node).next_same_watch = after;
            self.node_mut(other).next_same_watch = node;
            return;
        }
        let Self { nodes, watches, hasher, .. } = self;
        let hash_of = |index: u32| {
            let node = nodes.get(index as usize).expect("an index of this tree");
            hasher.hash_one(node.watch)
        };
        watches.insert_unique(hash_of(node), node, |&index| hash_of(index));
    }

    /// Unbinds the watch of a node. Returns the watch if no other node has it.
    pub(super) fn unbind(&mut self, node: u32) -> Option<WatchId> {
        let watch = self.watch(node)?;
        let hash = self.hasher.hash_one(watch.0);
        let other = self.node(node).next_same_watch;
        self.node_mut(node).next_same_watch = NONE;
        let head = self.node_with_watch(watch);
        self.node_mut(node).watch = -1;
        if head != Some(node) {
            let mut before = head?;
            while self.node(before).next_same_watch != node {
                before = some_index(self.node(before).next_same_watch)?;
            }
            self.node_mut(before).next_same_watch = other;
            return None;
        }
        let entry = self.watches.find_entry(hash, |&index| index == node).ok()?;
        let (_, free) = entry.remove();
        let Some(other) = some_index(other) else { return Some(watch) };
        free.insert(other);
        None
    }
}

const fn some_index(index: u32) -> Option<u32> {
    if index == NONE { None } else { Some(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_directory_keeps_its_subtree() {
        let mut tree = DirTree::new();
        let a = tree.child_or_new(ROOT, b"a", DirState::Watched);
        let b = tree.child_or_new(a, b"a name of more than twenty-two bytes", DirState::Watched);
        let c = tree.child_or_new(b, b"c", DirState::Watched);
        assert_eq!(size_of::<DirTreeNode>(), 56);
        tree.relocate(b, ROOT, b"b");
        assert_eq!(tree.path(c).unwrap(), b"b/c");
        assert_eq!(tree.child(a, b"b"), None);
        assert_eq!(tree.children(a).count(), 0);
        tree.move_to_limbo(b);
        assert_eq!(tree.path(c), None);
        assert_eq!(tree.child(b, b"c"), Some(c));
        assert_eq!(tree.subtree(LIMBO), [LIMBO, b, c]);
    }

    #[test]
    fn a_ticket_does_not_outlive_its_node() {
        let mut tree = DirTree::new();
        let a = tree.child_or_new(ROOT, b"a", DirState::Pending);
        let ticket = tree.ticket(a);
        assert_eq!(tree.resolve(ticket), Some(a));
        tree.remove(a);
        let b = tree.child_or_new(ROOT, b"b", DirState::Pending);
        assert_eq!(a, b);
        assert_eq!(tree.resolve(ticket), None);
        assert_eq!(tree.path(b).unwrap(), b"b");
    }

    #[test]
    fn several_nodes_may_share_a_watch() {
        let mut tree = DirTree::new();
        let nodes = [b"a", b"b", b"c"].map(|name| tree.child_or_new(ROOT, name, DirState::Watched));
        let watch = WatchId(7);
        for node in nodes {
            tree.bind(node, watch);
        }
        let listed = tree.list(10);
        assert!(matches!(&*listed, [(7, _)]), "{listed:?}");
        let all = |tree: &DirTree| {
            let mut all: Vec<u32> =
                std::iter::successors(tree.node_with_watch(watch), |&n| tree.next_with_watch(n))
                    .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(all(&tree), nodes);
        assert_eq!(tree.unbind(nodes[0]), None);
        assert_eq!(all(&tree), nodes[1..]);
        assert_eq!(tree.unbind(nodes[2]), None);
        assert_eq!(tree.unbind(nodes[1]), Some(watch));
        assert_eq!(tree.node_with_watch(watch), None);
    }

    #[test]
    fn watches_are_listed_with_their_directories() {
        let mut tree = DirTree::new();
        let a = tree.child_or_new(ROOT, b"a", DirState::Ancestor);
        let b = tree.child_or_new(a, b"b", DirState::Watched);
        let c = tree.child_or_new(b, b"c", DirState::Watched);
        let d = tree.child_or_new(ROOT, b"d", DirState::Watched);
        for (node, watch) in [(b, 1), (c, 2), (d, 3)] {
            tree.bind(node, WatchId(watch));
        }
        let expected: [(i32, &[u8]); 3] = [(1, b"/a/b"), (2, b"/a/b/c"), (3, b"/d")];
        let listed = tree.list(10);
        let shown: Vec<(i32, &[u8])> = listed.iter().map(|(n, path)| (*n, &**path)).collect();
        assert_eq!(shown, expected);
        assert_eq!(tree.list(2), listed[..2]);
        tree.move_to_limbo(b);
        assert_eq!(tree.list(10), listed[2..]);
    }

    #[test]
    fn many_nodes_are_added_and_removed() {
        let mut tree = DirTree::new();
        for round in 0..3_i32 {
            let names: Vec<String> = (0..1000).map(|n| format!("{round} {n}")).collect();
            for (n, name) in (0..).zip(&names) {
                let node = tree.child_or_new(ROOT, name.as_bytes(), DirState::Watched);
                tree.bind(node, WatchId(n));
            }
            for (n, name) in (0..).zip(&names) {
                let node = tree.node_with_watch(WatchId(n)).unwrap();
                assert_eq!(tree.child(ROOT, name.as_bytes()), Some(node));
                assert_eq!(tree.unbind(node), Some(WatchId(n)));
                tree.remove(node);
            }
        }
        assert_eq!((tree.nodes.len(), tree.names.len(), tree.watches.len()), (1002, 0, 0));
    }
}
