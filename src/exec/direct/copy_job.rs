//! Running copy job: state that its threads share.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mirror_core::{
    filter::Filter,
    fs_event::EntryKind,
    guard::DeletionTerms,
    job::{DirtyPath, Failure, HeldDeletions, Outcome, Rename, Scope, Work},
    path::TreePath,
    plan::{direct::DirectOptions, options::TransferPhase},
    queue::ObservedChanges,
};
use mirror_platform::{dir::Dir, stat::Stat};
use rustix::fs::FileType;

use super::{
    super::{
        inode::Inode, process::cancel::CancelToken, source_root::DirKey, spelling::SharedNames,
        survey::MirroredKinds,
    },
    DirectExecutor,
    applied_renames::AppliedRenames,
    capabilities::TargetCapabilities,
    deletions::{CountedDeletions, DeletionClass},
    error::EntryError,
    hardlink_search::HardlinkSearch,
    options, path_text,
    tally::{Tally, count_entries},
    timestamps::TimestampGranularity,
    warnings::WarningTopic,
};
use crate::{
    exec::{hardlink_walk::HardlinkWalk, lock},
    report::Category,
};

/// The most paths by which failures are reported, then parent directories; then it is the root.
const MAX_REPORTED_PATHS: usize = 1000;

/// Running copy job.
#[derive(Debug)]
pub(super) struct CopyJob<'a> {
    /// Executor that runs the job.
    pub(super) executor: &'a DirectExecutor,
    /// Root of the source, after its identity was checked.
    pub(super) source: Dir,
    /// Root of the target.
    pub(super) target: Dir,
    /// Changes that watch events reported for the paths of the job.
    pub(super) observed: &'a ObservedChanges,
    /// Renames in the source that led to the work, in their order.
    pub(super) renames: &'a [Rename],
    /// True if extraneous entries are deleted.
    pub(super) delete: bool,
    /// True if anything is, or was, mounted inside the source.
    has_mounts: bool,
    /// Search for the names of files with hard links.
    hardlink_search: HardlinkSearch,
    /// Deletions that no event reported.
    pub(super) unobserved_deletions: CountedDeletions,
    /// Deletions that an event reported, if there is a budget for them.
    pub(super) observed_deletions: CountedDeletions,
    /// Deletions beyond the user's `max-delete`.
    pub(super) over_quota: CountedDeletions,
    /// Rename hints that were applied at the target.
    pub(super) applied_renames: AppliedRenames,
    /// Entries that the target cannot have, because it ignores case.
    pub(super) shared_names: SharedNames,
    /// Number of processed entries.
    pub(super) tally: Tally,
    /// Links that are processed at the end.
    pub(super) deferred: DeferredPaths,
    /// Observed deletions that follow these links.
    pub(super) deferred_deletions: DeferredPaths,
    /// Directories whose permissions become wider, when everything in them has its own.
    pub(super) deferred_openings: DeferredPaths,
    source_device: (u32, u32),
    target_id: Option<DirKey>,
    is_source_empty: OnceLock<bool>,
    is_full: AtomicBool,
    cancel: &'a CancelToken,
    aborted: AtomicBool,
    outcome: Mutex<PartialOutcome>,
}

/// Paths that are processed after everything else.
#[derive(Debug, Default)]
pub(super) struct DeferredPaths {
    paths: Mutex<Vec<TreePath>>,
    is_closed: AtomicBool,
}

impl DeferredPaths {
    /// Maximum number of deferred paths.
    const MAX_PATHS: usize = 65_536;

    /// Defers the entry at `path`. Returns false if it has to be processed now.
    pub(super) fn defer(&self, path: &TreePath) -> bool {
        let mut paths = lock(&self.paths);
        let waits = !self.is_closed.load(Ordering::Relaxed) && paths.len() < Self::MAX_PATHS;
        if waits {
            paths.push(path.clone());
        }
        waits
    }

    /// Takes the deferred paths. From now on nothing is deferred.
    pub(super) fn take(&self) -> Vec<TreePath> {
        let mut paths = lock(&self.paths);
        self.is_closed.store(true, Ordering::Relaxed);
        std::mem::take(&mut *paths)
    }
}

/// Failures and held deletions of the job so far.
#[derive(Debug, Default)]
struct PartialOutcome {
    /// Failure of the whole target, which aborted the job.
    fatal: Option<Failure>,
    failed_paths: BTreeMap<DirtyPath, (Failure, FailureCause)>,
    held: Vec<HeldDeletions>,
}

/// Cause of a failed path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureCause {
    /// The target has no space for it.
    NoSpace,
    Other,
}

impl<'a> CopyJob<'a> {
    /// Creates a job for the open roots of source and target.
    pub(super) fn new(
        executor: &'a DirectExecutor,
        work: &'a Work,
        source: Dir,
        target: Dir,
        cancel: &'a CancelToken,
    ) -> Self {
        let delete = executor.settings.delete.applies(match work {
            Work::Full { .. } => TransferPhase::Startup,
            Work::Batch { .. } | Work::Large { .. } => TransferPhase::Running,
        });
        let renames = match work {
            Work::Batch { renames, .. } => &**renames,
            Work::Full { .. } | Work::Large { .. } => &[],
        };
        let target_id = target.stat(b"").ok().map(|stat| DirKey::of(&stat));
        let source_device = source.stat(b"").map(|stat| stat.device).unwrap_or_default();
        Self {
            executor,
            source,
            target,
            observed: work.observed(),
            renames,
            delete,
            has_mounts: executor.source.has_mounts(),
            hardlink_search: HardlinkSearch::default(),
            unobserved_deletions: CountedDeletions::default(),
            observed_deletions: CountedDeletions::default(),
            over_quota: CountedDeletions::default(),
            applied_renames: AppliedRenames::default(),
            shared_names: SharedNames::default(),
            tally: Tally::default(),
            deferred: DeferredPaths::default(),
            deferred_deletions: DeferredPaths::default(),
            deferred_openings: DeferredPaths::default(),
            source_device,
            target_id,
            is_source_empty: OnceLock::new(),
            is_full: AtomicBool::new(false),
            cancel,
            aborted: AtomicBool::new(false),
            outcome: Mutex::default(),
        }
    }

    /// Marks the job as one that covers the whole tree.
    pub(super) fn set_full(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    /// Returns true if the job covers the whole tree.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Returns false if the job was cancelled or aborted.
    pub(super) fn should_continue(&self) -> bool {
        !self.cancel.is_cancelled() && !self.aborted.load(Ordering::Relaxed)
    }

    /// Records the failure of a path. A failure of the target as a whole aborts the job.
    pub(super) fn record_failure(&self, dirty: DirtyPath, error: &EntryError) {
        if error.is_silent() {
            return;
        }
        let source = path_text(self.executor.source.path());
        let target = path_text(&self.executor.settings.target);
        let path = if dirty.path.is_root() { String::new() } else { dirty.path.to_string() };
        let failure = Failure::new(error.message(&source, &target, &path));
        let mut outcome = self.outcome();
        if error.remedy().is_some() {
            self.aborted.store(true, Ordering::Relaxed);
            outcome.fatal.get_or_insert(failure);
        } else {
            let cause =
                if error.is_out_of_space() { FailureCause::NoSpace } else { FailureCause::Other };
            outcome.add(dirty, failure, cause);
        }
    }

    /// Records deletions that exceed the budget.
    pub(super) fn hold_deletions(&self, held: Vec<HeldDeletions>) {
        for deletions in &held {
            self.executor.state.observed_holds.note(deletions.reason);
        }
        self.outcome().held.extend(held);
    }

    /// Returns true if the target had no space for something.
    pub(super) fn has_space_failures(&self) -> bool {
        self.outcome().failed_paths.values().any(|(_, cause)| *cause == FailureCause::NoSpace)
    }

    /// Takes the paths for which there was no space, to retry them now.
    pub(super) fn take_space_failures(&self) -> Vec<DirtyPath> {
        let mut outcome = self.outcome();
        let taken =
            outcome.failed_paths.extract_if(.., |_, (_, cause)| *cause == FailureCause::NoSpace);
        taken.map(|(dirty, _)| dirty).collect()
    }

    fn outcome(&self) -> MutexGuard<'_, PartialOutcome> {
        lock(&self.outcome)
    }

    /// Returns true if the entry is excluded because it is on a different file system than the root
    /// of the source.
    pub(super) fn is_on_other_device(&self, stat: &Stat) -> bool {
        self.options().one_file_system && stat.device != self.source_device
    }

    /// Returns true if the content may differ although size and time are equal.
    pub(super) fn is_written(&self, path: &TreePath) -> bool {
        self.observed.is_written(path, || self.applied_renames.contains(path))
    }

    /// Returns true if a directory is the target itself, which cannot be copied into itself.
    pub(super) fn is_target(&self, stat: &Stat) -> bool {
        self.target_id.is_some_and(|target| target == DirKey::of(stat))
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.executor.settings.filter
    }

    /// Returns the options given in rsync's syntax.
    pub(super) fn options(&self) -> &DirectOptions {
        &self.executor.settings.options
    }

    /// Returns the names that the source has for a file with several hard links now.
    pub(super) fn search_names(&self, inode: Inode) -> Vec<TreePath> {
        let walk = HardlinkWalk {
            root: &self.source,
            filter: self.filter(),
            should_continue: &|| self.should_continue(),
        };
        self.hardlink_search.names(walk, inode)
    }

    /// Returns true if the target entry at this path must not be deleted.
    pub(super) fn protects(&self, path: &TreePath, kind: EntryKind) -> bool {
        let has_directory = |path: &[u8]| {
            self.source.stat(path).is_ok_and(|stat| stat.file_type() == FileType::Directory)
        };
        options::is_backup(self.options(), path, kind)
            || self.filter().protects_below(path, kind, has_directory)
    }

    /// Returns true if an entry is kept although its ancestor `removed` is deleted.
    pub(super) fn protects_in_removed(
        &self,
        removed: &TreePath,
        path: &TreePath,
        kind: EntryKind,
    ) -> bool {
        options::is_backup(self.options(), path, kind)
            || self.filter().protects_in_removed(removed, path, kind)
            || self.is_unmounted(path)
    }

    /// Returns true if no entry below a removed directory can be protected.
    pub(super) fn protects_nothing(&self) -> bool {
        self.filter().is_empty() && self.options().backup.is_none() && !self.has_mounts
    }

    /// Takes the deletion of this entry from the `max-delete` quota. Returns false, and notes the
    /// entry, if the quota is used up.
    pub(super) fn take_deletion_quota(&self, path: &TreePath) -> bool {
        let Some(max) = self.options().max_delete else { return true };
        let may = self.tally.quota_used.fetch_add(1, Ordering::Relaxed) < max;
        if !may {
            let text = "the limit of max-delete is reached: the other deletions are skipped";
            self.warn_once(WarningTopic::MaxDelete, text);
            self.over_quota.add(path, 1);
        }
        may
    }

    /// Returns true if the path belongs to a file system that was mounted in the source and no
    /// longer is.
    pub(super) fn is_unmounted(&self, path: &TreePath) -> bool {
        self.has_mounts && self.executor.source.is_unmounted(&self.source, path)
    }

    /// Returns true if the path is the mount point of a file system that was mounted in the source
    /// and no longer is.
    pub(super) fn is_lost_mount_point(&self, path: &TreePath) -> bool {
        self.has_mounts && self.executor.source.is_lost_mount_point(&self.source, path)
    }

    /// Returns true if the root of the source lists nothing that is mirrored. The cause is more
    /// often an unmounted disk than an intended deletion (law 2).
    fn is_source_empty(&self) -> bool {
        let is_empty = *self.is_source_empty.get_or_init(|| self.find_source_empty());
        if is_empty {
            let text = "the source is empty: nothing is deleted on the target until it has entries";
            self.warn_once(WarningTopic::EmptySource, text);
        }
        is_empty
    }

    fn find_source_empty(&self) -> bool {
        // An unreadable source may contain anything: it counts as empty as well.
        let DirectOptions { links, one_file_system, min_size, max_size, .. } = self.options();
        let kinds = MirroredKinds {
            filter: self.filter(),
            links: *links,
            prunes_empty_dirs: false,
            stays_on_file_system: *one_file_system,
            sizes: min_size.unwrap_or_default()..=max_size.unwrap_or(u64::MAX),
        };
        let is_empty = kinds.finds_nothing(&self.source).unwrap_or(true);
        if !is_empty {
            self.executor.state.warnings.rearm(WarningTopic::EmptySource);
        }
        is_empty
    }

    /// Returns the number of target entries before the job. After a run that was killed it is not
    /// known, and they are counted if it `is_needed`.
    pub(super) fn target_entry_count(&self, is_needed: bool) -> Option<u64> {
        if self.is_full() {
            return Some(self.tally.before());
        }
        let state = &self.executor.state;
        state.entry_count().or_else(|| {
            let counted = is_needed.then(|| count_entries(&self.target))?;
            let before = self.tally.before_changes(counted.ok()?);
            state.set_entry_count(before);
            Some(before)
        })
    }

    /// Returns the terms for counted deletions.
    pub(super) fn terms(&self, class: DeletionClass) -> DeletionTerms {
        let observed = self.executor.settings.max_delete_seen;
        let terms = if class == DeletionClass::Observed {
            DeletionTerms::observed(observed)
        } else if self.is_source_empty() {
            DeletionTerms::EMPTY_SOURCE
        } else {
            let settings = &self.executor.settings;
            let may_be_older = self.is_full() || self.observed.retries_startup();
            let budget = settings.delete.unobserved_budget(may_be_older, settings.max_delete);
            let budget = self.executor.target_identity.budget(budget);
            self.executor.state.observed_holds.terms(budget, observed)
        };
        terms.accepting(self.observed.accepted)
    }

    /// Counts an entry that was removed from the target.
    pub(super) fn count_removed(&self) {
        self.tally.count_removed();
        self.executor.state.meter.add_deleted(1);
    }

    /// Counts entries whose deletion is held: the target still has them.
    pub(super) fn count_kept(&self, count: u64) {
        self.tally.kept.fetch_add(count, Ordering::Relaxed);
    }

    /// Stores the number of entries that the target has now.
    fn store_entry_count(&self) {
        let state = &self.executor.state;
        if self.is_full() {
            state.set_entry_count(self.tally.after());
        } else if let Some(before) = state.entry_count() {
            state.set_entry_count(self.tally.changed(before));
        }
    }

    pub(super) fn capabilities(&self) -> TargetCapabilities {
        self.executor.state.capabilities()
    }

    /// Returns the granularity for comparing times, widened by the user's window.
    pub(super) fn granularity(&self) -> TimestampGranularity {
        self.capabilities().granularity.with_window(self.executor.settings.modify_window)
    }

    /// Logs a warning, unless it was logged before in the life of the executor.
    pub(super) fn warn_once(&self, topic: WarningTopic, text: &str) {
        if self.executor.state.warnings.mark_given(topic) {
            let target = path_text(&self.executor.settings.target);
            self.executor.log.say(Category::Warn, format_args!("{target}: {text}"));
        }
    }

    /// Returns the outcome of the job.
    pub(super) fn into_outcome(self) -> Outcome {
        self.store_entry_count();
        let outcome = self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = outcome.fatal {
            return Outcome::Retry(failure);
        }
        if self.cancel.is_cancelled() {
            return Outcome::Retry(Failure::new("the job was stopped"));
        }
        let failed = outcome.failed_paths.into_iter();
        let failed: Vec<_> = failed.map(|(dirty, (failure, _))| (dirty, failure)).collect();
        match (failed.is_empty(), outcome.held.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partial(failed),
            (_, false) => Outcome::Split { large: Vec::new(), failed, held: outcome.held },
        }
    }
}

impl PartialOutcome {
    fn add(&mut self, dirty: DirtyPath, failure: Failure, cause: FailureCause) {
        let dirty = match (self.failed_paths.len(), dirty.path.parent()) {
            (0..MAX_REPORTED_PATHS, _) => dirty,
            (_, Some(path)) if self.failed_paths.len() < 2 * MAX_REPORTED_PATHS => {
                DirtyPath { path, scope: Scope::Tree }
            }
            _ => DirtyPath::root_tree(),
        };
        self.failed_paths.entry(dirty).or_insert((failure, cause));
    }
}
