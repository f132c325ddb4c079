//! Finds the names of files that have several, by one walk of the source.
//!
//! Nothing tells which other names a file has: a new link to a file that had one name comes as a
//! new entry somewhere, and nobody says of what. So the whole source is looked through, once in a
//! job, and only if a name is missing.

use std::sync::OnceLock;

use hashbrown::HashMap;
use mirror_core::{notice::Kind, path::TreePath};
use mirror_linux::{
    dir::Dir,
    entries::{Entry, ReadBuffer},
};
use rustix::fs::FileType;

use super::{links::Inode, pass::Pass};

/// The names of all files that have more than one.
#[derive(Debug, Default)]
pub(super) struct Search(OnceLock<HashMap<Inode, Vec<TreePath>>>);

impl Search {
    /// The names that the source has for a file now.
    pub(super) fn names(&self, pass: &Pass<'_>, inode: Inode) -> &[TreePath] {
        let found = self.0.get_or_init(|| walk(pass));
        found.get(&inode).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What can't be read is left out: it can't be linked either.
fn walk(pass: &Pass<'_>) -> HashMap<Inode, Vec<TreePath>> {
    let mut found = HashMap::new();
    let mut buffer = ReadBuffer::new();
    let mut directories = vec![TreePath::root()];
    while let Some(path) = directories.pop().filter(|_| pass.goes_on()) {
        let Ok(directory) = pass.source.open_below(path.as_bytes()) else { continue };
        let _ = directory.read(&mut buffer, |entry| {
            if let Some(entry_path) = path.join(entry.name) {
                look(pass, &directory, &entry, entry_path, (&mut directories, &mut found));
            }
            Ok(())
        });
    }
    found
}

fn look(
    pass: &Pass<'_>,
    directory: &Dir,
    entry: &Entry<'_>,
    path: TreePath,
    (directories, found): (&mut Vec<TreePath>, &mut HashMap<Inode, Vec<TreePath>>),
) {
    if entry.file_type == FileType::Directory {
        if !pass.filter().excludes_entry(&path, Kind::Directory) {
            directories.push(path);
        }
        return;
    }
    if let Ok(stat) = directory.stat(entry.name)
        && stat.stx_nlink > 1
        && !pass.filter().excludes_entry(&path, Kind::Other)
    {
        found.entry(Inode::of(&stat)).or_default().push(path);
    }
}
