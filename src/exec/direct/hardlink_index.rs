//! Index of the known names of files with hard links.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use hashbrown::HashMap;
use mirror_core::path::TreePath;

use crate::exec::{inode::Inode, lock};

/// Names of one file.
pub(super) type LinkNames = BTreeSet<TreePath>;

/// Source file with several names.
#[derive(Debug, Default)]
pub(super) struct LinkedFile {
    pub(super) names: LinkNames,
    /// Name that the present full pass has synced, and the inode at the target.
    pub(super) done: Option<(TreePath, Inode)>,
}

/// Index of the known names of files with hard links. Outdated names are dropped when they are
/// used.
#[derive(Debug, Default)]
pub(super) struct HardlinkIndex {
    table: Mutex<HardlinkTable>,
}

#[derive(Debug, Default)]
struct HardlinkTable {
    files: HashMap<Inode, Arc<Mutex<LinkedFile>>>,
    /// Files with additional names outside of the tree: their link count when the whole tree was
    /// searched.
    outside_links: HashMap<Inode, u32>,
    by_name: HashMap<TreePath, Inode>,
}

impl HardlinkIndex {
    /// Forgets all names, before a full pass.
    pub(super) fn clear(&self) {
        *self.table() = HardlinkTable::default();
    }

    fn table(&self) -> MutexGuard<'_, HardlinkTable> {
        lock(&self.table)
    }

    /// Returns the record of a file. A thread that holds its lock takes no other lock but that of
    /// the table.
    pub(super) fn file(&self, inode: Inode) -> Arc<Mutex<LinkedFile>> {
        Arc::clone(self.table().files.entry(inode).or_default())
    }

    /// Returns true if a search of the whole tree has shown that a file has names outside of it.
    /// The result is valid for the link count of that time.
    pub(super) fn has_outside_links(&self, inode: Inode, link_count: u32) -> bool {
        self.table().outside_links.get(&inode) == Some(&link_count)
    }

    /// Records that a file has names outside of the tree.
    pub(super) fn set_outside_links(&self, inode: Inode, link_count: u32) {
        self.table().outside_links.insert(inode, link_count);
    }

    /// Records the file to which these names belong.
    pub(super) fn record<'a>(&self, inode: Inode, names: impl IntoIterator<Item = &'a TreePath>) {
        let mut table = self.table();
        table.by_name.extend(names.into_iter().map(|name| (name.clone(), inode)));
    }

    /// Records that `path` now belongs to the inode `now`, or to nothing. Returns the other names
    /// of the file that it belonged to.
    pub(super) fn detach(&self, path: &TreePath, now: Option<Inode>) -> LinkNames {
        let mut table = self.table();
        let file = table.by_name.get(path).copied().filter(|file| Some(*file) != now);
        let file = file.and_then(|file| {
            table.by_name.remove(path);
            table.files.get(&file).cloned()
        });
        drop(table);
        file.map_or_else(LinkNames::new, |file| {
            let mut file = lock(&file);
            file.names.remove(path);
            file.names.clone()
        })
    }
}
