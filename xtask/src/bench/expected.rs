//! Telling cheaply, and for all tools alike, when a target is what it should be.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// What a place of the target should have in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing.
    Absent,
    /// Something that is no file, such as a directory.
    Present,
    /// A file of this many bytes. Changes give files a length that they did not have before.
    File(u64),
}

/// The places that a change concerns.
pub(crate) type Changes = BTreeMap<PathBuf, Wanted>;

/// Looks whether changes have arrived.
///
/// A place that was found right is not looked at again. So a look costs one `lstat` while nothing
/// happens, and one for each place over the whole time, in the order in which rsync works.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    root: &'a Path,
    waiting: std::iter::Peekable<std::collections::btree_map::Iter<'a, PathBuf, Wanted>>,
}

impl<'a> Arrival<'a> {
    /// Waits for `changes` below `root`.
    pub(crate) fn new(root: &'a Path, changes: &'a Changes) -> Self {
        Self { root, waiting: changes.iter().peekable() }
    }

    /// Looks once, and tells whether everything is there.
    pub(crate) fn is_complete(&mut self) -> bool {
        while let Some((path, wanted)) = self.waiting.peek() {
            if !is_as(&self.root.join(path), **wanted) {
                return false;
            }
            self.waiting.next();
        }
        true
    }
}

fn is_as(path: &Path, wanted: Wanted) -> bool {
    match (fs::symlink_metadata(path), wanted) {
        (Err(_), wanted) => wanted == Wanted::Absent,
        (Ok(found), Wanted::File(length)) => found.is_file() && found.len() == length,
        (Ok(_), Wanted::Present) => true,
        (Ok(_), Wanted::Absent) => false,
    }
}

/// Compares two trees completely: names, kinds, lengths and, for files, times.
///
/// It is done after the clock was stopped, so that no tool is fast by being wrong.
///
/// # Errors
///
/// The first differences, or why a tree cannot be read.
pub(crate) fn verify(source: &Path, target: &Path) -> io::Result<()> {
    let (wanted, found) = (list(source)?, list(target)?);
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|(path, entry)| found.get(*path) != Some(entry))
        .chain(found.iter().filter(|(path, _)| !wanted.contains_key(*path)))
        .map(|(path, _)| path.display().to_string())
        .take(5)
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("the target is wrong at {}", wrong.join(", "))))
}

type Listing = BTreeMap<PathBuf, (u32, u64, i64)>;

fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let name: OsString = entry.file_name();
            debug_assert!(!name.as_bytes().is_empty(), "a directory lists only names");
            let path = directory.join(name);
            let found = entry.metadata()?;
            let kind = found.mode() & 0o170_000;
            if found.is_dir() {
                directories.push(path.clone());
                listing.insert(path, (kind, 0, 0));
            } else {
                listing.insert(path, (kind, found.len(), found.mtime()));
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_arrived_when_each_place_is_right() {
        let target = tempfile::tempdir().unwrap();
        let changes = Changes::from([
            (PathBuf::from("a"), Wanted::File(3)),
            (PathBuf::from("b"), Wanted::Absent),
        ]);
        let mut arrival = Arrival::new(target.path(), &changes);
        assert!(!arrival.is_complete());
        fs::write(target.path().join("a"), "12").unwrap();
        assert!(!arrival.is_complete());
        fs::write(target.path().join("a"), "123").unwrap();
        assert!(arrival.is_complete());
    }

    #[test]
    fn a_wrong_target_is_found_out() {
        let [source, target] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        verify(source.path(), target.path()).unwrap();
        fs::write(target.path().join("surplus"), "").unwrap();
        assert!(verify(source.path(), target.path()).is_err());
    }
}
