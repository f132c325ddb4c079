//! Groups of paths in a batch that are transferred together.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use mirror_core::{
    job::{Rename, Scope},
    path::TreePath,
    plan::rsync::UnwantedKind,
    queue::ObservedChanges,
};
use mirror_platform::dir::Dir;

use crate::exec::{
    inode::EntryType,
    lookup::{entry_type_at, stat_at},
    survey::{Survey, SurveyedEntry},
};

/// Observed changes of a batch, the renames among them, and the paths that were renamed on the
/// target.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeEvidence<'a> {
    pub(super) observed: &'a ObservedChanges,
    pub(super) renames: &'a [Rename],
    pub(super) renamed: &'a [TreePath],
}

impl ChangeEvidence<'_> {
    /// Returns true if equal size and time do not prove equal content.
    pub(super) fn is_written(self, path: &TreePath) -> bool {
        self.observed.is_written(path, || self.renamed.iter().any(|renamed| renamed.contains(path)))
    }

    /// Returns true if a deletion was observed here.
    pub(super) fn is_deleted(self, path: &TreePath) -> bool {
        self.observed.is_deleted(path)
    }

    /// Returns true if the path replaces something else.
    fn replaces(self, path: &TreePath) -> bool {
        self.is_deleted(path) || self.observed.renamed_to.covers(path, Scope::Entry)
    }
}

/// The paths of a batch, sorted by the calls that they need.
#[derive(Debug, Default)]
pub(super) struct TransferGroups {
    /// Entries with new content, whatever their times.
    pub(super) written: Vec<TreePath>,
    /// Trees with new content, where the target has at most entries whose deletion was observed.
    pub(super) written_trees: Vec<TreePath>,
    /// Observed deletions.
    pub(super) deleted: Vec<TreePath>,
    /// Trees with new content where the target may have unknown entries.
    pub(super) guarded_trees: Vec<TreePath>,
    /// Entries to compare.
    pub(super) compared: Vec<TreePath>,
    /// Directories whose attributes are to be updated.
    pub(super) directories: Vec<TreePath>,
    /// Trees to compare.
    pub(super) compared_trees: Vec<TreePath>,
    /// Missing paths without an observed deletion.
    pub(super) missing: Vec<TreePath>,
    /// Links that replace something else. They follow everything that they may point to.
    pub(super) replacing_links: Vec<TreePath>,
    /// Paths that must not exist on the target, with an observed deletion.
    pub(super) unwanted: Vec<(TreePath, UnwantedKind)>,
    /// Paths that must not exist on the target, without an observed deletion.
    pub(super) unwanted_unobserved: Vec<(TreePath, UnwantedKind)>,
}

impl TransferGroups {
    /// Sorts the surveyed paths. `target` is given if it is local; `deletes` is true if the target
    /// loses what the source does not have.
    pub(super) fn new(
        found: &Survey,
        evidence: ChangeEvidence<'_>,
        target: Option<&Dir>,
        deletes: bool,
    ) -> Self {
        let mut groups = Self::default();
        found.entries.iter().for_each(|entry| groups.add_entry(entry, evidence));
        for tree in &found.trees {
            groups.add_tree(tree, evidence, target, deletes);
        }
        if deletes {
            for path in &found.gone {
                let list = if evidence.is_deleted(path) {
                    &mut groups.deleted
                } else {
                    &mut groups.missing
                };
                list.push(path.clone());
            }
            for name in &found.unwanted {
                let (path, unwanted) = name;
                let is_observed = evidence.is_deleted(path);
                if target.is_none_or(|target| may_have(target, path, *unwanted)) {
                    let list = if is_observed {
                        &mut groups.unwanted
                    } else {
                        &mut groups.unwanted_unobserved
                    };
                    list.push(name.clone());
                }
            }
        }
        groups
    }

    /// Takes out the deletions, if there are links that replace something: a link may have pointed
    /// to what is deleted.
    pub(super) fn take_last(&mut self) -> Option<Self> {
        let has_deletions = !self.deleted.is_empty() || !self.missing.is_empty();
        (has_deletions && !self.replacing_links.is_empty()).then(|| Self {
            deleted: std::mem::take(&mut self.deleted),
            missing: std::mem::take(&mut self.missing),
            ..Self::default()
        })
    }

    fn add_entry(
        &mut self,
        SurveyedEntry { path, entry_type, .. }: &SurveyedEntry,
        evidence: ChangeEvidence<'_>,
    ) {
        let list = match entry_type {
            EntryType::Directory => &mut self.directories,
            EntryType::Symlink if evidence.replaces(path) => &mut self.replacing_links,
            // A deleted path was recreated, even if that event is still pending.
            EntryType::Symlink | EntryType::File | EntryType::Other
                if evidence.is_written(path) || evidence.is_deleted(path) =>
            {
                &mut self.written
            }
            EntryType::Symlink | EntryType::File | EntryType::Other => &mut self.compared,
        };
        list.push(path.clone());
    }

    fn add_tree(
        &mut self,
        path: &TreePath,
        evidence: ChangeEvidence<'_>,
        target: Option<&Dir>,
        deletes: bool,
    ) {
        let is_free =
            || target.is_some_and(|target| matches!(entry_type_at(target, path), Ok(None)));
        let list = if deletes && evidence.is_deleted(path) {
            &mut self.written_trees
        } else if !evidence.is_written(path) {
            &mut self.compared_trees
        } else if !deletes || is_free() {
            &mut self.written_trees
        } else {
            &mut self.guarded_trees
        };
        list.push(path.clone());
    }

    /// Moves all names of a hard-linked file into one group, including those `in_trees`.
    pub(super) fn group_hardlinks(
        &mut self,
        entries: &[SurveyedEntry],
        in_trees: &[SurveyedEntry],
    ) {
        if entries.iter().chain(in_trees).all(|entry| entry.linked.is_none()) {
            return;
        }
        let written: BTreeSet<&TreePath> = self.written.iter().collect();
        let is_written = |entry: &&SurveyedEntry| {
            let trees = self.written_trees.iter().chain(&self.guarded_trees);
            written.contains(&entry.path) || trees.clone().any(|tree| tree.contains(&entry.path))
        };
        let linked = entries.iter().chain(in_trees).filter(is_written);
        let files: BTreeSet<_> = linked.filter_map(|entry| Some(entry.linked?.inode)).collect();
        if files.is_empty() {
            return;
        }
        let is_of_them =
            |entry: &&SurveyedEntry| entry.linked.is_some_and(|it| files.contains(&it.inode));
        let also: BTreeSet<&TreePath> =
            entries.iter().filter(is_of_them).map(|entry| &entry.path).collect();
        self.written.extend(self.compared.extract_if(.., |path| also.contains(path)));
    }

    /// Returns true if links need not wait for anything.
    pub(super) fn has_only_links(&self) -> bool {
        self.written.is_empty()
            && self.written_trees.is_empty()
            && self.guarded_trees.is_empty()
            && self.compared.is_empty()
            && self.directories.is_empty()
            && self.compared_trees.is_empty()
    }

    /// Takes out the entries without an observed deletion that may replace a directory on the
    /// target: they must not be in a call that deletes such directories.
    pub(super) fn take_blocked(
        entries: &mut Vec<TreePath>,
        evidence: ChangeEvidence<'_>,
        target: Option<&Dir>,
        holds: bool,
    ) -> Vec<TreePath> {
        let blocked = |path: &TreePath| match target {
            Some(target) => {
                matches!(entry_type_at(target, path), Ok(Some(EntryType::Directory)) | Err(_))
            }
            None => holds,
        };
        entries.extract_if(.., |path| !evidence.is_deleted(path) && blocked(path)).collect()
    }
}

/// Returns true if the entry at this path was changed, or appeared, between that time and now. A
/// file system clock that is ahead of ours hides older changes.
pub(super) fn changed_since(root: &Dir, path: &TreePath, time: SystemTime) -> bool {
    let Ok(Some(stat)) = stat_at(root, path) else { return false };
    let seconds = stat.ctime.seconds.try_into().unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, stat.ctime.nanoseconds);
    time < changed && changed <= SystemTime::now()
}

fn may_have(target: &Dir, path: &TreePath, unwanted: UnwantedKind) -> bool {
    match entry_type_at(target, path) {
        Ok(None) => false,
        Ok(Some(EntryType::Directory)) => unwanted != UnwantedKind::NonDirectory,
        Ok(Some(_)) => unwanted != UnwantedKind::Directory,
        Err(_) => true,
    }
}
