//! What happens to a source while it is watched.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::expected::{Changes, Wanted};

/// A tree, and what is changed in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scene {
    /// So many files come into being in one directory.
    Create(usize),
    /// A thousand changes of all kinds in a small tree.
    Mixed,
    /// 3,000 of 100,000 files in one directory get a new content.
    SomeOfMany,
    /// A directory of 10,000 files with 1 GB gets another name.
    Rename,
    /// A thousand files come into being in ten directories.
    Thousand,
}

const MANY: usize = 100_000;
const SOME: usize = 3_000;
const LARGE_FILES: usize = 10_000;
const LARGE: usize = (1 << 30) / LARGE_FILES;

impl Scene {
    /// Makes the tree as it is before.
    ///
    /// # Errors
    ///
    /// When a file cannot be made.
    pub(crate) fn prepare(self, root: &Path) -> io::Result<()> {
        match self {
            Self::Create(_) => fs::create_dir(root.join("new")),
            Self::Mixed => prepare_mixed(root),
            Self::SomeOfMany => files(&root.join("all"), MANY, b"old"),
            Self::Rename => files(&root.join("before"), LARGE_FILES, &vec![b'x'; LARGE]),
            Self::Thousand => {
                (0..10).try_for_each(|number| fs::create_dir(root.join(format!("d{number}"))))
            }
        }
    }

    /// Changes the tree.
    ///
    /// # Errors
    ///
    /// When a change is not possible.
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

    /// What is to be seen of the change in the target.
    pub(crate) fn changes(self) -> Changes {
        match self {
            Self::Create(number) => (0..number)
                .map(|file| (Path::new("new").join(name(file)), Wanted::File(3)))
                .collect(),
            Self::Mixed => mixed_changes(),
            Self::SomeOfMany => some_of_many()
                .map(|file| (Path::new("all").join(name(file)), Wanted::File(7)))
                .collect(),
            Self::Rename => {
                let after = Path::new("after");
                let mut changes: Changes = (0..LARGE_FILES)
                    .map(|file| (after.join(name(file)), Wanted::File(LARGE as u64)))
                    .collect();
                changes.insert(PathBuf::from("before"), Wanted::Absent);
                changes
            }
            Self::Thousand => (0..1000)
                .map(|file| {
                    (PathBuf::from(format!("d{}", file % 10)).join(name(file)), Wanted::File(3))
                })
                .collect(),
        }
    }
}

/// The files of [`Scene::SomeOfMany`] that change, spread over the directory.
fn some_of_many() -> impl Iterator<Item = usize> {
    (0..SOME).map(|number| number * (MANY / SOME))
}

/// Makes a directory with `number` files.
///
/// # Errors
///
/// When a file cannot be made.
pub(crate) fn files(directory: &Path, number: usize, content: &[u8]) -> io::Result<()> {
    fs::create_dir(directory)?;
    (0..number).try_for_each(|file| write(&directory.join(name(file)), content))
}

/// Makes `number` directories, a hundred in each.
///
/// # Errors
///
/// When one cannot be made.
pub(crate) fn directories(root: &Path, number: usize) -> io::Result<()> {
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

/// Names that sort like their numbers.
fn name(file: usize) -> String {
    format!("f{file:06}")
}

/// Each of the five kinds of change comes two hundred times.
const EACH: usize = 200;

fn prepare_mixed(root: &Path) -> io::Result<()> {
    for directory in ["changed", "moved", "removed"] {
        files(&root.join(directory), EACH, b"old")?;
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

fn mixed_changes() -> Changes {
    let mut changes = Changes::new();
    for file in 0..EACH {
        let name = name(file);
        changes.insert(Path::new("created").join(&name), Wanted::File(3));
        changes.insert(Path::new("changed").join(&name), Wanted::File(7));
        changes.insert(Path::new("moved").join(format!("to-{name}")), Wanted::File(3));
        changes.insert(Path::new("moved").join(&name), Wanted::Absent);
        changes.insert(Path::new("removed").join(&name), Wanted::Absent);
        changes.insert(Path::new("made").join(&name), Wanted::Present);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{super::expected::Arrival, *};

    #[test]
    fn what_a_scene_does_is_what_it_expects() {
        for scene in [Scene::Create(20), Scene::Mixed, Scene::Thousand] {
            let root = tempfile::tempdir().unwrap();
            let changes = scene.changes();
            scene.prepare(root.path()).unwrap();
            assert!(!Arrival::new(root.path(), &changes).is_complete(), "{scene:?}");
            scene.change(root.path()).unwrap();
            assert!(Arrival::new(root.path(), &changes).is_complete(), "{scene:?}");
        }
    }
}
