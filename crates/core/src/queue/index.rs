//! A set of places, as a tree of names.

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use crate::{
    job::{Place, Scope},
    path::TreePath,
};

/// A set of places.
///
/// **Invariants.** A place with [`Scope::Tree`] has no place below it: it covers them. No node
/// without a scope is without children, the root excepted.
#[derive(Clone, Debug, Default)]
pub struct PlaceSet {
    root: Node,
    len: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    scope: Option<Scope>,
    children: BTreeMap<Box<[u8]>, Node>,
}

impl PlaceSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { root: Node { scope: None, children: BTreeMap::new() }, len: 0 }
    }

    /// Adds a place. Costs O(depth), and what the new place covers is dropped.
    pub fn insert(&mut self, path: &TreePath, scope: Scope) {
        let mut node = &mut self.root;
        for name in path.components() {
            if node.scope == Some(Scope::Tree) {
                return;
            }
            if !node.children.contains_key(name) {
                node.children.insert(name.into(), Node::default());
            }
            let Some(child) = node.children.get_mut(name) else { return };
            node = child;
        }
        if node.scope.is_none() {
            self.len += 1;
        }
        node.scope = node.scope.max(Some(scope));
        if node.scope == Some(Scope::Tree) {
            self.len -= node.children.values().map(Node::count).sum::<usize>();
            node.children = BTreeMap::new();
        }
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
    pub fn iter(&self) -> impl Iterator<Item = Place> {
        let mut stack: Vec<(TreePath, &Node)> = vec![(TreePath::root(), &self.root)];
        core::iter::from_fn(move || {
            loop {
                let (path, node) = stack.pop()?;
                for (name, child) in node.children.iter().rev() {
                    stack.extend(path.join(name).map(|path| (path, child)));
                }
                if let Some(scope) = node.scope {
                    return Some(Place { path, scope });
                }
            }
        })
    }
}

impl Node {
    fn count(&self) -> usize {
        usize::from(self.scope.is_some()) + self.children.values().map(Self::count).sum::<usize>()
    }
}
