//! Directories whose entries are all listed: rsync gets the name of the directory instead.
//!
//! rsync reads a list byte by byte, with two system calls each, and looks each name up from the
//! root. In a directory that it lists itself, it does neither. If it lists the whole source itself,
//! it saves further calls for each file.

use std::io;

use mirror_core::{path::TreePath, plan::rsync::TransferPaths};
use mirror_platform::{dir::Dir, entries::ReadBuffer};
use rustix::fs::FileType;

use crate::exec::{inode::EntryType, lookup::entry_type_at};

/// Smallest number of entries for which a directory is read. Reading one costs as much as a few
/// names of a list.
const MIN_ENTRIES: usize = 32;

/// The entries of a call in a shorter form: some of them as trees that have no other entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShortenedList {
    entries: Vec<TreePath>,
    trees: Vec<TreePath>,
}

impl ShortenedList {
    /// Shortens the paths of a call that deletes nothing by itself: a tree in a call with
    /// `--delete` would lose entries whose deletion was not observed. `None`: nothing is gained.
    ///
    /// A directory is passed as a tree if each of its entries is in the list, and none is a
    /// directory or a symbolic link, into which rsync could recurse. For the same reason, no such
    /// entry may be in the rest of the list.
    ///
    /// If nothing else is in the source, it is the only tree, unless `keeps_list`.
    ///
    /// RACE: an entry that is created after this check is transferred with the others, before its
    /// own event.
    pub(super) fn new(root: &Dir, paths: &TransferPaths<'_>, keeps_list: bool) -> Option<Self> {
        let is_long = paths.entries.len() >= MIN_ENTRIES;
        if !is_long || !paths.trees.is_empty() || !paths.missing.is_empty() {
            return None;
        }
        let mut sorted: Vec<SplitPath<'_>> = paths.entries.iter().map(SplitPath::of).collect();
        sorted.sort_unstable_by_key(|entry| (entry.directory, entry.name));
        let (mut trees, mut rest) = (Vec::new(), Vec::new());
        let mut buffer = ReadBuffer::new();
        for group in sorted.chunk_by(|a, b| a.directory == b.directory) {
            match complete_directory(root, group, &mut buffer) {
                Some(directory) => trees.push(directory),
                None => rest.extend(group.iter().map(|entry| entry.path)),
            }
        }
        rest.retain(|path| trees.binary_search(path).is_err());
        // Each entry of the rest is looked up, which costs less than its name in the list.
        if rest.len() > paths.entries.len() / 2 || rest.iter().any(|path| may_recurse(root, path)) {
            return None;
        }
        if !keeps_list && is_whole_source(root, &trees, &rest, &mut buffer) {
            return Some(Self { entries: Vec::new(), trees: vec![TreePath::root()] });
        }
        Some(Self { entries: rest.into_iter().cloned().collect(), trees })
    }

    /// Returns the paths for the call.
    pub(super) fn paths(&self) -> TransferPaths<'_> {
        TransferPaths { entries: &self.entries, trees: &self.trees, ..TransferPaths::default() }
    }
}

/// An entry of the list, split into its directory and its name.
struct SplitPath<'a> {
    path: &'a TreePath,
    directory: &'a [u8],
    name: &'a [u8],
}

impl<'a> SplitPath<'a> {
    fn of(path: &'a TreePath) -> Self {
        let bytes = path.as_bytes();
        let slash = bytes.iter().rposition(|&byte| byte == b'/');
        let (directory, name) = match slash.and_then(|at| bytes.split_at_checked(at)) {
            Some((directory, name)) => (directory, name.get(1..).unwrap_or_default()),
            None => (&b""[..], bytes),
        };
        Self { path, directory, name }
    }
}

/// Returns the directory of the `group`, which is sorted by name, if the group has all its entries.
fn complete_directory(
    root: &Dir,
    group: &[SplitPath<'_>],
    buffer: &mut ReadBuffer,
) -> Option<TreePath> {
    let directory = group.first()?.directory;
    if group.len() < MIN_ENTRIES || directory.is_empty() {
        return None;
    }
    let is_listed = |name: &[u8]| group.binary_search_by_key(&name, |entry| entry.name).is_ok();
    let read = root.open_below(directory).and_then(|dir| {
        dir.read(buffer, |entry| {
            let recurses = matches!(entry.file_type, FileType::Directory | FileType::Symlink);
            if recurses || !is_listed(entry.name) {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(())
        })
    });
    read.ok().and_then(|()| TreePath::new(directory))
}

/// Returns true if the source has no entries but these, both sorted.
fn is_whole_source(
    root: &Dir,
    trees: &[TreePath],
    files: &[&TreePath],
    buffer: &mut ReadBuffer,
) -> bool {
    let read = root.read(buffer, |entry| {
        let is_listed = if entry.file_type == FileType::Directory {
            trees.binary_search_by_key(&entry.name, TreePath::as_bytes)
        } else {
            files.binary_search_by_key(&entry.name, |path| path.as_bytes())
        };
        is_listed.map(drop).map_err(|_| io::ErrorKind::Other.into())
    });
    read.is_ok()
}

/// Returns true if rsync could enter the entry at this path.
fn may_recurse(root: &Dir, path: &TreePath) -> bool {
    match entry_type_at(root, path) {
        Ok(None | Some(EntryType::File | EntryType::Other)) => false,
        Ok(Some(EntryType::Directory | EntryType::Symlink)) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink, path::Path};

    fn paths(text: &[String]) -> Vec<TreePath> {
        text.iter().map(|path| TreePath::new(path.as_bytes()).unwrap()).collect()
    }

    /// Creates 40 files in `directory`, and returns their paths.
    fn fill(root: &Path, directory: &str) -> Vec<String> {
        fs::create_dir_all(root.join(directory)).unwrap();
        let names: Vec<String> = (0..40).map(|file| format!("{directory}/f{file}")).collect();
        for name in &names {
            fs::write(root.join(name), "").unwrap();
        }
        names
    }

    fn shorten(root: &Path, listed: &[String]) -> Option<(Vec<TreePath>, Vec<TreePath>)> {
        let listed = paths(listed);
        let all = TransferPaths { entries: &listed, ..TransferPaths::default() };
        let root = Dir::open(root).unwrap();
        ShortenedList::new(&root, &all, true).map(|it| (it.entries, it.trees))
    }

    fn is_whole(root: &Path, listed: &[String]) -> bool {
        let listed = paths(listed);
        let all = TransferPaths { entries: &listed, ..TransferPaths::default() };
        let short = ShortenedList::new(&Dir::open(root).unwrap(), &all, false);
        short == Some(ShortenedList { entries: Vec::new(), trees: vec![TreePath::root()] })
    }

    #[test]
    fn directories_replace_their_entries() {
        let root = tempfile::tempdir().unwrap();
        let mut listed = fill(root.path(), "b/in");
        listed.extend(fill(root.path(), "a"));
        fs::write(root.path().join("b/top"), "").unwrap();
        // The directory itself is part of its tree, and a name may have disappeared.
        listed.extend(["a", "b/top", "b/gone"].map(str::to_owned));
        let rest = paths(&["b/gone".to_owned(), "b/top".to_owned()]);
        let trees = paths(&["a".to_owned(), "b/in".to_owned()]);
        assert_eq!(shorten(root.path(), &listed), Some((rest, trees)));
    }

    #[test]
    fn a_directory_with_other_entries_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let listed = fill(root.path(), "a");
        let other = root.path().join("a/other");
        assert!(shorten(root.path(), &listed).is_some());
        fs::write(&other, "").unwrap();
        assert_eq!(shorten(root.path(), &listed), None);
        // rsync could enter these, although they are listed.
        let mut with_other = listed.clone();
        with_other.push("a/other".to_owned());
        assert!(shorten(root.path(), &with_other).is_some());
        fs::remove_file(&other).unwrap();
        fs::create_dir(&other).unwrap();
        assert_eq!(shorten(root.path(), &with_other), None);
        fs::remove_dir(&other).unwrap();
        symlink("..", &other).unwrap();
        assert_eq!(shorten(root.path(), &with_other), None);
        fs::remove_file(&other).unwrap();
        assert!(shorten(root.path(), &with_other).is_some());
    }

    #[test]
    fn a_list_with_what_rsync_could_enter_is_not_shortened() {
        let root = tempfile::tempdir().unwrap();
        let mut listed = fill(root.path(), "a");
        fs::create_dir(root.path().join("b")).unwrap();
        listed.push("b".to_owned());
        assert_eq!(shorten(root.path(), &listed), None);
        fs::remove_dir(root.path().join("b")).unwrap();
        assert!(shorten(root.path(), &listed).is_some());
        symlink("a", root.path().join("b")).unwrap();
        assert_eq!(shorten(root.path(), &listed), None);
    }

    #[test]
    fn a_source_that_is_listed_in_full_is_one_tree() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let mut listed = fill(root.path(), "b");
        listed.extend(fill(root.path(), "a"));
        fs::write(at("a-file"), "").unwrap();
        listed.push("a-file".to_owned());
        assert!(is_whole(root.path(), &listed));
        // Something that is not listed, in the root or below it.
        for other in ["other", "a/other"] {
            fs::write(at(other), "").unwrap();
            assert!(!is_whole(root.path(), &listed), "{other}");
            fs::remove_file(at(other)).unwrap();
        }
        fs::create_dir(at("c")).unwrap();
        assert!(!is_whole(root.path(), &listed));
        fs::remove_dir(at("c")).unwrap();
        let nested = fill(root.path(), "a/c");
        assert!(!is_whole(root.path(), &[&*listed, &*nested].concat()));
        fs::remove_dir_all(at("a/c")).unwrap();
        symlink("a", at("link")).unwrap();
        listed.push("link".to_owned());
        assert!(!is_whole(root.path(), &listed));
        fs::remove_file(at("link")).unwrap();
        // The name of the link is gone: it is in the list, and nobody looks for it.
        assert!(is_whole(root.path(), &listed));
    }

    #[test]
    fn the_root_and_short_lists_stay() {
        let root = tempfile::tempdir().unwrap();
        let all = fill(root.path(), ".");
        let in_root: Vec<String> = all.iter().map(|path| path.replace("./", "")).collect();
        assert_eq!(shorten(root.path(), &in_root), None);
        let root = tempfile::tempdir().unwrap();
        let few = fill(root.path(), "a");
        for path in few.iter().skip(20) {
            fs::remove_file(root.path().join(path)).unwrap();
        }
        assert_eq!(shorten(root.path(), few.get(..20).unwrap()), None);
    }
}
