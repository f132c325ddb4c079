//! Spelling of names on targets that ignore case.
//!
//! Where `Readme` and `README` lead to one entry, both comparisons by name fail: `README` of the
//! source seems to be there, and `Readme` of the target seems to be extraneous. So its deletion
//! would delete what the source has. Before anything else, the entries of the target get the names
//! that the source has.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use mirror_core::{
    filter::Filter,
    job::Scope,
    path::{Escaped, TreePath},
    queue::PathSet,
};
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::{FileType, renameat};

use super::{inode::EntryType, lookup::is_missing};

/// Entry of the source that the target cannot have beside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedName {
    pub(super) path: TreePath,
    /// Name of the other entry, in the same directory.
    other: Box<[u8]>,
}

impl SharedName {
    /// Returns the reason for which the entry is not on the target, and the remedy.
    pub(super) fn reason(&self) -> String {
        format!(
            "the target ignores case, so it cannot have it beside {}: rename one of them in the \
             source",
            Escaped(&self.other)
        )
    }
}

/// Entries of the source that the target cannot have, sorted by path.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedNames(Vec<SharedName>);

impl SharedNames {
    /// Returns the reason if the target cannot have this entry beside another one.
    pub(super) fn reason(&self, path: &TreePath) -> Option<String> {
        self.find(path).map(SharedName::reason)
    }

    /// Returns true if the target cannot have this entry.
    pub(super) fn contains(&self, path: &TreePath) -> bool {
        self.find(path).is_some()
    }

    fn find(&self, path: &TreePath) -> Option<&SharedName> {
        let at = self.0.binary_search_by(|shared| shared.path.cmp(path)).ok()?;
        self.0.get(at)
    }

    /// Returns true if the target can have all entries.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SharedName> {
        self.0.iter()
    }
}

/// Both sides of a target that ignores case.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseSides<'a> {
    pub(super) source: &'a Dir,
    pub(super) target: &'a Dir,
    pub(super) filter: &'a Filter,
}

/// Names of a directory, with the types of their entries.
type TypesByName = BTreeMap<Box<[u8]>, FileType>;

impl CaseSides<'_> {
    /// Gives the entries of the target the names of the source, in all directories that `paths`
    /// need. Returns the entries of the source that the target cannot have.
    ///
    /// A directory that cannot be read is left out: whoever works on it reports the error.
    pub(super) fn respell(self, paths: &PathSet) -> SharedNames {
        let mut single: BTreeSet<TreePath> = BTreeSet::new();
        let mut trees = Vec::new();
        for dirty in paths {
            let mut above = dirty.path.parent();
            while let Some(directory) = above.filter(|directory| !single.contains(directory)) {
                above = directory.parent();
                single.insert(directory);
            }
            if dirty.scope == Scope::Tree {
                trees.push(dirty.path);
            }
        }
        let mut shared = Vec::new();
        // A directory is sorted before everything below it.
        for directory in &single {
            self.respell_directory(directory, &mut shared);
        }
        while let Some(directory) = trees.pop() {
            trees.extend(self.respell_directory(&directory, &mut shared));
        }
        shared.sort_by(|one, other| one.path.cmp(&other.path));
        shared.dedup();
        SharedNames(shared)
    }

    /// Returns the subdirectories.
    fn respell_directory(self, path: &TreePath, shared: &mut Vec<SharedName>) -> Vec<TreePath> {
        let source = self.source.open_below(path.as_bytes()).ok();
        let Some(mut wanted) = source.as_ref().and_then(types_by_name) else { return Vec::new() };
        let (target, present) = match self.target.open_below(path.as_bytes()) {
            Ok(target) => match types_by_name(&target) {
                Some(present) => (Some(target), present),
                None => return Vec::new(),
            },
            Err(error) if is_missing(&error) => (None, TypesByName::new()),
            Err(_) => return Vec::new(),
        };
        let leads_to_entry = |name: &[u8]| target.as_ref().is_some_and(|it| it.stat(name).is_ok());
        wanted.retain(|name, file_type| self.is_mirrored(path, name, *file_type));
        let mut by_fold: BTreeMap<Cow<'_, [u8]>, &[u8]> = BTreeMap::new();
        let (there, missing): (Vec<_>, Vec<_>) =
            wanted.keys().partition(|name| present.contains_key(*name));
        for name in there {
            by_fold.insert(fold(name), name);
        }
        let extraneous = || present.iter().filter(|(name, _)| !wanted.contains_key(*name));
        let extraneous: BTreeMap<Cow<'_, [u8]>, _> = if missing.is_empty() {
            BTreeMap::new()
        } else {
            extraneous().map(|(name, file_type)| (fold(name), (name, *file_type))).collect()
        };
        for name in missing {
            let folded = fold(name);
            if let Some(other) = by_fold.get(&folded) {
                let is_certain = name.eq_ignore_ascii_case(other) || leads_to_entry(name);
                if let Some(path) = path.join(name).filter(|_| is_certain) {
                    shared.push(SharedName { path, other: (*other).into() });
                }
                continue;
            }
            if let Some((other, file_type)) = extraneous.get(&folded)
                && self.is_mirrored(path, other, *file_type)
                && leads_to_entry(name)
                && let Some(target) = &target
            {
                // If this is not possible, the entry is copied, and the old name deleted.
                let _ = renameat(target, &***other, target, &**name);
            }
            by_fold.insert(folded, name);
        }
        let directories = wanted.iter().filter(|(_, it)| **it == FileType::Directory);
        directories.filter_map(|(name, _)| path.join(name)).collect()
    }

    fn is_mirrored(self, directory: &TreePath, name: &[u8], file_type: FileType) -> bool {
        let path = directory.join(name);
        path.is_some_and(|path| !self.filter.excludes(&path, EntryType::from(file_type).kind()))
    }
}

/// Returns the form of a name in which case makes no difference. What a file system takes for the
/// same may be more or less than that.
fn fold(name: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => Cow::Owned(text.to_lowercase().into_bytes()),
        Ok(_) | Err(_) if name.iter().any(u8::is_ascii_uppercase) => {
            Cow::Owned(name.to_ascii_lowercase())
        }
        Ok(_) | Err(_) => Cow::Borrowed(name),
    }
}

/// Returns true for each path beside which one of the `others` exists whose name differs in case
/// only.
pub(super) fn differs_in_case<'a>(
    others: impl IntoIterator<Item = &'a TreePath>,
) -> impl Fn(&TreePath) -> bool {
    let folded: BTreeSet<Vec<u8>> =
        others.into_iter().map(|path| fold(path.as_bytes()).into_owned()).collect();
    move |path| folded.contains(&*fold(path.as_bytes()))
}

fn types_by_name(directory: &Dir) -> Option<TypesByName> {
    let mut names = TypesByName::new();
    let read = directory.read(&mut ReadBuffer::new(), |entry| {
        names.insert(entry.name.into(), entry.file_type);
        Ok(())
    });
    read.ok().map(|()| names)
}
