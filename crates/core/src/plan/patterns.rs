//! Paths in rsync's lists and patterns.

use alloc::{collections::BTreeSet, vec, vec::Vec};

use super::options::is_in_root;
use crate::{
    job::{DirtyPath, Scope},
    path::{TreePath, directories_above},
    queue::PathSet,
};

/// The kind of entry that the target must not have under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnwantedKind {
    /// Any entry.
    Any,
    /// A directory. Any other entry of this name is excluded.
    Directory,
    /// Anything but a directory. A directory of this name is excluded.
    NonDirectory,
}

/// Returns the list for `--from0 --files-from=-`. The leading slash is needed: even there a name
/// that begins with `#` or `;` is a comment.
///
/// For a name in the root, `/./` makes the root one of the leading directories, so that its
/// attributes are transferred: its times change with each entry that is created or deleted in it,
/// and no event reports that. It does not transfer the other entries of the root (tested with
/// 3.2.3, 3.2.7, 3.4.1, 3.5.0 and 3.5.1).
pub(super) fn files_from_list<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths {
        let start: &[u8] = if is_in_root(path) { b"/./" } else { b"/" };
        text.extend_from_slice(start);
        text.extend_from_slice(path.as_bytes());
        text.push(0);
    }
    text
}

/// Returns a pattern for this path only.
///
/// In a pattern without any of `*?[` a backslash is a literal, in others it escapes.
pub(super) fn anchored(path: &TreePath) -> Vec<u8> {
    if path.as_bytes().iter().any(|b| b"*?[".contains(b)) {
        return escaped(path);
    }
    [b"/", path.as_bytes()].concat()
}

pub(super) fn escaped(path: &TreePath) -> Vec<u8> {
    let mut pattern = vec![b'/'];
    for &byte in path.as_bytes() {
        if b"\\*?[".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern
}

/// Returns include patterns for the `entries` themselves, the `trees` with everything below them at
/// either side, and the directories that lead there. If other rules decide about the contents of
/// the trees, everything else is excluded.
pub(super) fn include_patterns(
    entries: &[TreePath],
    trees: &[TreePath],
    others_decide: bool,
) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let paths = || entries.iter().chain(trees);
    all.extend(paths().map(anchored));
    let parents = directories_above(paths());
    if !others_decide {
        all.extend(trees.iter().map(|path| [escaped(path), b"/***".to_vec()].concat()));
    }
    all.extend(parents.iter().map(|path| [anchored(path), b"/".to_vec()].concat()));
    all.push(b"/".to_vec());
    if others_decide {
        let whole = |path: &TreePath| DirtyPath { path: path.clone(), scope: Scope::Tree };
        let (root, whole) = (TreePath::root(), trees.iter().map(whole).collect::<PathSet>());
        // Entries in a tree are decided with the tree.
        let is_open = |path: &&TreePath| !whole.covers(path, Scope::Entry);
        let closed = entries.iter().chain(&parents).chain([&root]).filter(is_open);
        all.extend(closed.map(|path| [&b"- "[..], &children_pattern(path)].concat()));
    }
    all.join(&0)
}

/// Returns rules that send nothing and delete only these names. Entries below a name are left to
/// the rules that follow.
pub(super) fn removal_rules(names: &[(TreePath, UnwantedKind)]) -> Vec<u8> {
    let parents = directories_above(names.iter().map(|(path, _)| path));
    let patterns = names.iter().map(|(path, unwanted)| (anchored(path), *unwanted));
    deletion_rules(&parents, patterns)
}

/// Returns rules that send nothing, and delete only what has the form of a receiver's temporary
/// file and lies in these directories.
pub(super) fn temp_file_rules(directories: &[TreePath]) -> Vec<u8> {
    let mut parents = directories_above(directories);
    parents.extend(directories.iter().filter(|path| !path.is_root()).cloned());
    let pattern = |path: &TreePath| {
        let directory = if path.is_root() { Vec::new() } else { escaped(path) };
        ([&directory, &b"/.*.??????"[..]].concat(), UnwantedKind::NonDirectory)
    };
    deletion_rules(&parents, directories.iter().map(pattern))
}

fn deletion_rules(
    parents: &BTreeSet<TreePath>,
    patterns: impl Iterator<Item = (Vec<u8>, UnwantedKind)>,
) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut add = |rule: &[u8], pattern: &[u8]| all.push([rule, pattern].concat());
    for parent in parents {
        let pattern = [anchored(parent), b"/".to_vec()].concat();
        add(b"S ", &pattern);
        add(b"P ", &pattern);
    }
    for (any, unwanted) in patterns {
        let directory = [&any, &b"/"[..]].concat();
        add(b"H ", &any);
        match unwanted {
            UnwantedKind::Any => add(b"R ", &any),
            UnwantedKind::Directory => {
                add(b"R ", &directory);
                add(b"P ", &any);
            }
            UnwantedKind::NonDirectory => {
                add(b"P ", &directory);
                add(b"R ", &any);
            }
        }
    }
    for parent in parents.iter().chain([&TreePath::root()]) {
        add(b"H ", &children_pattern(parent));
        add(b"P ", &children_pattern(parent));
    }
    all.join(&0)
}

/// Returns a pattern for all entries of a directory.
fn children_pattern(directory: &TreePath) -> Vec<u8> {
    if directory.is_root() { b"/*".to_vec() } else { [escaped(directory), b"/*".to_vec()].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::ToOwned as _;

    #[test]
    fn entries_inside_a_tree_do_not_exclude_its_contents() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let rules =
            include_patterns(&[path("a/x"), path("t/x")], &[path("t"), path("t/d/e")], true);
        let rules: Vec<_> = rules.split(|&byte| byte == 0).map(<[u8]>::to_owned).collect();
        let shut: Vec<_> = rules.into_iter().filter(|rule| rule.starts_with(b"- ")).collect();
        assert_eq!(shut, [&b"- /a/x/*"[..], b"- /a/*", b"- /*"]);
    }
}
