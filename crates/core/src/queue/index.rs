//! A set of places, as a tree of names in one arena.
//!
//! All nodes lie in one vector and are found by (directory, name) in one hash table. So a place
//! costs the same in a full directory as in a lonely one, and nothing here recurses: a path of
//! many thousand components is as good as any.

use alloc::{boxed::Box, vec, vec::Vec};
use core::{fmt, hash::BuildHasher as _, mem};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{steps::step, walk::Iter},
};

/// A set of places.
///
/// Adding and looking up cost O(depth of the path). What a new place covers is dropped, at a cost
/// that the earlier inserts have paid for.
///
/// **Invariants.** A place with [`Scope::Tree`] has no place below it: it covers them. No node
/// without a scope is without children, the root excepted.
#[derive(Clone)]
pub struct PlaceSet {
    /// The root first; those in `free` are not in use.
    nodes: Vec<Node>,
    /// Every node in use but the root, by its directory and name.
    names: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// The first of the nodes that can be used again, chained by `sibling`.
    free: NodeId,
    /// How many nodes have a scope.
    len: usize,
    /// How many bytes all names have.
    name_bytes: usize,
}

/// A node of a [`PlaceSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The root. It is nobody's child and nobody's sibling, so there it says "none".
    pub(super) const ROOT: Self = Self(0);
}

#[derive(Clone, Default)]
struct Node {
    name: Box<[u8]>,
    directory: NodeId,
    child: NodeId,
    sibling: NodeId,
    /// How many of its children are places.
    crowd: u32,
    scope: Option<Scope>,
}

impl Default for NodeId {
    fn default() -> Self {
        Self::ROOT
    }
}

/// What became of a place that was to be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was covered already.
    Covered,
    /// It is in the set now.
    Kept {
        /// How many places lie directly in its directory, itself included.
        crowd: usize,
    },
}

impl PlaceSet {
    /// Below this many nodes it is not worth while to give memory back.
    const SMALL: usize = 1024;

    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
            names: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            free: NodeId::ROOT,
            len: 0,
            name_bytes: 0,
        }
    }

    /// One entry.
    #[must_use]
    pub fn entry(path: &TreePath) -> Self {
        let mut set = Self::new();
        set.insert(path, Scope::Entry);
        set
    }

    /// Adds a place, and drops what it covers.
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
        self.raise(at, scope);
        let crowd = self.crowd(self.node(at).directory);
        self.compact();
        Inserted::Kept { crowd }
    }

    /// How many places there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The places, a directory before what is below it, siblings in the order of their bytes.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }

    /// Whether the set holds this place, or one that includes it.
    #[must_use]
    pub fn covers(&self, path: &TreePath, scope: Scope) -> bool {
        match self.find(path) {
            Found::Within => true,
            Found::At(node) => self.scope(node) >= Some(scope),
            Found::Nothing => false,
        }
    }

    /// Returns true if the set holds this path or one above it, with whatever scope.
    #[must_use]
    pub fn covers_or_leads_to(&self, path: &TreePath) -> bool {
        self.way(path).any(|node| self.scope(node).is_some())
    }

    /// The place with [`Scope::Tree`] that is this path or above it.
    pub(super) fn tree_of(&self, path: &TreePath) -> Option<TreePath> {
        let depth = self.way(path).position(|node| self.scope(node) == Some(Scope::Tree))?;
        let mut top = TreePath::root();
        path.components().take(depth).try_for_each(|name| top.push(name))?;
        Some(top)
    }

    /// The places at and below `top`; the whole of `top` if it lies within a place. `None` if there
    /// are more than `most`.
    pub(super) fn within(&self, top: &TreePath, most: usize) -> Option<Vec<Place>> {
        let at = match self.find(top) {
            Found::Within => return Some(vec![Place { path: top.clone(), scope: Scope::Tree }]),
            Found::Nothing => return Some(Vec::new()),
            Found::At(at) => at,
        };
        let mut places = Vec::new();
        let mut stack = vec![(top.clone(), at)];
        while let Some((path, node)) = stack.pop() {
            step();
            let below = self.children(node).filter_map(|it| Some((path.join(self.name(it))?, it)));
            stack.extend(below);
            places.extend(self.scope(node).map(|scope| Place { path, scope }));
            if places.len() > most {
                return None;
            }
        }
        Some(places)
    }

    /// Takes out what is covered by `places`.
    ///
    /// Costs O(depth) for each place of the set.
    pub(super) fn take_within(&mut self, places: &Self) -> Self {
        let is_within = |place: &Place| places.covers(&place.path, place.scope);
        if places.covers(&TreePath::root(), Scope::Tree) || self.iter().all(|it| is_within(&it)) {
            return mem::take(self);
        }
        let (mut taken, mut kept) = (Self::new(), Self::new());
        for place in &*self {
            let set = if is_within(&place) { &mut taken } else { &mut kept };
            set.insert(&place.path, place.scope);
        }
        *self = kept;
        taken
    }

    /// Whether work on this place could touch a place of the set: whether it is one of them, or
    /// one of the two is a tree that includes the other.
    #[must_use]
    pub fn overlaps(&self, path: &TreePath, scope: Scope) -> bool {
        match self.find(path) {
            Found::Within => true,
            Found::At(node) => {
                self.scope(node).is_some() || (scope == Scope::Tree && !self.is_empty())
            }
            Found::Nothing => false,
        }
    }

    /// Adds all places of `other`.
    ///
    /// Costs O(depth) for each place of the smaller set.
    pub fn append(&mut self, mut other: Self) {
        if self.len < other.len {
            mem::swap(self, &mut other);
        }
        for Place { path, scope } in &other {
            self.insert(&path, scope);
        }
    }

    /// Joins places into larger ones until there are at most `at_most`, and in no directory more
    /// than `crowd`.
    ///
    /// What lies deepest goes first: all places below a certain depth are replaced by the
    /// directories at that depth, as [`Scope::Tree`]. Costs O(size of the set).
    pub fn collapse(&mut self, at_most: usize, crowd: usize) {
        let levels = self.levels();
        let depth = self.depth_for(&levels, at_most);
        for &node in levels.get(depth).into_iter().flatten() {
            if self.first_child(node).is_some() {
                self.raise(node, Scope::Tree);
            }
        }
        for &node in levels.iter().take(depth).rev().flatten() {
            if self.crowd(node) > crowd {
                self.raise(node, Scope::Tree);
            }
        }
        self.compact();
    }

    /// About how many bytes of memory the set takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        /// What an allocator adds to a short name, about.
        const ALLOCATION: usize = 16;
        /// A slot of the hash table and its control byte.
        const SLOT: usize = size_of::<NodeId>() + 1;

        self.nodes.capacity() * size_of::<Node>()
            + self.names.capacity() * SLOT * 8 / 7
            + self.names.len() * ALLOCATION
            + self.name_bytes
    }

    /// How many places lie directly in this directory.
    fn crowd(&self, node: NodeId) -> usize {
        self.node(node).crowd as usize
    }

    /// The deepest level at which the set can be cut to have at most `at_most` places.
    fn depth_for(&self, levels: &[Vec<NodeId>], at_most: usize) -> usize {
        let mut above = 0;
        let mut best = 0;
        for (depth, level) in levels.iter().enumerate() {
            // Every node stays as a place, or stands for those below it.
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

/// Where a path leads in a set.
enum Found {
    /// Into a place that is a tree.
    Within,
    /// To this node.
    At(NodeId),
    /// To nothing that the set knows.
    Nothing,
}

/// The arena.
impl PlaceSet {
    /// The nodes on the way to `path`, the root first, as far as there are any.
    fn way(&self, path: &TreePath) -> impl Iterator<Item = NodeId> {
        let mut at = Some(NodeId::ROOT);
        let below = path.components().map_while(move |name| {
            at = self.child(at?, name);
            at
        });
        core::iter::once(NodeId::ROOT).chain(below)
    }

    fn find(&self, path: &TreePath) -> Found {
        let mut at = NodeId::ROOT;
        for name in path.components() {
            if self.scope(at) == Some(Scope::Tree) {
                return Found::Within;
            }
            match self.child(at, name) {
                Some(child) => at = child,
                None => return Found::Nothing,
            }
        }
        Found::At(at)
    }

    #[expect(clippy::indexing_slicing, reason = "an id is made with its node, which stays")]
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "an id is made with its node, which stays")]
    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// What the set holds at this node.
    pub(super) fn scope(&self, id: NodeId) -> Option<Scope> {
        self.node(id).scope
    }

    /// The name of this node in its directory; empty for the root.
    pub(super) fn name(&self, id: NodeId) -> &[u8] {
        &self.node(id).name
    }

    /// The children of this node, in no order.
    pub(super) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
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
        let node = Node { name: name.into(), directory, sibling, ..Node::default() };
        let id = self.keep(node);
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

    fn keep(&mut self, node: Node) -> NodeId {
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

    /// Gives a node a larger scope.
    fn raise(&mut self, id: NodeId, scope: Scope) {
        if self.node_mut(id).scope.replace(scope).is_none() {
            self.len += 1;
            if id != NodeId::ROOT {
                let directory = self.node(id).directory;
                self.node_mut(directory).crowd += 1;
            }
        }
        if scope == Scope::Tree {
            self.drop_below(id);
        }
    }

    fn drop_below(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.crowd = 0;
        let mut stack = Vec::from_iter(some(mem::take(&mut node.child)));
        while let Some(id) = stack.pop() {
            let hash = self.hash(self.node(id).directory, self.name(id));
            if let Ok(entry) = self.names.find_entry(hash, |&other| other == id) {
                entry.remove();
            }
            step();
            let free = mem::replace(&mut self.free, id);
            let node = mem::replace(self.node_mut(id), Node { sibling: free, ..Node::default() });
            stack.extend(some(node.sibling).into_iter().chain(some(node.child)));
            self.name_bytes -= node.name.len();
            self.len -= usize::from(node.scope.is_some());
        }
    }

    /// Gives back the memory of what was dropped, when that is most of it. Ids change.
    fn compact(&mut self) {
        if self.nodes.len() <= Self::SMALL || self.names.len() >= self.nodes.len() / 4 {
            return;
        }
        let mut fresh = Self::new();
        for Place { path, scope } in &*self {
            fresh.insert(&path, scope);
        }
        *self = fresh;
    }
}

fn some(id: NodeId) -> Option<NodeId> {
    (id != NodeId::ROOT).then_some(id)
}

impl Default for PlaceSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PlaceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The same places.
impl PartialEq for PlaceSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other)
    }
}

impl Eq for PlaceSet {}

impl<'a> IntoIterator for &'a PlaceSet {
    type Item = Place;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<P: core::borrow::Borrow<Place>> FromIterator<P> for PlaceSet {
    fn from_iter<I: IntoIterator<Item = P>>(places: I) -> Self {
        let mut set = Self::new();
        for place in places {
            let Place { path, scope } = place.borrow();
            set.insert(path, *scope);
        }
        set
    }
}
