//! Paths of a batch that has ended, in little memory.

use mirror_core::{job::Scope, path::TreePath, queue::PathSet};

/// Set of dirty paths that is only kept to answer, now and then, if it covers a path.
#[derive(Debug)]
pub(super) struct KeptPaths {
    /// Each path, and a NUL behind it. A tree ends in a slash.
    text: Box<[u8]>,
}

impl KeptPaths {
    /// Keeps the paths of a set, if they need at most `limit` bytes.
    pub(super) fn new(paths: &PathSet, limit: usize) -> Option<Self> {
        // Each path has at least a NUL, so a large set is not read.
        if paths.len() > limit {
            return None;
        }
        let mut text = Vec::new();
        for dirty in paths {
            text.extend_from_slice(dirty.path.as_bytes());
            if dirty.scope == Scope::Tree {
                text.push(b'/');
            }
            text.push(0);
            if text.len() > limit {
                return None;
            }
        }
        Some(Self { text: text.into() })
    }

    /// Returns the memory use in bytes.
    pub(super) const fn memory(&self) -> usize {
        self.text.len()
    }

    /// Returns true if a path is one of them, or in one of the trees.
    pub(super) fn covers(&self, path: &TreePath) -> bool {
        let path = path.as_bytes();
        let mut paths = self.text.split(|&byte| byte == 0);
        // What follows the last NUL is no path.
        paths.next_back();
        paths.any(|kept| match kept.strip_suffix(b"/") {
            Some(b"") => true,
            Some(tree) => {
                path.strip_prefix(tree).is_some_and(|below| matches!(below, [] | [b'/', ..]))
            }
            None => kept == path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::job::DirtyPath;

    #[test]
    fn it_covers_what_the_set_covers() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let asked = ["", "a", "a/b", "a/b/c", "a/bc", "d", "d/e", "\u{e9}\n"].map(path);
        let dirty = |text: &str| {
            let scope = if text.ends_with('/') { Scope::Tree } else { Scope::Entry };
            DirtyPath { path: path(text), scope }
        };
        for paths in [&[][..], &["a/b/", "d"], &["a", "\u{e9}\n"], &["/"], &[""]] {
            let set: PathSet =
                paths.iter().map(|text| dirty(text)).collect::<Vec<_>>().iter().collect();
            let kept = KeptPaths::new(&set, 100).unwrap();
            for path in &asked {
                assert_eq!(kept.covers(path), set.covers(path, Scope::Entry), "{paths:?} {path}");
            }
        }
    }

    #[test]
    fn more_than_the_limit_is_not_kept() {
        let set = PathSet::entry(&TreePath::new(b"four").unwrap());
        assert_eq!(KeptPaths::new(&set, 5).unwrap().memory(), 5);
        assert!(KeptPaths::new(&set, 4).is_none() && KeptPaths::new(&set, 0).is_none());
    }
}
