//! What of a batch goes together.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use mirror_core::{job::Scope, path::TreePath, plan::rsync::Unwanted, queue::Heard};
use mirror_platform::dir::Dir;

use crate::exec::survey::{Entry, Survey, What, stat_at, what_at};

/// What was heard of places, and which of them already have another name on the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearing<'a> {
    pub(super) heard: &'a Heard,
    pub(super) renamed: &'a [TreePath],
}

impl Hearing<'_> {
    /// Whether equal size and time prove nothing here.
    pub(super) fn is_written(self, path: &TreePath) -> bool {
        self.heard.is_written(path, || self.renamed.iter().any(|renamed| renamed.contains(path)))
    }

    /// Whether it was seen to go.
    pub(super) fn is_gone(self, path: &TreePath) -> bool {
        self.heard.is_gone(path)
    }

    /// Whether something else was here before.
    fn replaces(self, path: &TreePath) -> bool {
        self.is_gone(path) || self.heard.moved.covers(path, Scope::Entry)
    }
}

/// What of a batch goes together.
#[derive(Debug, Default)]
pub(super) struct Portions {
    /// Entries with new content, whatever their times.
    pub(super) written: Vec<TreePath>,
    /// Trees with new content of which the target has nothing that nobody saw go.
    pub(super) trees: Vec<TreePath>,
    /// What was seen to go.
    pub(super) gone: Vec<TreePath>,
    /// Trees with new content, in place of which the target may have anything.
    pub(super) new_trees: Vec<TreePath>,
    /// Entries to compare.
    pub(super) touched: Vec<TreePath>,
    /// Directories of which only the attributes count.
    pub(super) directories: Vec<TreePath>,
    /// Trees to compare.
    pub(super) rescans: Vec<TreePath>,
    /// What is missing, and nobody saw it go.
    pub(super) missing: Vec<TreePath>,
    /// Links in the place of something else, which come after all they may lead to.
    pub(super) links: Vec<TreePath>,
    /// What must not be on the target, and was seen to go.
    pub(super) unwanted: Vec<(TreePath, Unwanted)>,
    /// What must not be on the target, and nobody saw it go.
    pub(super) unseen: Vec<(TreePath, Unwanted)>,
}

impl Portions {
    /// Sorts what was `found`. `target` is there if it is on this machine; with `deletes` things are
    /// deleted there.
    pub(super) fn new(
        found: &Survey,
        hearing: Hearing<'_>,
        target: Option<&Dir>,
        deletes: bool,
    ) -> Self {
        let mut portions = Self::default();
        found.entries.iter().for_each(|entry| portions.add_entry(entry, hearing));
        for tree in &found.trees {
            portions.add_tree(tree, hearing, target, deletes);
        }
        if deletes {
            for path in &found.gone {
                let list =
                    if hearing.is_gone(path) { &mut portions.gone } else { &mut portions.missing };
                list.push(path.clone());
            }
            for name in &found.unwanted {
                let (path, unwanted) = name;
                let seen = hearing.is_gone(path);
                if target.is_none_or(|target| may_have(target, path, *unwanted)) {
                    let list = if seen { &mut portions.unwanted } else { &mut portions.unseen };
                    list.push(name.clone());
                }
            }
        }
        portions
    }

    fn add_entry(&mut self, Entry { path, what, .. }: &Entry, hearing: Hearing<'_>) {
        let list = match what {
            What::Directory => &mut self.directories,
            What::Link if hearing.replaces(path) => &mut self.links,
            // What went is made anew, whether that was heard already or not.
            _ if hearing.is_written(path) || hearing.is_gone(path) => &mut self.written,
            What::Link | What::File | What::Other => &mut self.touched,
        };
        list.push(path.clone());
    }

    fn add_tree(
        &mut self,
        path: &TreePath,
        hearing: Hearing<'_>,
        target: Option<&Dir>,
        deletes: bool,
    ) {
        let is_free = || target.is_some_and(|target| matches!(what_at(target, path), Ok(None)));
        let list = if deletes && hearing.is_gone(path) {
            &mut self.trees
        } else if !hearing.is_written(path) {
            &mut self.rescans
        } else if !deletes || is_free() {
            &mut self.trees
        } else {
            &mut self.new_trees
        };
        list.push(path.clone());
    }

    /// All names of a file have to go together, those `in_trees` too.
    pub(super) fn keep_together(&mut self, entries: &[Entry], in_trees: &[Entry]) {
        let written: BTreeSet<&TreePath> = self.written.iter().collect();
        let is_written = |entry: &&Entry| {
            let trees = self.trees.iter().chain(&self.new_trees);
            written.contains(&entry.path) || trees.clone().any(|tree| tree.contains(&entry.path))
        };
        let linked = entries.iter().chain(in_trees).filter(is_written);
        let files: BTreeSet<_> = linked.filter_map(|entry| Some(entry.linked?.file())).collect();
        if files.is_empty() {
            return;
        }
        let is_of_them = |entry: &&Entry| entry.linked.is_some_and(|it| files.contains(&it.file()));
        let also: BTreeSet<&TreePath> =
            entries.iter().filter(is_of_them).map(|entry| &entry.path).collect();
        self.written.extend(self.touched.extract_if(.., |path| also.contains(path)));
    }

    /// Whether links have nothing to wait for.
    pub(super) fn is_links_only(&self) -> bool {
        self.written.is_empty()
            && self.trees.is_empty()
            && self.new_trees.is_empty()
            && self.touched.is_empty()
            && self.directories.is_empty()
            && self.rescans.is_empty()
    }

    /// Takes out the entries that were not seen to go and in the place of which the target may have
    /// a directory: they must not be in a call that lets such directories go.
    pub(super) fn take_blocked(
        entries: &mut Vec<TreePath>,
        hearing: Hearing<'_>,
        target: Option<&Dir>,
        holds: bool,
    ) -> Vec<TreePath> {
        let blocked = |path: &TreePath| match target {
            Some(target) => matches!(what_at(target, path), Ok(Some(What::Directory)) | Err(_)),
            None => holds,
        };
        entries.extract_if(.., |path| !hearing.is_gone(path) && blocked(path)).collect()
    }
}

/// Returns true if the entry at this path was changed, or came there, between that time and now. Where
/// the clock of the file system is ahead of ours, that is not so for what was changed before.
pub(super) fn changed_since(root: &Dir, path: &TreePath, time: SystemTime) -> bool {
    let Ok(Some(stat)) = stat_at(root, path) else { return false };
    let seconds = stat.stx_ctime.tv_sec.try_into().unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, stat.stx_ctime.tv_nsec);
    time < changed && changed <= SystemTime::now()
}

fn may_have(target: &Dir, path: &TreePath, unwanted: Unwanted) -> bool {
    match what_at(target, path) {
        Ok(None) => false,
        Ok(Some(What::Directory)) => unwanted != Unwanted::Other,
        Ok(Some(_)) => unwanted != Unwanted::Directory,
        Err(_) => true,
    }
}
