//! The changes of a source while it is watched.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::arrival::{ExpectedChanges, ExpectedEntry};

/// A tree and the changes in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Workload {
    /// This number of files is created in one directory.
    Create(usize),
    /// A thousand changes of all kinds in a small tree.
    Mixed,
    /// 3,000 of 100,000 files in one directory are rewritten.
    SomeOfMany,
    /// A directory of 10,000 files with 1 GB is renamed.
    Rename,
    /// A thousand files are created in ten directories.
    Thousand,
}

const MANY: usize = 100_000;
const SOME: usize = 3_000;
const LARGE_FILES: usize = 10_000;
const LARGE: usize = (1 << 30) / LARGE_FILES;

impl Workload {
    /// Creates the initial tree.
    ///
    /// # Errors
    ///
    /// If a file cannot be created.
    pub(crate) fn prepare(self, root: &Path) -> io::Result<()> {
        match self {
            Self::Create(_) => fs::create_dir(root.join("new")),
            Self::Mixed => prepare_mixed(root),
            Self::SomeOfMany => create_files(&root.join("all"), MANY, b"old"),
            Self::Rename => create_files(&root.join("before"), LARGE_FILES, &vec![b'x'; LARGE]),
            Self::Thousand => {
                (0..10).try_for_each(|number| fs::create_dir(root.join(format!("d{number}"))))
            }
        }
    }

    /// Makes the changes.
    ///
    /// # Errors
    ///
    /// If a change is impossible.
    pub(crate) fn change(self, root: &Path) -> io::Result<()> {
        match self {
            Self::Create(number) => {
                (0..number).try_for_each(|file| write(&root.join("new").join(name(file)), b"new"))
            }
            Self::Mixed => change_mixed(root),
            Self::SomeOfMany => some_of_many()
                .try_for_each(|file| write(&root.join("all").join(name(file)), b"changed")),
            Self::Rename => fs::rename(root.join("before"), root.join("after")),
            Self::Thousand => (0..1000).try_for_each(|file| {
                write(&root.join(format!("d{}", file % 10)).join(name(file)), b"new")
            }),
        }
    }

    /// Returns the expected changes of the target.
    pub(crate) fn expected_changes(self) -> ExpectedChanges {
        match self {
            Self::Create(number) => (0..number)
                .map(|file| (Path::new("new").join(name(file)), ExpectedEntry::File(3)))
                .collect(),
            Self::Mixed => mixed_changes(),
            Self::SomeOfMany => some_of_many()
                .map(|file| (Path::new("all").join(name(file)), ExpectedEntry::File(7)))
                .collect(),
            Self::Rename => {
                let after = Path::new("after");
                let mut changes: ExpectedChanges = (0..LARGE_FILES)
                    .map(|file| (after.join(name(file)), ExpectedEntry::File(LARGE as u64)))
                    .collect();
                changes.insert(PathBuf::from("before"), ExpectedEntry::Absent);
                changes
            }
            Self::Thousand => (0..1000)
                .map(|file| {
                    (
                        PathBuf::from(format!("d{}", file % 10)).join(name(file)),
                        ExpectedEntry::File(3),
                    )
                })
                .collect(),
        }
    }
}

/// Returns the files that [`Workload::SomeOfMany`] changes, spread over the directory.
fn some_of_many() -> impl Iterator<Item = usize> {
    (0..SOME).map(|number| number * (MANY / SOME))
}

/// Creates a directory with `number` files.
///
/// # Errors
///
/// If a file cannot be created.
pub(crate) fn create_files(directory: &Path, number: usize, content: &[u8]) -> io::Result<()> {
    fs::create_dir(directory)?;
    (0..number).try_for_each(|file| write(&directory.join(name(file)), content))
}

/// Creates `number` directories, a hundred in each parent.
///
/// # Errors
///
/// If one cannot be created.
pub(crate) fn create_dirs(root: &Path, number: usize) -> io::Result<()> {
    for directory in 0..number {
        let parent = root.join(format!("d{}", directory / 100));
        if directory % 100 == 0 {
            fs::create_dir(&parent)?;
        } else {
            fs::create_dir(parent.join(format!("d{directory}")))?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::File::create(path)?.write_all(content)
}

/// Returns a name that sorts like its number.
fn name(file: usize) -> String {
    format!("f{file:06}")
}

/// The number of changes of each of the five kinds.
const EACH: usize = 200;

fn prepare_mixed(root: &Path) -> io::Result<()> {
    for directory in ["changed", "moved", "removed"] {
        create_files(&root.join(directory), EACH, b"old")?;
    }
    fs::create_dir(root.join("created"))?;
    fs::create_dir(root.join("made"))
}

fn change_mixed(root: &Path) -> io::Result<()> {
    for file in 0..EACH {
        let name = name(file);
        write(&root.join("created").join(&name), b"new")?;
        write(&root.join("changed").join(&name), b"changed")?;
        fs::rename(root.join("moved").join(&name), root.join("moved").join(format!("to-{name}")))?;
        fs::remove_file(root.join("removed").join(&name))?;
        fs::create_dir(root.join("made").join(&name))?;
    }
    Ok(())
}

fn mixed_changes() -> ExpectedChanges {
    let mut changes = ExpectedChanges::new();
    for file in 0..EACH {
        let name = name(file);
        changes.insert(Path::new("created").join(&name), ExpectedEntry::File(3));
        changes.insert(Path::new("changed").join(&name), ExpectedEntry::File(7));
        changes.insert(Path::new("moved").join(format!("to-{name}")), ExpectedEntry::File(3));
        changes.insert(Path::new("moved").join(&name), ExpectedEntry::Absent);
        changes.insert(Path::new("removed").join(&name), ExpectedEntry::Absent);
        changes.insert(Path::new("made").join(&name), ExpectedEntry::Present);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{super::arrival::ArrivalCheck, *};

    #[test]
    fn a_workload_makes_the_changes_that_it_expects() {
        for workload in [Workload::Create(20), Workload::Mixed, Workload::Thousand] {
            let root = tempfile::tempdir().unwrap();
            let changes = workload.expected_changes();
            workload.prepare(root.path()).unwrap();
            assert!(!ArrivalCheck::new(root.path(), &changes).is_complete(), "{workload:?}");
            workload.change(root.path()).unwrap();
            assert!(ArrivalCheck::new(root.path(), &changes).is_complete(), "{workload:?}");
        }
    }
}
