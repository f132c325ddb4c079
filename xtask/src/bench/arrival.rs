//! Detects cheaply, and for all tools alike, when a target has reached its expected state.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The expected final state of a path of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedEntry {
    /// The path does not exist.
    Absent,
    /// The path exists and is not a file, such as a directory.
    Present,
    /// A file of this length, which differs from its length before the change.
    File(u64),
}

/// The paths that a change affects.
pub(crate) type ExpectedChanges = BTreeMap<PathBuf, ExpectedEntry>;

/// Checks repeatedly whether changes have arrived.
///
/// A path that has reached its state is not checked again. A check therefore costs one `lstat`
/// while nothing happens, plus one for each path overall, in the order in which rsync works.
#[derive(Debug)]
pub(crate) struct ArrivalCheck<'a> {
    root: &'a Path,
    pending: std::iter::Peekable<std::collections::btree_map::Iter<'a, PathBuf, ExpectedEntry>>,
}

impl<'a> ArrivalCheck<'a> {
    /// Expects `changes` below `root`.
    pub(crate) fn new(root: &'a Path, changes: &'a ExpectedChanges) -> Self {
        Self { root, pending: changes.iter().peekable() }
    }

    /// Checks once, and returns true if everything has arrived.
    pub(crate) fn is_complete(&mut self) -> bool {
        while let Some((path, expected)) = self.pending.peek() {
            if !has_state(&self.root.join(path), **expected) {
                return false;
            }
            self.pending.next();
        }
        true
    }
}

fn has_state(path: &Path, expected: ExpectedEntry) -> bool {
    match (fs::symlink_metadata(path), expected) {
        (Err(_), expected) => expected == ExpectedEntry::Absent,
        (Ok(found), ExpectedEntry::File(length)) => found.is_file() && found.len() == length,
        (Ok(_), ExpectedEntry::Present) => true,
        (Ok(_), ExpectedEntry::Absent) => false,
    }
}

/// Compares two trees completely: names, types, lengths and, for files, times.
///
/// Runs after the time was taken, so that no tool is fast by being wrong.
///
/// # Errors
///
/// Returns the first differences, or the reason for which a tree cannot be read.
pub(crate) fn verify(source: &Path, target: &Path) -> io::Result<()> {
    let (expected, found) = (list(source)?, list(target)?);
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(path, entry)| found.get(*path) != Some(entry))
        .chain(found.iter().filter(|(path, _)| !expected.contains_key(*path)))
        .map(|(path, _)| path.display().to_string())
        .take(5)
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("the target is wrong at {}", wrong.join(", "))))
}

type TreeListing = BTreeMap<PathBuf, (u32, u64, i64)>;

fn list(root: &Path) -> io::Result<TreeListing> {
    let mut listing = TreeListing::new();
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
    fn a_change_has_arrived_when_each_path_has_its_state() {
        let target = tempfile::tempdir().unwrap();
        let changes = ExpectedChanges::from([
            (PathBuf::from("a"), ExpectedEntry::File(3)),
            (PathBuf::from("b"), ExpectedEntry::Absent),
        ]);
        let mut check = ArrivalCheck::new(target.path(), &changes);
        assert!(!check.is_complete());
        fs::write(target.path().join("a"), "12").unwrap();
        assert!(!check.is_complete());
        fs::write(target.path().join("a"), "123").unwrap();
        assert!(check.is_complete());
    }

    #[test]
    fn a_wrong_target_fails_verification() {
        let [source, target] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        verify(source.path(), target.path()).unwrap();
        fs::write(target.path().join("surplus"), "").unwrap();
        assert!(verify(source.path(), target.path()).is_err());
    }
}
