//! Calls with deletions: unobserved deletions are counted first and held if they exceed the budget.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    guard::{DeletionTerms, MaxDelete},
    job::{DirtyPath, HeldDeletions, HoldReason, Outcome, Scope},
    path::{Escaped, TreePath},
    plan::{
        options::TransferPhase,
        rsync::{Deletions, QuickCheck, RsyncCall, TransferPaths, UnwantedKind},
    },
};

use super::{
    RsyncExecutor,
    call_paths::CallPaths,
    call_report::{CallReport, ListedDeletions, RemoteRefusal},
    run::RsyncRun,
};
use crate::{exec::process::end::ProcessExit, report::Category};

/// Longest path hidden by a rule of its own. A longer one is hidden with its directory.
const MAX_HIDDEN_LEN: usize = 1000;

/// Limit on hidden paths; each takes two arguments.
const MAX_HIDDEN: usize = 2000;

/// Limit on the bytes of hidden paths: a command line takes 2 MB by default, including the
/// environment.
const MAX_HIDDEN_BYTES: usize = 256 * 1024;

/// `RERR_FILEIO` of rsync: it could not write a file, and exits at once.
const EXIT_FILE_IO: i32 = 11;

/// `RERR_UNSUPPORTED` of rsync. With a path: the receiver cannot convert that name, and ends. For a
/// directory it can end with `RERR_PROTOCOL` as well.
const EXIT_UNSUPPORTED: i32 = 4;

/// The most names that are hidden, one more by each call, because the receiver cannot convert them.
const MAX_HIDDEN_NAMES: usize = 100;

/// `RERR_PROTOCOL` of rsync. Version 3.5.0 returns it, among others, if a directory blocks a file
/// with several names: with `-H` it loses count of the names, if it exits at all.
const EXIT_PROTOCOL: i32 = 2;

/// Limit on held deletions that are listed by path.
const MAX_HELD_PATHS: usize = 1000;

/// Limit on repetitions of a call without the files that it could not write.
const MAX_HIDING_RETRIES: usize = 16;

/// Terms for old names that have their new names on the target: that is no deletion.
pub(super) const RENAMED: DeletionTerms = DeletionTerms::observed(MaxDelete::Unlimited);

/// A transfer with deletions, made by several calls of one form.
#[derive(Clone, Copy)]
pub(super) struct GuardedTransfer<'s> {
    pub(super) call_paths: CallPaths<'s>,
    /// Builds the call for a deletion mode; the given paths are hidden from rsync.
    pub(super) build_call: &'s dyn Fn(Deletions, &[TreePath]) -> RsyncCall,
    /// True if the transfer deletes anything.
    pub(super) deletes: bool,
    /// Terms of its deletions. They differ between unobserved and observed ones.
    pub(super) terms: DeletionTerms,
}

impl RsyncExecutor {
    /// Returns a builder of calls for these paths.
    pub(super) fn call_builder<'p>(
        &'p self,
        parts: &'p TransferPaths<'p>,
        quick_check: QuickCheck,
    ) -> impl Fn(Deletions, &[TreePath]) -> RsyncCall + 'p {
        move |deletions, hidden| {
            if hidden.is_empty() {
                return self.plan.partial(parts, deletions, quick_check);
            }
            let known: BTreeSet<&TreePath> = hidden.iter().collect();
            let left = |paths: &[TreePath]| -> Vec<TreePath> {
                paths.iter().filter(|path| !known.contains(path)).cloned().collect()
            };
            let (entries, trees, missing) =
                (left(parts.entries), left(parts.trees), left(parts.missing));
            let in_trees: Vec<TreePath> = hidden
                .iter()
                .filter(|path| trees.iter().any(|tree| tree.contains(path)))
                .cloned()
                .collect();
            let (entries, trees, missing) = (&*entries, &*trees, &*missing);
            let parts = TransferPaths { entries, trees, missing, hidden: &in_trees };
            self.plan.partial(&parts, deletions, quick_check)
        }
    }
}

impl RsyncRun<'_> {
    /// Makes calls that transfer everything, and delete within the budget.
    ///
    /// The first call deletes nothing and counts. If there are deletions, and the budget allows
    /// them, a second call deletes that number.
    pub(super) fn run_guarded(&mut self, transfer: &GuardedTransfer<'_>) -> Result<(), Outcome> {
        if !transfer.deletes {
            return self.run_unguarded(transfer, Deletions::Withheld);
        }
        let transfer = &self.with_empty_source_held(transfer);
        if transfer.terms.is_unlimited() {
            return self.run_unguarded(transfer, Deletions::Allowed);
        }
        if self.executor.state.capabilities.lacks_max_delete.is_set() {
            return self.run_guarded_by_listing(transfer);
        }
        let report = self.run_calls(transfer, Deletions::AtMost(0))?;
        match report.refusal {
            Some(RemoteRefusal::DeleteMissingArgs) => return self.delete_by_rules(transfer),
            Some(RemoteRefusal::MaxDelete) => {
                self.executor.state.capabilities.lacks_max_delete.set(true);
                return self.run_guarded_by_listing(transfer);
            }
            _ => {}
        }
        // With `-H`, rsync tries some deletions twice.
        let is_unsure = report.is_incomplete
            || self.executor.plan.options.keeps_hard_links() && !report.blocked.is_empty();
        let listed = if is_unsure { Some(self.list_deletions(transfer)?) } else { None };
        // A directory that is to be replaced is not listed itself.
        let replaced = report.blocked.len() as u64;
        let count = match listed.as_ref().map(|listed| listed.deletions.count) {
            None => report.would_delete(),
            Some(0) => 0,
            Some(listed) => listed.saturating_add(replaced),
        };
        let total = self.target_entry_count(transfer, &report, count);
        if count == 0 {
            self.failed.extend(report.blocked_failures());
            self.clear_held(transfer);
            return Ok(());
        }
        if transfer.terms.allows(count, total) {
            return self.delete(transfer, count);
        }
        let total = self.recount_target(transfer, total)?;
        if transfer.terms.allows(count, total) {
            return self.delete(transfer, count);
        }
        match listed {
            Some(listed) => self.hold_listed(transfer, count, total, listed.deletions),
            None => self.hold(transfer, count, total)?,
        }
        Ok(())
    }

    /// Makes the counted number of deletions, and no more.
    fn delete(&mut self, transfer: &GuardedTransfer<'_>, count: u64) -> Result<(), Outcome> {
        let user_limit = self.executor.plan.options.max_delete();
        let most = user_limit.map_or(count, |most| most.min(count));
        let report = self.run_calls(transfer, Deletions::AtMost(most))?;
        if report.over_limit.is_some() && most < count {
            return self.hold_over_user_limit(transfer, &report);
        }
        if report.deleted_count.is_none() {
            self.executor.state.meter.add_deleted(most);
        }
        self.failed.extend(report.blocked_failures());
        if report.over_limit.is_some() {
            let failure = report.failure(None, "more entries are missing now than were counted");
            self.failed
                .extend(transfer.call_paths.dirty_paths().map(|dirty| (dirty, failure.clone())));
        }
        self.clear_held(transfer);
        Ok(())
    }

    /// Like [`run_guarded`](Self::run_guarded), for a remote side that refuses `--max-delete`: a
    /// dry run lists the deletions.
    fn run_guarded_by_listing(&mut self, transfer: &GuardedTransfer<'_>) -> Result<(), Outcome> {
        let listed = self.run_calls(transfer, Deletions::DryRun)?;
        let count = listed.deletions.count;
        let mut total = self.target_entry_count(transfer, &listed, count);
        if !transfer.terms.allows(count, total) {
            total = self.recount_target(transfer, total)?;
        }
        if transfer.terms.allows(count, total) {
            self.clear_held(transfer);
            return self.run_unguarded(transfer, Deletions::Allowed);
        }
        self.run_without_deletions(transfer)?;
        self.hold_listed(transfer, count, total, listed.deletions);
        Ok(())
    }

    /// Makes the calls without a limit of the daemon's own.
    fn run_unguarded(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        deletions: Deletions,
    ) -> Result<(), Outcome> {
        let report = self.run_calls(transfer, deletions)?;
        if report.refusal == Some(RemoteRefusal::DeleteMissingArgs) {
            return self.delete_by_rules(transfer);
        }
        if report.over_limit.is_some() {
            return self.hold_over_user_limit(transfer, &report);
        }
        self.failed.extend(report.blocked_failures());
        Ok(())
    }

    /// Makes the calls without deletions. Returns the paths that a directory blocks.
    pub(super) fn run_without_deletions(
        &mut self,
        transfer: &GuardedTransfer<'_>,
    ) -> Result<BTreeSet<TreePath>, Outcome> {
        let report = self.run_calls(transfer, Deletions::Withheld)?;
        Ok(report.blocked.into_keys().collect())
    }

    /// Returns the transfer with a budget of zero if the source is empty: nobody sees whether that
    /// is meant.
    fn with_empty_source_held<'a>(&self, transfer: &GuardedTransfer<'a>) -> GuardedTransfer<'a> {
        if transfer.terms.reason() == HoldReason::Observed || !self.is_source_empty() {
            return *transfer;
        }
        let terms = self.after_acceptance(DeletionTerms::EMPTY_SOURCE);
        GuardedTransfer { terms, ..*transfer }
    }

    /// Repeats a call until everything transferable is transferred.
    ///
    /// After a read error at the source rsync skips all deletions, and after a write error it
    /// exits. So the call is repeated without the paths that it could not read or write: those stay
    /// unchanged.
    fn run_calls(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        deletions: Deletions,
    ) -> Result<CallReport, Outcome> {
        let (mut hidden, mut retries, mut has_hidden_unreadable) = (BTreeSet::new(), 0, false);
        let mut blocked = BTreeMap::new();
        loop {
            let listed: Vec<TreePath> = hidden.iter().cloned().collect();
            let call = (transfer.build_call)(deletions, &listed);
            let (end, mut report) = self.call(&call, transfer.call_paths)?;
            report.is_incomplete = !blocked.is_empty();
            report.blocked.extend(blocked.clone());
            if report.refusal.is_some_and(RemoteRefusal::prevents_deletions) {
                return Ok(report);
            }
            if self.hide_failed(&end, &report, &mut hidden, retries)? {
                if retries == 0 && matches!(end, ProcessExit::Exited(EXIT_FILE_IO)) {
                    self.make_room(transfer, deletions)?;
                }
                retries += 1;
                continue;
            }
            if matches!(end, ProcessExit::Exited(EXIT_PROTOCOL) | ProcessExit::Deadlocked)
                && retries < MAX_HIDING_RETRIES
            {
                let before = hidden.len();
                hidden.extend(report.blocked.keys().cloned());
                if hidden.len() > before {
                    blocked = report.blocked;
                    retries += 1;
                    continue;
                }
            }
            self.record_exit(&end, &report, transfer.call_paths)?;
            if !call.deletes() || !report.may_have_skipped_deletions() {
                return Ok(report);
            }
            let unreadable = paths_to_hide(&report);
            if has_hidden_unreadable || unreadable.is_empty() {
                let failure = report.failure(None, "deletions may have been skipped");
                self.failed.extend(
                    transfer.call_paths.dirty_paths().map(|dirty| (dirty, failure.clone())),
                );
                return Ok(report);
            }
            has_hidden_unreadable = true;
            hidden.extend(unreadable);
        }
    }

    /// Hides the paths that a call could not write, or whose names the receiver could not convert,
    /// after which it has ended, and records their failure. Returns true if the call can be
    /// repeated without them.
    fn hide_failed(
        &mut self,
        end: &ProcessExit,
        report: &CallReport,
        hidden: &mut BTreeSet<TreePath>,
        retries: usize,
    ) -> Result<bool, Outcome> {
        let ProcessExit::Exited(code @ (EXIT_FILE_IO | EXIT_UNSUPPORTED | EXIT_PROTOCOL)) = *end
        else {
            return Ok(false);
        };
        let most = if code == EXIT_FILE_IO { MAX_HIDING_RETRIES } else { MAX_HIDDEN_NAMES };
        let before = hidden.len();
        hidden.extend(report.unwritable.iter().cloned());
        let has_more = hidden.len() > before && retries < most;
        if has_more {
            self.failed.extend(report.attributed_failures(Some(code)));
        } else if code != EXIT_FILE_IO && !report.unwritable.is_empty() {
            return Err(Outcome::Retry(report.failure(Some(code), "rsync failed")));
        }
        Ok(has_more)
    }

    /// Makes the permitted deletions before anything else is written to a full target.
    fn make_room(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        deletions: Deletions,
    ) -> Result<(), Outcome> {
        let only = match deletions {
            Deletions::Allowed => Deletions::WithoutTransfer(
                self.executor.plan.options.max_delete().unwrap_or(u64::MAX),
            ),
            Deletions::AtMost(0) => {
                let listed = self.list_deletions(transfer)?;
                let count = listed.deletions.count;
                let total = self.target_entry_count(transfer, &listed, count);
                if count == 0 || !transfer.terms.allows(count, total) {
                    return Ok(());
                }
                let user_limit = self.executor.plan.options.max_delete();
                Deletions::WithoutTransfer(user_limit.map_or(count, |most| most.min(count)))
            }
            Deletions::AtMost(_)
            | Deletions::WithoutTransfer(_)
            | Deletions::DryRun
            | Deletions::Withheld => {
                return Ok(());
            }
        };
        if self.executor.state.capabilities.lacks_max_delete.is_set() {
            return Ok(());
        }
        self.call(&(transfer.build_call)(only, &[]), transfer.call_paths).map(drop)
    }

    /// Returns the number of entries in the target: before the call, if it compared everything, and
    /// otherwise after the last such call, without those deleted by other jobs since. `count` of
    /// them are not in the source.
    fn target_entry_count(
        &self,
        transfer: &GuardedTransfer<'_>,
        report: &CallReport,
        count: u64,
    ) -> Option<u64> {
        if transfer.call_paths.root.is_none() {
            return self.entries_before;
        }
        if let Some(files) = report.source_entry_count() {
            self.executor.state.set_entry_count(files.saturating_add(count));
        }
        report.target_entry_count().map(|held| held.saturating_add(count))
    }

    /// Returns the number of entries in the target, counted again if `total` is too low for the
    /// budget and may be outdated.
    fn recount_target(
        &self,
        transfer: &GuardedTransfer<'_>,
        total: Option<u64>,
    ) -> Result<Option<u64>, Outcome> {
        let is_share = transfer.terms.needs_total();
        if transfer.call_paths.root.is_some() || !is_share {
            return Ok(total);
        }
        let call = self.executor.plan.full(
            TransferPhase::Running,
            Deletions::DryRun,
            QuickCheck::Seconds,
            &[],
        );
        let listed = self.call(&call, CallPaths::root(Scope::Tree))?.1;
        let held =
            listed.target_entry_count().map(|held| held.saturating_add(listed.deletions.count));
        held.inspect(|&held| self.executor.state.set_entry_count(held));
        // What the job has created makes the share of its deletions no smaller.
        Ok(held.map(|held| held.saturating_sub(self.created.get())).or(total))
    }

    /// Returns the report of a dry run, with the deletions.
    fn list_deletions(&self, transfer: &GuardedTransfer<'_>) -> Result<CallReport, Outcome> {
        Ok(self.call(&(transfer.build_call)(Deletions::DryRun, &[]), transfer.call_paths)?.1)
    }

    fn clear_held(&self, transfer: &GuardedTransfer<'_>) {
        if transfer.call_paths.root.is_some() {
            self.executor.state.holds_deletions.set(false);
        }
    }

    fn hold(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        count: u64,
        total: Option<u64>,
    ) -> Result<(), Outcome> {
        let listed = self.list_deletions(transfer)?;
        self.hold_listed(transfer, count, total, listed.deletions);
        Ok(())
    }

    /// Holds the deletions beyond the user's own `--max-delete`. Another call for the rest would
    /// bypass that limit.
    fn hold_over_user_limit(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        report: &CallReport,
    ) -> Result<(), Outcome> {
        let count = report.would_delete();
        let target = Escaped(self.executor.plan.target().as_arg());
        let bound = self.executor.plan.options.max_delete().unwrap_or_default();
        let message = format!(
            "{count} deletions at {target} skipped: rsync is called with --max-delete={bound}; \
             raise that limit to make them"
        );
        self.executor.log.say(Category::Warn, message);
        self.hold(transfer, count, None)
    }

    fn hold_listed(
        &mut self,
        transfer: &GuardedTransfer<'_>,
        count: u64,
        total: Option<u64>,
        listed: ListedDeletions,
    ) {
        // Those beyond the user's own limit exceed no budget.
        let reason =
            transfer.terms.reason_to_hold(count, total).unwrap_or_else(|| transfer.terms.reason());
        self.executor.state.holds_deletions.set(true);
        self.executor.state.observed_holds.note(reason);
        let ListedDeletions { names, call_paths, .. } = listed;
        let mut paths: Vec<DirtyPath> = call_paths.into_iter().collect();
        if paths.is_empty() {
            paths.extend(transfer.call_paths.dirty_paths());
        }
        if paths.len() > MAX_HELD_PATHS {
            paths = vec![DirtyPath::root_tree()];
        }
        if transfer.call_paths.root.is_some() {
            // All others are among them.
            self.held.clear();
        }
        self.held.push(HeldDeletions { paths, count, total, names, reason });
    }

    /// Makes the deletions by rules where a list is not supported, and transfers the rest.
    fn delete_by_rules(&mut self, transfer: &GuardedTransfer<'_>) -> Result<(), Outcome> {
        self.warn_no_delete_missing_args();
        let CallPaths { entries, trees, missing, .. } = transfer.call_paths;
        let names: Vec<_> = missing.iter().map(|path| (path.clone(), UnwantedKind::Any)).collect();
        self.delete_paths(&names, transfer.terms)?;
        if entries.is_empty() && trees.is_empty() {
            return Ok(());
        }
        let build_call = |deletions, hidden: &[TreePath]| {
            let hidden: Vec<TreePath> = hidden.iter().chain(missing).cloned().collect();
            (transfer.build_call)(deletions, &hidden)
        };
        let call_paths = CallPaths { missing: &[], ..transfer.call_paths };
        self.run_guarded(&GuardedTransfer { call_paths, build_call: &build_call, ..*transfer })
    }
}

/// Returns the paths that must be hidden from rsync so that it makes the other deletions. Empty if
/// the root is among them, or if they do not fit into a command line.
fn paths_to_hide(report: &CallReport) -> BTreeSet<TreePath> {
    let shortened = report.unreadable.iter().cloned().map(|mut path| {
        while path.as_bytes().len() > MAX_HIDDEN_LEN {
            path.pop();
        }
        path
    });
    let hidden: BTreeSet<TreePath> = shortened.collect();
    let length: usize = hidden.iter().map(|path| path.as_bytes().len()).sum();
    if hidden.iter().any(TreePath::is_root)
        || hidden.len() > MAX_HIDDEN
        || length > MAX_HIDDEN_BYTES
    {
        return BTreeSet::new();
    }
    hidden
}
