//! Finds all names of files with several hard links by walking the source.
//!
//! No event reports the other names of a file: a new link to a file with one name arrives as a new
//! entry, without its origin. The whole source is therefore walked, and only if a name is missing.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use mirror_core::path::TreePath;

use crate::exec::{hardlink_walk::HardlinkWalk, inode::Inode};

/// Number of files that are searched for one by one before a single walk collects all of them.
const MAX_SINGLE_SEARCHES: usize = 3;

type NamesByInode = HashMap<Inode, Vec<TreePath>>;

/// Searches for the names of files with several hard links.
#[derive(Debug, Default)]
pub(super) struct HardlinkSearch {
    searches: AtomicUsize,
    all: OnceLock<NamesByInode>,
}

impl HardlinkSearch {
    /// Returns the names that the source has for a file now.
    ///
    /// Directory listings contain inode numbers, so a walk for one file needs no `stat(2)` for
    /// other files. It takes a third of the time of the walk for all files, which is done once in a
    /// job if many files are searched for.
    pub(super) fn names(&self, walk: HardlinkWalk<'_>, inode: Inode) -> Vec<TreePath> {
        if self.searches.fetch_add(1, Ordering::Relaxed) < MAX_SINGLE_SEARCHES {
            return find_names(walk, Some(inode)).remove(&inode).unwrap_or_default();
        }
        let all = self.all.get_or_init(|| find_names(walk, None));
        all.get(&inode).cloned().unwrap_or_default()
    }
}

/// Returns the names of one file, or of all files with several names.
fn find_names(walk: HardlinkWalk<'_>, wanted: Option<Inode>) -> NamesByInode {
    let mut found = NamesByInode::new();
    let is_wanted = |number| wanted.is_none_or(|wanted| wanted.number() == number);
    walk.run(vec![TreePath::root()], is_wanted, |path, stat| {
        let inode = Inode::of(stat);
        if wanted.is_none_or(|wanted| wanted == inode) {
            found.entry(inode).or_default().push(path);
        }
    });
    found
}
