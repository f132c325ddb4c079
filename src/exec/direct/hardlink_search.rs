//! Finds all names of files with several hard links by walking the source.
//!
//! No event reports the other names of a file: a new link to a file with one name arrives as a new
//! entry, without its origin. The whole source is therefore walked, and only if a name is missing.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use mirror_core::{filter::Filter, fs_event::EntryKind, path::TreePath};
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::FileType;

use crate::exec::inode::Inode;

/// Number of files that are searched for one by one before a single walk collects all of them.
const MAX_SINGLE_SEARCHES: usize = 3;

/// Source tree in which names are searched.
#[derive(Clone, Copy)]
pub(super) struct SearchedTree<'a> {
    /// Root of the source.
    pub(super) root: &'a Dir,
    /// Filter of the mirror: excluded names are left out.
    pub(super) filter: &'a Filter,
    /// Returns false once the search is to end early.
    pub(super) should_continue: &'a dyn Fn() -> bool,
}

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
    pub(super) fn names(&self, tree: SearchedTree<'_>, inode: Inode) -> Vec<TreePath> {
        if self.searches.fetch_add(1, Ordering::Relaxed) < MAX_SINGLE_SEARCHES {
            return find_names(tree, Some(inode)).remove(&inode).unwrap_or_default();
        }
        let all = self.all.get_or_init(|| find_names(tree, None));
        all.get(&inode).cloned().unwrap_or_default()
    }
}

/// Returns the names of one file, or of all files with several names. Unreadable directories are
/// skipped: their entries could not be linked either.
fn find_names(tree: SearchedTree<'_>, wanted: Option<Inode>) -> NamesByInode {
    let mut found = NamesByInode::new();
    let mut buffer = ReadBuffer::new();
    let mut directories = vec![TreePath::root()];
    while let Some(path) = directories.pop().filter(|_| (tree.should_continue)()) {
        let Ok(directory) = tree.root.open_below(path.as_bytes()) else { continue };
        let _ = directory.read(&mut buffer, |entry| {
            let Some(path) = path.join(entry.name) else { return Ok(()) };
            if entry.file_type == FileType::Directory {
                if !tree.filter.excludes_entry(&path, EntryKind::Directory) {
                    directories.push(path);
                }
            } else if wanted.is_none_or(|wanted| wanted.number() == entry.inode)
                && let Some(inode) = multi_link_inode(&directory, entry.name)
                && wanted.is_none_or(|wanted| wanted == inode)
                && !tree.filter.excludes_entry(&path, EntryKind::Other)
            {
                found.entry(inode).or_default().push(path);
            }
            Ok(())
        });
    }
    found
}

/// Returns the inode if the file has several names.
fn multi_link_inode(directory: &Dir, name: &[u8]) -> Option<Inode> {
    let stat = directory.stat(name).ok()?;
    (stat.stx_nlink > 1).then(|| Inode::of(&stat))
}
