//! Directories that were open a moment ago, so that the ones in them need no long path.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mirror_core::path::TreePath;

use super::{branch::Branch, folder::Pair};

/// How many are kept: each takes two descriptors.
const MOST: usize = 8;

/// The directories that were opened last, with their paths.
#[derive(Debug, Default)]
pub(super) struct Near {
    open: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    branch: Arc<Branch>,
    path: Arc<TreePath>,
    pair: Arc<Pair>,
}

impl Near {
    /// Keeps a directory for a while.
    pub(super) fn keep(&self, branch: &Arc<Branch>, path: &Arc<TreePath>, pair: &Arc<Pair>) {
        let (branch, path, pair) = (Arc::clone(branch), Arc::clone(path), Arc::clone(pair));
        let mut open = self.open();
        // Closed when nobody waits for the lock any more.
        let _last = (open.len() >= MOST).then(|| open.remove(0));
        open.push(Open { branch, path, pair });
        drop(open);
    }

    /// A directory, if it is still kept.
    pub(super) fn find(&self, branch: &Branch) -> Option<(Arc<TreePath>, Arc<Pair>)> {
        let open = self.open();
        let found = open.iter().rev().find(|it| std::ptr::eq(&raw const *it.branch, branch))?;
        Some((Arc::clone(&found.path), Arc::clone(&found.pair)))
    }

    /// All is done in this directory.
    pub(super) fn forget(&self, branch: &Branch) {
        let _gone: Vec<_> = {
            let mut open = self.open();
            open.extract_if(.., |it| std::ptr::eq(&raw const *it.branch, branch)).collect()
        };
    }

    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
