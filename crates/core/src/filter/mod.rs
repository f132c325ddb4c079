//! rsync's exclude and filter rules, on bytes, compiled once.

use crate::{notice::Kind, path::TreePath};

/// The rules that say which entries of a mirror do not concern it.
#[derive(Clone, Debug, Default)]
pub struct Filter {}

impl Filter {
    /// Whether an entry, or a directory above it, is excluded.
    #[must_use]
    pub fn excludes(&self, _path: &TreePath, _kind: Kind) -> bool {
        false
    }
}
