//! Finds the names of files that have several, by a walk of the source.
//!
//! Nothing tells which other names a file has: a new link to a file that had one name comes as a
//! new entry somewhere, and nobody says of what. So the whole source is looked through, and only
//! if a name is missing.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use mirror_core::{notice::Kind, path::TreePath};
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::FileType;

use super::{links::Inode, pass::Pass};

/// How many files are looked for one by one before all are.
const FEW: usize = 3;

type Found = HashMap<Inode, Vec<TreePath>>;

/// The names of files that have more than one.
#[derive(Debug, Default)]
pub(super) struct Search {
    asked: AtomicUsize,
    all: OnceLock<Found>,
}

impl Search {
    /// The names that the source has for a file now.
    ///
    /// A listing has the numbers of inodes, so that a walk for one file looks at nothing else:
    /// that takes a third of the time of a walk for all, which is done once in a job if many ask.
    pub(super) fn names(&self, pass: &Pass<'_>, inode: Inode) -> Vec<TreePath> {
        if self.asked.fetch_add(1, Ordering::Relaxed) < FEW {
            return walk(pass, Some(inode)).remove(&inode).unwrap_or_default();
        }
        let all = self.all.get_or_init(|| walk(pass, None));
        all.get(&inode).cloned().unwrap_or_default()
    }
}

/// The names of one file, or of all that have several. What can't be read is left out: it can't
/// be linked either.
fn walk(pass: &Pass<'_>, wanted: Option<Inode>) -> Found {
    let mut found = Found::new();
    let mut buffer = ReadBuffer::new();
    let mut directories = vec![TreePath::root()];
    while let Some(path) = directories.pop().filter(|_| pass.goes_on()) {
        let Ok(directory) = pass.source.open_below(path.as_bytes()) else { continue };
        let _ = directory.read(&mut buffer, |entry| {
            let Some(path) = path.join(entry.name) else { return Ok(()) };
            if entry.file_type == FileType::Directory {
                if !pass.filter().excludes_entry(&path, Kind::Directory) {
                    directories.push(path);
                }
            } else if wanted.is_none_or(|wanted| wanted.has_number(entry.inode))
                && let Some(inode) = linked(&directory, entry.name)
                && wanted.is_none_or(|wanted| wanted == inode)
                && !pass.filter().excludes_entry(&path, Kind::Other)
            {
                found.entry(inode).or_default().push(path);
            }
            Ok(())
        });
    }
    found
}

/// Which file it is, if it has several names.
fn linked(directory: &Dir, name: &[u8]) -> Option<Inode> {
    let stat = directory.stat(name).ok()?;
    (stat.stx_nlink > 1).then(|| Inode::of(&stat))
}
