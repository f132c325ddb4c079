//! How paths are named to rsync: in lists, and by patterns.

use alloc::{vec, vec::Vec};

use super::{options::is_in_root, rsync::Unwanted};
use crate::{
    job::{Place, Scope},
    path::{TreePath, directories_above},
    queue::PlaceSet,
};

/// The names for `--from0 --files-from=-`. The slash in front is needed: a name that begins with
/// `#` or `;` is a comment even there.
///
/// Of a name in the root `/./` makes the root one of the directories that lead there, so that its
/// attributes come along: its times change with each entry that comes or goes in it, and no event
/// tells it. It does not bring what else the root lists (tried on 3.2.3, 3.2.7, 3.4.1, 3.5.0 and
/// 3.5.1).
pub(super) fn names<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths {
        let start: &[u8] = if is_in_root(path) { b"/./" } else { b"/" };
        text.extend_from_slice(start);
        text.extend_from_slice(path.as_bytes());
        text.push(0);
    }
    text
}

/// A pattern for this path only.
///
/// In a pattern without one of `*?[` a backslash stands for itself, in others it escapes.
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

/// The `entries` themselves, the `trees` and all that is below them at either end, and the
/// directories that lead there. If others decide what is below the trees, all else is excluded.
pub(super) fn patterns(entries: &[TreePath], trees: &[TreePath], others_decide: bool) -> Vec<u8> {
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
        let whole = |path: &TreePath| Place { path: path.clone(), scope: Scope::Tree };
        let (root, whole) = (TreePath::root(), trees.iter().map(whole).collect::<PlaceSet>());
        // What lies in a tree is decided with it.
        let is_open = |path: &&TreePath| !whole.covers(path, Scope::Entry);
        let closed = entries.iter().chain(&parents).chain([&root]).filter(is_open);
        all.extend(closed.map(|path| [&b"- "[..], &children(path)].concat()));
    }
    all.join(&0)
}

/// Rules by which nothing is sent, and nothing but these names is deleted. What is below a name is
/// left to the rules after them.
pub(super) fn only(names: &[(TreePath, Unwanted)]) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut add = |rule: &[u8], pattern: &[u8]| all.push([rule, pattern].concat());
    let parents = directories_above(names.iter().map(|(path, _)| path));
    for parent in &parents {
        let pattern = [anchored(parent), b"/".to_vec()].concat();
        add(b"S ", &pattern);
        add(b"P ", &pattern);
    }
    for (path, unwanted) in names {
        let (any, directory) = (anchored(path), [anchored(path), b"/".to_vec()].concat());
        add(b"H ", &any);
        match unwanted {
            Unwanted::Anything => add(b"R ", &any),
            Unwanted::Directory => {
                add(b"R ", &directory);
                add(b"P ", &any);
            }
            Unwanted::Other => {
                add(b"P ", &directory);
                add(b"R ", &any);
            }
        }
    }
    for parent in parents.iter().chain([&TreePath::root()]) {
        add(b"H ", &children(parent));
        add(b"P ", &children(parent));
    }
    all.join(&0)
}

/// A pattern for all that a directory lists.
fn children(directory: &TreePath) -> Vec<u8> {
    if directory.is_root() { b"/*".to_vec() } else { [escaped(directory), b"/*".to_vec()].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::ToOwned as _;

    #[test]
    fn what_lies_in_a_tree_does_not_shut_it() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let rules = patterns(&[path("a/x"), path("t/x")], &[path("t"), path("t/d/e")], true);
        let rules: Vec<_> = rules.split(|&byte| byte == 0).map(<[u8]>::to_owned).collect();
        let shut: Vec<_> = rules.into_iter().filter(|rule| rule.starts_with(b"- ")).collect();
        assert_eq!(shut, [&b"- /a/x/*"[..], b"- /a/*", b"- /*"]);
    }
}
