//! A set of paths, as a tree of names in one arena.
//!
//! All nodes are in one vector and are found by (directory, name) in one hash table. So a path
//! costs the same in a full directory as in an empty one. Nothing here recurses: a path may have
//! many thousand components.

mod iter;
mod two_sets;

use alloc::{boxed::Box, vec, vec::Vec};
use core::{fmt, hash::BuildHasher as _, mem};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::steps::step,
};

pub use iter::PathSetIter;

/// A set of paths with scopes.
///
/// Insertion and lookup cost O(depth of the path). Paths that are covered by a new one are dropped,
/// at a cost that the earlier insertions have paid for.
///
/// **Invariants.** A path with [`Scope::Tree`] has no path below it: it covers them. Every node
/// without a scope has children, except for the root.
#[derive(Clone)]
pub struct PathSet {
    /// The root first; those in `free` are not in use.
    nodes: Vec<PathNode>,
    /// Every node in use except for the root, by its directory and name.
    names: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// The first node of the free list, which is chained by `sibling`.
    free: NodeId,
    /// The number of nodes with a scope.
    len: usize,
    /// The total length of all names in bytes.
    name_bytes: usize,
}

/// A node of a [`PathSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeId(u32);

impl NodeId {
    /// The root. It is nobody's child or sibling, so in these fields it means "none".
    const ROOT: Self = Self(0);
}

#[derive(Clone, Default)]
struct PathNode {
    name: Box<[u8]>,
    directory: NodeId,
    child: NodeId,
    sibling: NodeId,
    /// The number of children with a scope.
    marked_children: u32,
    scope: Option<Scope>,
}

impl Default for NodeId {
    fn default() -> Self {
        Self::ROOT
    }
}

/// The result of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The path was covered already.
    Covered,
    /// The path is in the set now.
    Added {
        /// The number of paths directly in its directory, including itself.
        siblings: usize,
    },
}

impl PathSet {
    /// Below this number of nodes it is not worthwhile to release memory.
    const SMALL: usize = 1024;

    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: vec![PathNode::default()],
            names: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            free: NodeId::ROOT,
            len: 0,
            name_bytes: 0,
        }
    }

    /// A set of one entry.
    #[must_use]
    pub fn entry(path: &TreePath) -> Self {
        let mut set = Self::new();
        set.insert(path, Scope::Entry);
        set
    }

    /// Adds a path, and drops those that it covers.
    pub fn insert(&mut self, path: &TreePath, scope: Scope) -> Inserted {
        let mut at = NodeId::ROOT;
        for name in path.components() {
            if self.scope(at) == Some(Scope::Tree) {
                return Inserted::Covered;
            }
            at = self.child(at, name).unwrap_or_else(|| self.add_child(at, name));
        }
        if self.scope(at) >= Some(scope) {
            return Inserted::Covered;
        }
        self.set_scope(at, scope);
        let siblings = self.marked_children(self.node(at).directory);
        self.compact();
        Inserted::Added { siblings }
    }

    /// The number of paths.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the set is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The paths: a directory before its entries, siblings in the order of their bytes.
    #[must_use]
    pub fn iter(&self) -> PathSetIter<'_> {
        PathSetIter::new(self)
    }

    /// Returns true if the set contains this path with at least this scope, or a tree that includes
    /// it.
    #[must_use]
    pub fn covers(&self, path: &TreePath, scope: Scope) -> bool {
        match self.find(path) {
            Lookup::Within => true,
            Lookup::At(node) => self.scope(node) >= Some(scope),
            Lookup::Nothing => false,
        }
    }

    /// Returns true if the set contains this path or one above it, with any scope.
    #[must_use]
    pub fn has_at_or_above(&self, path: &TreePath) -> bool {
        self.nodes_on_path(path).any(|node| self.scope(node).is_some())
    }

    /// The path with [`Scope::Tree`] at or above this one.
    pub(super) fn tree_of(&self, path: &TreePath) -> Option<TreePath> {
        let depth =
            self.nodes_on_path(path).position(|node| self.scope(node) == Some(Scope::Tree))?;
        let mut top = TreePath::root();
        path.components().take(depth).try_for_each(|name| top.push(name))?;
        Some(top)
    }

    /// The paths at and below `top`; the tree of `top` if it is in a tree of the set. `None` if
    /// there are more than `most`.
    pub(super) fn within(&self, top: &TreePath, most: usize) -> Option<Vec<DirtyPath>> {
        let at = match self.find(top) {
            Lookup::Within => {
                return Some(vec![DirtyPath { path: top.clone(), scope: Scope::Tree }]);
            }
            Lookup::Nothing => return Some(Vec::new()),
            Lookup::At(at) => at,
        };
        let mut paths = Vec::new();
        let mut stack = vec![(top.clone(), at)];
        while let Some((path, node)) = stack.pop() {
            step();
            let below = self.children(node).filter_map(|it| Some((path.join(self.name(it))?, it)));
            stack.extend(below);
            paths.extend(self.scope(node).map(|scope| DirtyPath { path, scope }));
            if paths.len() > most {
                return None;
            }
        }
        Some(paths)
    }

    /// Returns true if work on this path could touch a path of the set: it is one of them, or one
    /// of the two is a tree that includes the other.
    #[must_use]
    pub fn overlaps(&self, path: &TreePath, scope: Scope) -> bool {
        match self.find(path) {
            Lookup::Within => true,
            Lookup::At(node) => {
                self.scope(node).is_some() || (scope == Scope::Tree && !self.is_empty())
            }
            Lookup::Nothing => false,
        }
    }

    /// Replaces paths by larger ones until there are at most `at_most`, and in no directory more
    /// than `per_directory`.
    ///
    /// The deepest level is replaced first: all paths below a certain depth are replaced by the
    /// directories at that depth, with [`Scope::Tree`]. Costs O(size of the set).
    pub fn collapse(&mut self, at_most: usize, per_directory: usize) {
        let levels = self.levels();
        let depth = self.cut_depth(&levels, at_most);
        for &node in levels.get(depth).into_iter().flatten() {
            if self.first_child(node).is_some() {
                self.set_scope(node, Scope::Tree);
            }
        }
        for &node in levels.iter().take(depth).rev().flatten() {
            if self.marked_children(node) > per_directory {
                self.set_scope(node, Scope::Tree);
            }
        }
        self.compact();
    }

    /// The approximate memory use in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        /// The approximate overhead of an allocator for a short name.
        const ALLOCATION: usize = 16;
        /// A slot of the hash table and its control byte.
        const SLOT: usize = size_of::<NodeId>() + 1;

        self.nodes.capacity() * size_of::<PathNode>()
            + self.names.capacity() * SLOT * 8 / 7
            + self.names.len() * ALLOCATION
            + self.name_bytes
    }

    /// The number of paths directly in this directory.
    fn marked_children(&self, node: NodeId) -> usize {
        self.node(node).marked_children as usize
    }

    /// The deepest level at which the set can be cut to have at most `at_most` paths.
    fn cut_depth(&self, levels: &[Vec<NodeId>], at_most: usize) -> usize {
        let mut above = 0;
        let mut best = 0;
        for (depth, level) in levels.iter().enumerate() {
            // Every node at this level stays as a path, or stands for those below it.
            if above + level.len() <= at_most {
                best = depth;
            }
            above += level.iter().filter(|&&node| self.scope(node).is_some()).count();
        }
        best
    }

    /// All nodes, by their depth.
    fn levels(&self) -> Vec<Vec<NodeId>> {
        let mut levels = Vec::new();
        let mut level = vec![NodeId::ROOT];
        while !level.is_empty() {
            let below = level.iter().flat_map(|&node| self.children(node)).collect();
            levels.push(mem::replace(&mut level, below));
        }
        levels
    }
}

/// The result of the lookup of a path.
enum Lookup {
    /// It is inside of a tree of the set.
    Within,
    /// It is this node.
    At(NodeId),
    /// There is no such node.
    Nothing,
}

/// The arena.
impl PathSet {
    /// The existing nodes on the path, the root first.
    fn nodes_on_path(&self, path: &TreePath) -> impl Iterator<Item = NodeId> {
        let mut at = Some(NodeId::ROOT);
        let below = path.components().map_while(move |name| {
            at = self.child(at?, name);
            at
        });
        core::iter::once(NodeId::ROOT).chain(below)
    }

    fn find(&self, path: &TreePath) -> Lookup {
        let mut at = NodeId::ROOT;
        for name in path.components() {
            if self.scope(at) == Some(Scope::Tree) {
                return Lookup::Within;
            }
            match self.child(at, name) {
                Some(child) => at = child,
                None => return Lookup::Nothing,
            }
        }
        Lookup::At(at)
    }

    #[expect(clippy::indexing_slicing, reason = "an id is made with its node, which stays")]
    fn node(&self, id: NodeId) -> &PathNode {
        &self.nodes[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is made with its node, which stays")]
    fn node_mut(&mut self, id: NodeId) -> &mut PathNode {
        &mut self.nodes[id.0 as usize]
    }

    /// The scope of this node in the set.
    fn scope(&self, id: NodeId) -> Option<Scope> {
        self.node(id).scope
    }

    /// The name of this node in its directory; empty for the root.
    fn name(&self, id: NodeId) -> &[u8] {
        &self.node(id).name
    }

    /// The children of this node, unordered.
    fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        core::iter::successors(self.first_child(id), |&child| some(self.node(child).sibling))
    }

    fn first_child(&self, id: NodeId) -> Option<NodeId> {
        some(self.node(id).child)
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        let is_it = |&id: &NodeId| {
            step();
            let node = self.node(id);
            node.directory == directory && *node.name == *name
        };
        self.names.find(self.hash(directory, name), is_it).copied()
    }

    fn hash(&self, directory: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((directory.0, name))
    }

    fn add_child(&mut self, directory: NodeId, name: &[u8]) -> NodeId {
        let sibling = self.node(directory).child;
        let node = PathNode { name: name.into(), directory, sibling, ..PathNode::default() };
        let id = self.allocate(node);
        self.node_mut(directory).child = id;
        self.name_bytes += name.len();
        let Self { nodes, names, hasher, .. } = self;
        step();
        let rehash = |id: &NodeId| {
            step();
            nodes
                .get(id.0 as usize)
                .map_or(0, |node| hasher.hash_one((node.directory.0, &*node.name)))
        };
        names.insert_unique(hasher.hash_one((directory.0, name)), id, rehash);
        id
    }

    fn allocate(&mut self, node: PathNode) -> NodeId {
        if let Some(id) = some(self.free) {
            self.free = self.node(id).sibling;
            *self.node_mut(id) = node;
            return id;
        }
        let id = u32::try_from(self.nodes.len()).expect("a set is collapsed long before");
        if self.nodes.len() == self.nodes.capacity() {
            // By a half, where a vector would double: the set is large when memory is short.
            self.nodes.reserve_exact(self.nodes.len() / 2 + 1);
        }
        self.nodes.push(node);
        NodeId(id)
    }

    /// Sets a larger scope.
    fn set_scope(&mut self, id: NodeId, scope: Scope) {
        if self.node_mut(id).scope.replace(scope).is_none() {
            self.len += 1;
            if id != NodeId::ROOT {
                let directory = self.node(id).directory;
                self.node_mut(directory).marked_children += 1;
            }
        }
        if scope == Scope::Tree {
            self.drop_below(id);
        }
    }

    fn drop_below(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.marked_children = 0;
        let mut stack = Vec::from_iter(some(mem::take(&mut node.child)));
        while let Some(id) = stack.pop() {
            let hash = self.hash(self.node(id).directory, self.name(id));
            if let Ok(entry) = self.names.find_entry(hash, |&other| other == id) {
                entry.remove();
            }
            step();
            let free = mem::replace(&mut self.free, id);
            let node =
                mem::replace(self.node_mut(id), PathNode { sibling: free, ..PathNode::default() });
            stack.extend(some(node.sibling).into_iter().chain(some(node.child)));
            self.name_bytes -= node.name.len();
            self.len -= usize::from(node.scope.is_some());
        }
    }

    /// Releases memory when most of the nodes are unused. Ids change.
    fn compact(&mut self) {
        if self.nodes.len() <= Self::SMALL || self.names.len() >= self.nodes.len() / 4 {
            return;
        }
        let mut fresh = Self::new();
        for DirtyPath { path, scope } in &*self {
            fresh.insert(&path, scope);
        }
        *self = fresh;
    }
}

fn some(id: NodeId) -> Option<NodeId> {
    (id != NodeId::ROOT).then_some(id)
}

impl Default for PathSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PathSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Eq for PathSet {}

impl<P: core::borrow::Borrow<DirtyPath>> FromIterator<P> for PathSet {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        let mut set = Self::new();
        for dirty in paths {
            let DirtyPath { path, scope } = dirty.borrow();
            set.insert(path, *scope);
        }
        set
    }
}
