//! Cache of recently opened directories. Their subdirectories are opened without resolving a long
//! path.

use std::sync::{Arc, Mutex, MutexGuard};

use mirror_core::path::TreePath;

use super::{dir_node::DirNode, dir_pair::DirPair};
use crate::exec::lock;

/// Number of cached directories. Each one takes two file descriptors.
const CAPACITY: usize = 8;

/// The directories that were opened last, with their paths.
#[derive(Debug, Default)]
pub(super) struct DirCache {
    dirs: Mutex<Vec<CachedDir>>,
}

#[derive(Debug)]
struct CachedDir {
    node: Arc<DirNode>,
    path: Arc<TreePath>,
    pair: Arc<DirPair>,
}

impl DirCache {
    /// Adds a directory and evicts the oldest one if the cache is full.
    pub(super) fn insert(&self, node: &Arc<DirNode>, path: &Arc<TreePath>, pair: &Arc<DirPair>) {
        let (node, path, pair) = (Arc::clone(node), Arc::clone(path), Arc::clone(pair));
        let mut dirs = self.dirs();
        // Closed after the lock is released.
        let _last = (dirs.len() >= CAPACITY).then(|| dirs.remove(0));
        dirs.push(CachedDir { node, path, pair });
        drop(dirs);
    }

    /// Returns a directory if it is still cached.
    pub(super) fn get(&self, node: &DirNode) -> Option<(Arc<TreePath>, Arc<DirPair>)> {
        let dirs = self.dirs();
        let found = dirs.iter().rev().find(|it| std::ptr::eq(&raw const *it.node, node))?;
        Some((Arc::clone(&found.path), Arc::clone(&found.pair)))
    }

    /// Removes a directory in which all tasks are done.
    pub(super) fn remove(&self, node: &DirNode) {
        let _gone: Vec<_> = {
            let mut dirs = self.dirs();
            dirs.extract_if(.., |it| std::ptr::eq(&raw const *it.node, node)).collect()
        };
    }

    fn dirs(&self) -> MutexGuard<'_, Vec<CachedDir>> {
        lock(&self.dirs)
    }
}
