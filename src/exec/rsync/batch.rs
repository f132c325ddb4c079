//! The steps of one job, and their order.

use std::borrow::Cow;

use mirror_core::{
    job::{DirtyPath, Failure, Outcome, Rename, Scope},
    path::TreePath,
    plan::{
        options::{ListForm, TransferPhase},
        rsync::{Deletions, QuickCheck, TransferPaths},
    },
    queue::{ObservedChanges, PathSet},
};

use super::{
    RsyncExecutor,
    call_paths::CallPaths,
    deletion_guard::GuardedTransfer,
    run::RsyncRun,
    transfer_groups::{ChangeEvidence, TransferGroups, changed_since},
    whole_directories::ShortenedList,
};
use crate::exec::{
    inode::EntryType,
    survey::{Survey, SurveyedEntry, survey},
};

/// `PATH_MAX` with its NUL. rsync truncates longer names and acts on the rest.
const PATH_MAX: usize = 4096;

impl RsyncRun<'_> {
    /// Transfers the whole source.
    pub(super) fn transfer_full(
        &mut self,
        phase: TransferPhase,
        observed: &ObservedChanges,
    ) -> Result<(), Outcome> {
        self.set_full();
        if !self.executor.plan.options.shows_progress() {
            self.progress = self.executor.log.show_progress(&self.executor.state.meter);
        }
        let evidence = ChangeEvidence { observed, renames: &[], renamed: &[] };
        self.transfer_observed(evidence)?;
        self.compare_all(phase, evidence)
    }

    /// Reads the state of these paths in the source.
    fn survey(&self, paths: &PathSet, observed: &ObservedChanges) -> Survey {
        let RsyncExecutor { filter, plan, .. } = self.executor;
        survey(self.root, paths, observed, filter, plan.options.stays_on_file_system())
    }

    /// Transfers the observed changes within a source that is then compared as a whole.
    fn transfer_observed(&mut self, evidence: ChangeEvidence<'_>) -> Result<(), Outcome> {
        let sets =
            [&evidence.observed.written, &evidence.observed.renamed_to, &evidence.observed.deleted];
        let paths: PathSet =
            sets.into_iter().flatten().filter(|dirty| !dirty.path.is_root()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let found = self.survey(&paths, evidence.observed);
        self.transfer(found, evidence)
    }

    fn compare_all(
        &mut self,
        phase: TransferPhase,
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        let plan = &self.executor.plan;
        self.log_full();
        let all_written = evidence.observed.written.covers(&TreePath::root(), Scope::Tree);
        if !all_written {
            self.probe_time_precision()?;
        }
        let quick_check = if all_written { QuickCheck::Never } else { self.executor.quick_check() };
        self.run_guarded(&GuardedTransfer {
            call_paths: CallPaths::root(Scope::Tree),
            build_call: &|deletions, hidden| plan.full(phase, deletions, quick_check, hidden),
            deletes: plan.options.delete.applies(phase) || plan.options.deletes_excluded(phase),
            terms: self.unobserved_terms(),
        })
    }

    /// Brings these paths of the target to the state of the source.
    pub(super) fn transfer_batch(
        &mut self,
        paths: &PathSet,
        observed: &ObservedChanges,
        renames: &[Rename],
    ) -> Result<(), Outcome> {
        let mut paths = Cow::Borrowed(paths);
        let new_names = self.apply_renames(&mut paths, renames)?;
        let evidence = ChangeEvidence { observed, renames, renamed: &new_names };
        let mut found = self.survey(&paths, observed);
        if found.root == Some(Scope::Tree) {
            self.set_full();
            self.transfer_observed(evidence)?;
            return self.compare_all(TransferPhase::Running, evidence);
        }
        if !found.trees.is_empty() {
            let inner = observed_within_trees(&paths, observed);
            if !inner.is_empty() {
                found.append(self.survey(&inner, observed));
            }
        }
        self.transfer(found, evidence)
    }

    /// Transfers one file, whatever its size.
    pub(super) fn transfer_file(
        &mut self,
        path: &TreePath,
        observed: &ObservedChanges,
    ) -> Result<(), Outcome> {
        self.includes_large = true;
        self.transfer_batch(&PathSet::entry(path), observed, &[])
    }

    /// Makes the renames at the target, and adds the paths that must be compared because of them.
    /// Returns the names that are correct on the target now.
    fn apply_renames(
        &self,
        paths: &mut Cow<'_, PathSet>,
        renames: &[Rename],
    ) -> Result<Vec<TreePath>, Outcome> {
        let Some(shell) = self.executor.renames.as_ref().filter(|_| !renames.is_empty()) else {
            return Ok(Vec::new());
        };
        let (created, names) = shell.apply(self.root, renames, &self.executor.log, self.cancel)?;
        for DirtyPath { path, scope } in created {
            paths.to_mut().insert(&path, scope);
        }
        Ok(names)
    }

    /// Transfers the surveyed paths.
    fn transfer(&mut self, found: Survey, evidence: ChangeEvidence<'_>) -> Result<(), Outcome> {
        let mut found = self.drop_unsupported_paths(found);
        let in_trees = self.linked_in_trees(&found);
        let entries = self.other_names(&found, &in_trees);
        if !entries.is_empty() {
            found.append(Survey { entries, ..Survey::default() });
        }
        self.track_link_groups(found.entries.iter().chain(&in_trees));
        let large = self.take_large(&mut found.entries);
        self.log_survey(&found);
        self.add_emptied(&mut found);
        self.drop_protected(&mut found);
        let deletes = self.executor.plan.options.delete.applies(TransferPhase::Running);
        let mut groups = TransferGroups::new(&found, evidence, self.target(), deletes);
        groups.group_hardlinks(&found.entries, &in_trees);
        self.delete_other_cases(&mut groups, &found, evidence)?;
        let mut last = if self.target_ignores_case { None } else { groups.take_last() };
        let failed = self.failed.len();
        let (compared, links) = self.merge_comparisons(&mut groups, &large);
        self.transfer_changes(&mut groups, &links, evidence)?;
        self.transfer_compared(&groups, &compared)?;
        self.delete_unwanted(&groups)?;
        for SurveyedEntry { path, .. } in &large {
            self.transfer_large(path, evidence)?;
        }
        // A deletion may make the room that something of the batch lacked.
        if self.failed.len() > failed {
            self.delete_last(last.take(), evidence)?;
        }
        self.transfer_links(&groups.replacing_links, evidence)?;
        self.delete_last(last, evidence)?;
        self.rejoin_split_links()?;
        let entries = found.entries.iter().chain(&large).map(|entry| &entry.path);
        let gone = found.gone.iter().filter(|_| deletes);
        self.update_root(found.root, &mut entries.chain(&found.trees).chain(gone))
    }

    /// Merges comparisons into the call of the changes where that costs nothing. Returns the
    /// entries that remain to be compared, and the links that need not wait.
    fn merge_comparisons(
        &self,
        groups: &mut TransferGroups,
        large: &[SurveyedEntry],
    ) -> (Vec<TreePath>, Vec<TreePath>) {
        let links = if groups.has_only_links() && large.is_empty() {
            std::mem::take(&mut groups.replacing_links)
        } else {
            Vec::new()
        };
        let mut apart = std::mem::take(&mut groups.compared);
        let has_trees = !groups.written_trees.is_empty() || !groups.guarded_trees.is_empty();
        // With filter rules, the list of a directory does not include its entries.
        if has_trees && self.executor.plan.options.form == ListForm::FilesFrom {
            apart.append(&mut groups.directories);
        }
        (apart, links)
    }

    /// Transfers new content and makes the observed deletions, in one call if possible.
    pub(super) fn transfer_changes(
        &mut self,
        groups: &mut TransferGroups,
        links: &[TreePath],
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        let deletes = self.executor.plan.options.delete.applies(TransferPhase::Running);
        let mut entries = std::mem::take(&mut groups.written);
        let mut trees = std::mem::take(&mut groups.written_trees);
        let has_new_content = !entries.is_empty() || !trees.is_empty();
        let quick_check =
            if has_new_content { QuickCheck::Never } else { self.executor.quick_check() };
        entries.extend(links.iter().cloned());
        entries.append(&mut groups.directories);
        if deletes && self.executor.plan.options.form == ListForm::Filter {
            // See `replacing`.
            trees.extend(entries.extract_if(.., |path| evidence.is_deleted(path)));
        }
        let old_names = self.take_renamed(&mut groups.deleted, evidence);
        let listed = self.deletable_by_list(&groups.deleted, self.observed_terms())?;
        let observed_deletions = deletes
            && (!listed.is_empty()
                || entries.iter().chain(&trees).any(|path| evidence.is_deleted(path)));
        let guarded_trees = &*groups.guarded_trees;
        if !observed_deletions && !guarded_trees.is_empty() {
            trees.extend(guarded_trees.iter().cloned());
            let parts =
                TransferPaths { entries: &entries, trees: &trees, ..TransferPaths::default() };
            self.call_guarded(&parts, QuickCheck::Never)?;
            return self.delete_renamed(&old_names);
        }
        let blocked = if observed_deletions {
            let holds = self.executor.state.holds_deletions.is_set();
            TransferGroups::take_blocked(&mut entries, evidence, self.target(), holds)
        } else {
            Vec::new()
        };
        let parts =
            TransferPaths { entries: &entries, trees: &trees, missing: &listed, hidden: &[] };
        self.call_observed(&parts, quick_check, observed_deletions)?;
        self.transfer_recreated(&listed, evidence)?;
        self.delete_renamed(&old_names)?;
        self.call_guarded(&self.replacing(&blocked), quick_check)?;
        self.call_guarded(
            &TransferPaths { trees: guarded_trees, ..TransferPaths::default() },
            QuickCheck::Never,
        )
    }

    /// Transfers paths that were observed as deleted and have been recreated since the survey:
    /// rsync found them in the source and deleted nothing, and the events of the new ones do not
    /// report the deletion of the old ones.
    fn transfer_recreated(
        &mut self,
        deleted: &[TreePath],
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        if deleted.is_empty() {
            return Ok(());
        }
        // Another name may lead to an entry by now, and rsync has transferred it under this one.
        let (found, _) = self.split_found(deleted);
        self.delete_paths(&found, self.observed_terms())?;
        let dirty = |path: &TreePath| DirtyPath { path: path.clone(), scope: Scope::Tree };
        let paths = deleted.iter().map(dirty).collect();
        let found = self.survey(&paths, evidence.observed);
        let mut entries: Vec<TreePath> =
            found.entries.into_iter().map(|entry| entry.path).collect();
        let mut trees = found.trees;
        if self.executor.plan.options.form == ListForm::Filter {
            // See `replacing`.
            trees.append(&mut entries);
        }
        let parts = TransferPaths { entries: &entries, trees: &trees, ..TransferPaths::default() };
        self.call_observed(&parts, QuickCheck::Never, true)
    }

    /// Makes a call, with the observed deletions if that is asked for. Entries blocked by a
    /// directory that may not be deleted are transferred by a second call, whose deletions are
    /// counted.
    fn call_observed(
        &mut self,
        parts: &TransferPaths<'_>,
        quick_check: QuickCheck,
        observed_deletions: bool,
    ) -> Result<(), Outcome> {
        if is_empty(parts) {
            return Ok(());
        }
        self.link_groups.note_call(parts.entries, parts.trees);
        let plan = &self.executor.plan;
        let may_shorten = !observed_deletions && plan.options.may_list_directories();
        // Without a list, a daemon would create a target that is missing.
        let keeps_list = plan.target().local().is_none();
        let shortened =
            may_shorten.then(|| ShortenedList::new(self.root, parts, keeps_list)).flatten();
        let build_listed = self.executor.call_builder(parts, quick_check);
        let build_call = |deletions, hidden: &[TreePath]| match &shortened {
            Some(short) if deletions == Deletions::Withheld && hidden.is_empty() => {
                plan.partial(&short.paths(), deletions, quick_check)
            }
            _ => build_listed(deletions, hidden),
        };
        let transfer = GuardedTransfer {
            call_paths: CallPaths::of_transfer(parts),
            build_call: &build_call,
            deletes: observed_deletions,
            terms: self.observed_terms(),
        };
        if observed_deletions || !self.executor.plan.options.delete.applies(TransferPhase::Running)
        {
            return self.run_guarded(&transfer);
        }
        let blocked = self.run_without_deletions(&transfer)?;
        let blocked: Vec<TreePath> = blocked.into_iter().collect();
        self.call_guarded(&self.replacing(&blocked), quick_check)
    }

    /// Lists entries that may replace directories of the target, for a call that deletes. With
    /// filter rules, paths that no rule names are protected, also in such a directory.
    fn replacing<'a>(&self, entries: &'a [TreePath]) -> TransferPaths<'a> {
        match self.executor.plan.options.form {
            ListForm::FilesFrom => TransferPaths { entries, ..TransferPaths::default() },
            ListForm::Filter => TransferPaths { trees: entries, ..TransferPaths::default() },
        }
    }

    /// Makes a call whose deletions are counted first.
    fn call_guarded(
        &mut self,
        parts: &TransferPaths<'_>,
        quick_check: QuickCheck,
    ) -> Result<(), Outcome> {
        if is_empty(parts) {
            return Ok(());
        }
        self.link_groups.note_call(parts.entries, parts.trees);
        let build_call = self.executor.call_builder(parts, quick_check);
        self.run_guarded(&GuardedTransfer {
            call_paths: CallPaths::of_transfer(parts),
            build_call: &build_call,
            deletes: self.executor.plan.options.delete.applies(TransferPhase::Running),
            terms: self.unobserved_terms(),
        })
    }

    /// Transfers the paths that are only compared.
    pub(super) fn transfer_compared(
        &mut self,
        groups: &TransferGroups,
        compared: &[TreePath],
    ) -> Result<(), Outcome> {
        let quick_check = self.executor.quick_check();
        self.call_observed(
            &TransferPaths { entries: compared, ..TransferPaths::default() },
            quick_check,
            false,
        )?;
        let missing = self.deletable_by_list(&groups.missing, self.unobserved_terms())?;
        let (trees, deleted) = (&*groups.compared_trees, &*missing);
        self.call_guarded(
            &TransferPaths { trees, missing: deleted, ..TransferPaths::default() },
            quick_check,
        )
    }

    /// Transfers links that replace something else.
    fn transfer_links(
        &mut self,
        links: &[TreePath],
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        let quick_check = self.executor.quick_check();
        // A link that was switched since the survey can point to something outside of this batch.
        let (switched, links): (Vec<_>, Vec<_>) =
            links.iter().cloned().partition(|path| changed_since(self.root, path, self.started));
        self.failed.extend(switched.into_iter().map(|path| {
            let why = format!("{path} was repointed during the transfer of its batch");
            (DirtyPath { path, scope: Scope::Entry }, Failure::new(why))
        }));
        let (replaced, others): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|path| evidence.is_deleted(path));
        let deletes = self.executor.plan.options.delete.applies(TransferPhase::Running);
        self.call_observed(
            &TransferPaths { entries: &others, ..TransferPaths::default() },
            quick_check,
            false,
        )?;
        let replaced = if deletes {
            self.replacing(&replaced)
        } else {
            TransferPaths { entries: &replaced, ..TransferPaths::default() }
        };
        self.call_observed(&replaced, quick_check, deletes)
    }

    /// Transfers one file, whatever its size.
    fn transfer_large(
        &mut self,
        path: &TreePath,
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        let entries = [path.clone()];
        self.log_paths(&mut entries.iter());
        let quick_check =
            if evidence.is_written(path) { QuickCheck::Never } else { self.executor.quick_check() };
        self.call_observed(
            &TransferPaths { entries: &entries, ..TransferPaths::default() },
            quick_check,
            false,
        )
    }

    /// Updates the attributes of the root, if they were marked and no other call has transferred
    /// them.
    fn update_root(
        &mut self,
        root: Option<Scope>,
        paths: &mut dyn Iterator<Item = &TreePath>,
    ) -> Result<(), Outcome> {
        let plan = &self.executor.plan;
        if root.is_none() || plan.options.transfers_root(paths) {
            return Ok(());
        }
        self.call_without_deletions(&plan.root_attributes(), CallPaths::root(Scope::Entry))
    }

    /// Takes out the files that are too large for a shared call.
    fn take_large(&mut self, entries: &mut Vec<SurveyedEntry>) -> Vec<SurveyedEntry> {
        let Some(limit) = self.executor.batch_size_limit.filter(|_| !self.includes_large) else {
            return Vec::new();
        };
        let is_large =
            |entry: &mut SurveyedEntry| entry.entry_type == EntryType::File && entry.size > limit;
        let large: Vec<SurveyedEntry> = entries.extract_if(.., is_large).collect();
        if self.executor.separate_large_files {
            self.large_files.extend(large.into_iter().map(|entry| entry.path));
            return Vec::new();
        }
        large
    }

    /// Takes out the paths that are too long for rsync, and records them as failed.
    fn drop_unsupported_paths(&mut self, mut found: Survey) -> Survey {
        self.failed.append(&mut found.unreadable);
        let source = self.executor.plan.source().len();
        let failed = &mut self.failed;
        let mut fits = |path: &TreePath, scope| {
            let fits = source + path.as_bytes().len() < PATH_MAX;
            if !fits {
                let why = format!(
                    "cannot mirror {path}: the path is too long for rsync: shorten it, or use \
                     default.direct for a local target"
                );
                failed.push((DirtyPath { path: path.clone(), scope }, Failure::new(why)));
            }
            fits
        };
        found.entries.retain(|entry| fits(&entry.path, Scope::Entry));
        found.gone.retain(|path| fits(path, Scope::Entry));
        found.unwanted.retain(|(path, _)| fits(path, Scope::Entry));
        found.trees.retain(|path| fits(path, Scope::Tree));
        found
    }
}

/// Returns the observed changes within the trees among `places`. A tree is only compared, and a
/// comparison does not find a change that keeps size and time.
fn observed_within_trees(paths: &PathSet, observed: &ObservedChanges) -> PathSet {
    let is_within = |dirty: &DirtyPath| {
        let parent = dirty.path.parent();
        parent.is_some_and(|parent| paths.covers(&parent, Scope::Tree))
    };
    // A tree that is transferred with new content, or is missing, needs no details.
    let is_relevant = |dirty: &DirtyPath| {
        let parent = dirty.path.parent();
        !parent.is_some_and(|parent| {
            observed.written.covers(&parent, Scope::Tree) && !observed.is_deleted(&dirty.path)
        })
    };
    let sets = [&observed.written, &observed.renamed_to, &observed.deleted];
    sets.into_iter().flatten().filter(|dirty| is_within(dirty) && is_relevant(dirty)).collect()
}

const fn is_empty(parts: &TransferPaths<'_>) -> bool {
    parts.entries.is_empty() && parts.trees.is_empty() && parts.missing.is_empty()
}
