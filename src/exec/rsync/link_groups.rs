//! Groups of hard-linked names that must be transferred together.

use std::collections::BTreeSet;

use mirror_core::{job::Scope, path::TreePath, queue::PathSet};

use crate::exec::{inode::Inode, survey::SurveyedEntry};

/// The names of hard-linked files in one job, which must be transferred together.
///
/// One call cannot always transfer them all: deletions that are counted and observed deletions need
/// separate calls. So the names in each call are noted, and split files are joined at the end.
#[derive(Debug, Default)]
pub(super) struct LinkGroups {
    names: Vec<(TreePath, Inode)>,
    split: BTreeSet<Inode>,
}

impl LinkGroups {
    /// Collects the hard-linked files among these entries.
    pub(super) fn new<'e>(entries: impl Iterator<Item = &'e SurveyedEntry>) -> Self {
        let linked = entries.filter_map(|entry| Some((entry.path.clone(), entry.linked?.inode)));
        Self { names: linked.collect(), split: BTreeSet::new() }
    }

    /// Notes a call that transfers these entries and trees.
    pub(super) fn note_call(&mut self, entries: &[TreePath], trees: &[TreePath]) {
        if self.names.is_empty() {
            return;
        }
        let mut transferred = PathSet::new();
        for (paths, scope) in [(entries, Scope::Entry), (trees, Scope::Tree)] {
            for path in paths {
                transferred.insert(path, scope);
            }
        }
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        for (path, file) in &self.names {
            let is_transferred = transferred.covers(path, Scope::Entry);
            if is_transferred { &mut with } else { &mut without }.insert(*file);
        }
        self.split.extend(with.intersection(&without));
    }

    /// Returns all names of the files that no single call transferred completely.
    pub(super) fn split(self) -> Vec<TreePath> {
        let Self { names, split } = self;
        names.into_iter().filter(|(_, file)| split.contains(file)).map(|(path, _)| path).collect()
    }
}
