//! Deletions that cannot be requested by a list of paths.

use std::iter;

use mirror_core::{
    guard::{DeletionTerms, MaxDelete},
    job::{Outcome, Scope},
    path::{Escaped, TreePath},
    plan::{
        options::TransferPhase,
        rsync::{QuickCheck, TransferPaths, UnwantedKind},
    },
};

use super::{
    call_paths::CallPaths,
    deletion_guard::{GuardedTransfer, RENAMED},
    run::RsyncRun,
    transfer_groups::{ChangeEvidence, TransferGroups},
};
use crate::{
    exec::{
        lookup::has_lost_new_name,
        spelling::differs_in_case,
        survey::{MirroredKinds, Survey},
    },
    report::Category,
};

impl RsyncRun<'_> {
    /// Returns the terms for deletions that the watcher reported.
    pub(super) fn observed_terms(&self) -> DeletionTerms {
        self.after_acceptance(DeletionTerms::observed(self.executor.max_delete_seen))
    }

    /// Returns the terms for deletions that nobody saw happen.
    pub(super) fn unobserved_terms(&self) -> DeletionTerms {
        let state = &self.executor.state;
        let may_be_older = self.is_full() || self.observed.retries_startup();
        let delete = self.executor.plan.options.delete;
        let budget = delete.unobserved_budget(may_be_older, self.executor.max_delete);
        let budget = state.target_identity.budget(budget);
        let terms = state.observed_holds.terms(budget, self.executor.max_delete_seen);
        self.after_acceptance(terms)
    }

    /// Returns true if the source lists no entries. Then only observed deletions may be made.
    pub(super) fn is_source_empty(&self) -> bool {
        // rsync cannot read an unreadable root either, and then deletes nothing.
        let is_empty_source = self.mirrored_kinds().finds_nothing(self.root).unwrap_or(false);
        let was_warned = self.executor.state.warned_empty.set(is_empty_source);
        if is_empty_source && !was_warned {
            let source = Escaped(self.executor.plan.source());
            let message = format!("the source {source} is empty: nothing is deleted on the target");
            self.executor.log.say(Category::Warn, message);
        }
        is_empty_source
    }

    fn mirrored_kinds(&self) -> MirroredKinds<'_> {
        let options = &self.executor.plan.options;
        MirroredKinds {
            filter: &self.executor.filter,
            links: options.keeps_links(),
            prunes_empty_dirs: options.prunes_empty_dirs(),
            stays_on_file_system: options.stays_on_file_system(),
            sizes: options.sizes(),
        }
    }

    /// Adds the directories in which nothing is left to transfer, for a user who wants no empty
    /// ones: a list of deleted entries does not tell rsync of them.
    pub(super) fn add_emptied(&self, found: &mut Survey) {
        if !self.executor.plan.options.prunes_empty_dirs() {
            return;
        }
        let kinds = self.mirrored_kinds();
        let is_emptied = |path: &TreePath| {
            let dir = (!path.is_root()).then(|| self.root.open_below(path.as_bytes()).ok());
            dir.flatten().is_some_and(|dir| kinds.finds_nothing_in(&dir, path).unwrap_or(false))
        };
        let topmost = |path: &TreePath| {
            let above = iter::successors(path.parent(), TreePath::parent);
            above.take_while(|path| is_emptied(path)).last()
        };
        let emptied: Vec<_> = found.gone.iter().filter_map(topmost).collect();
        let unwanted = emptied.into_iter().map(|path| (path, UnwantedKind::Directory));
        found.append(Survey { unwanted: unwanted.collect(), ..Survey::default() });
    }

    /// Deletes files under names whose type on the target is unwanted.
    pub(super) fn delete_unwanted(&mut self, groups: &TransferGroups) -> Result<(), Outcome> {
        self.delete_paths(&groups.unwanted, self.observed_terms())?;
        self.delete_paths(&groups.unwanted_unobserved, self.unobserved_terms())
    }

    /// Makes the deletions that follow the links of a batch.
    pub(super) fn delete_last(
        &mut self,
        last: Option<TransferGroups>,
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        let Some(mut last) = last else { return Ok(()) };
        self.transfer_changes(&mut last, &[], evidence)?;
        self.transfer_compared(&last, &[])
    }

    pub(super) fn delete_paths(
        &mut self,
        names: &[(TreePath, UnwantedKind)],
        terms: DeletionTerms,
    ) -> Result<(), Outcome> {
        if names.is_empty() {
            return Ok(());
        }
        let plan = &self.executor.plan;
        if plan.target().is_module() && !self.is_full() {
            // A removal, which has no list, would create a missing target.
            self.call_without_deletions(&plan.root_attributes(), CallPaths::root(Scope::Entry))?;
        }
        let missing: Vec<TreePath> = names.iter().map(|(path, _)| path.clone()).collect();
        let build_call = |deletions, hidden: &[TreePath]| {
            let names: Vec<_> =
                names.iter().filter(|(path, _)| !hidden.contains(path)).cloned().collect();
            plan.removal(&names, deletions)
        };
        let call_paths = CallPaths { missing: &missing, ..CallPaths::default() };
        self.run_guarded(&GuardedTransfer {
            call_paths,
            build_call: &build_call,
            deletes: true,
            terms,
        })
    }

    /// Takes out the old names of renamed files if observed deletions have a budget: a rename is
    /// not a deletion, but the count of a call does not distinguish them.
    pub(super) fn take_renamed(
        &self,
        missing: &mut Vec<TreePath>,
        evidence: ChangeEvidence<'_>,
    ) -> Vec<TreePath> {
        if self.executor.max_delete_seen == MaxDelete::Unlimited {
            return Vec::new();
        }
        let is_renamed = |path: &mut TreePath| {
            evidence.observed.renamed_from.covers(path, Scope::Entry)
                && !has_lost_new_name(self.root, evidence.renames, path)
        };
        missing.extract_if(.., is_renamed).collect()
    }

    /// Deletes the old names of files that have their new names on the target by now.
    pub(super) fn delete_renamed(&mut self, old_names: &[TreePath]) -> Result<(), Outcome> {
        let missing = self.deletable_by_list(old_names, RENAMED)?;
        if missing.is_empty() {
            return Ok(());
        }
        let parts = TransferPaths { missing: &missing, ..TransferPaths::default() };
        let build_call = self.executor.call_builder(&parts, QuickCheck::Never);
        let deletes = self.executor.plan.options.delete.applies(TransferPhase::Running);
        self.run_guarded(&GuardedTransfer {
            call_paths: CallPaths::of_transfer(&parts),
            build_call: &build_call,
            deletes,
            terms: RENAMED,
        })
    }

    /// Deletes the old names of what differs from them in case only, before the new names are
    /// transferred: a target that ignores case has one entry for both. What a local target does is
    /// known.
    pub(super) fn delete_other_cases(
        &mut self,
        groups: &mut TransferGroups,
        found: &Survey,
        evidence: ChangeEvidence<'_>,
    ) -> Result<(), Outcome> {
        if groups.deleted.is_empty() || self.target().is_some() {
            return Ok(());
        }
        let present = found.entries.iter().map(|entry| &entry.path).chain(&found.trees);
        let is_other_case = differs_in_case(present);
        let mut old: Vec<_> = groups.deleted.extract_if(.., |path| is_other_case(path)).collect();
        let renamed: Vec<_> =
            self.take_renamed(&mut old, evidence).into_iter().map(any_kind).collect();
        self.delete_paths(&renamed, RENAMED)?;
        let old: Vec<_> = old.into_iter().map(any_kind).collect();
        self.delete_paths(&old, self.observed_terms())
    }

    /// Returns the paths that can be deleted by a list, and deletes the others by rules.
    pub(super) fn deletable_by_list(
        &mut self,
        missing: &[TreePath],
        terms: DeletionTerms,
    ) -> Result<Vec<TreePath>, Outcome> {
        let no_list = self.executor.state.capabilities.lacks_delete_missing_args.is_set();
        let (by_rules, listed) = if no_list || self.target_ignores_case {
            // On a target that ignores case, a list would delete what has the other name.
            (missing.iter().cloned().map(any_kind).collect(), Vec::new())
        } else {
            self.split_found(missing)
        };
        self.delete_paths(&by_rules, terms)?;
        Ok(listed)
    }

    /// Splits off the missing paths that rsync would find in a source that ignores case, by another
    /// name of an entry.
    pub(super) fn split_found(
        &self,
        missing: &[TreePath],
    ) -> (Vec<(TreePath, UnwantedKind)>, Vec<TreePath>) {
        let (found, others): (Vec<_>, Vec<_>) =
            missing.iter().cloned().partition(|it| self.root.finds_by_other_name(it.as_bytes()));
        (found.into_iter().map(any_kind).collect(), others)
    }
}

/// Returns the path as one that must not exist on the target, whatever it is there.
pub(super) const fn any_kind(path: TreePath) -> (TreePath, UnwantedKind) {
    (path, UnwantedKind::Any)
}
