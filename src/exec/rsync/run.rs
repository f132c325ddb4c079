//! State of a running job.

use std::{
    cell::{Cell, OnceCell},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use mirror_core::{
    guard::DeletionTerms,
    job::{DirtyPath, Failure, HeldDeletions, Outcome, Scope},
    path::{Escaped, TreePath},
    queue::{ObservedChanges, PathSet},
};
use mirror_platform::dir::Dir;

use super::{
    RsyncExecutor, call_paths::CallPaths, call_report::CallReport, link_groups::LinkGroups,
};
use crate::{
    exec::{
        direct::ignores_case,
        process::{cancel::CancelToken, end::ProcessExit},
        spelling::{CaseSides, SharedNames},
    },
    report::{Category, ShownProgress},
};

/// The exit codes of an rsync whose processes came to their end: success, vanished files, and the
/// limit of deletions.
const FINISHED: [i32; 3] = [0, 24, 25];

/// The exit code of an rsync that could not transfer some files: it may have been unable to remove
/// its temporary files as well, such as on a file system that has become read-only.
const PARTIAL: i32 = 23;

/// A running job.
pub(super) struct RsyncRun<'a> {
    pub(super) executor: &'a RsyncExecutor,
    pub(super) cancel: &'a CancelToken,
    pub(super) root: &'a Dir,
    pub(super) failed: Vec<(DirtyPath, Failure)>,
    /// The changes observed at the paths of the job.
    pub(super) observed: Arc<ObservedChanges>,
    /// Deletions that are held back.
    pub(super) held: Vec<HeldDeletions>,
    /// The hard-linked files of the job, and those whose names were split between calls.
    pub(super) link_groups: LinkGroups,
    /// Number of entries that the target had before the job, if known.
    pub(super) entries_before: Option<u64>,
    /// Number of entries that the calls of the job have created.
    pub(super) created: Cell<u64>,
    /// Files left to jobs of their own.
    pub(super) large_files: Vec<TreePath>,
    /// The job transfers the whole source, so that nothing is missing where the target has to be
    /// created.
    is_full: bool,
    /// Large files are transferred with the others.
    pub(super) includes_large: bool,
    /// Start of the job.
    pub(super) started: SystemTime,
    /// Lock of a local target, inherited by all processes of the job.
    pub(super) target_lock: Option<Arc<OwnedFd>>,
    /// Progress on the terminal.
    pub(super) progress: Option<ShownProgress>,
    /// The target directory, if it is on this machine.
    target: OnceCell<Option<Dir>>,
    /// True if the target is on this machine and ignores case.
    pub(super) target_ignores_case: bool,
    /// Entries that the target cannot have, because it ignores case.
    pub(super) shared_names: SharedNames,
}

impl<'a> RsyncRun<'a> {
    pub(super) fn new(executor: &'a RsyncExecutor, cancel: &'a CancelToken, root: &'a Dir) -> Self {
        let state = &executor.state;
        let lock = |path| state.target_lock.acquire(path, cancel, &executor.log);
        Self {
            executor,
            cancel,
            root,
            failed: Vec::new(),
            observed: Arc::default(),
            held: Vec::new(),
            link_groups: LinkGroups::default(),
            entries_before: state.entry_count(),
            created: Cell::new(0),
            large_files: Vec::new(),
            is_full: false,
            includes_large: false,
            started: SystemTime::now(),
            target_lock: state.target_identity.path().and_then(lock),
            progress: None,
            target: OnceCell::new(),
            target_ignores_case: false,
            shared_names: SharedNames::default(),
        }
    }

    /// Returns these terms after the operator's decision.
    pub(super) fn after_acceptance(&self, terms: DeletionTerms) -> DeletionTerms {
        terms.accepting(self.observed.accepted)
    }

    /// Returns true if the whole source was transferred.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Records that the whole source is transferred.
    pub(super) const fn set_full(&mut self) {
        self.is_full = true;
    }

    /// Returns true if the target equals the source in everything that the mirror covers.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_full && self.held.is_empty() && self.failed.is_empty()
    }

    /// Returns the outcome of a job whose calls were all made.
    pub(super) fn outcome(self) -> Outcome {
        let Self { failed, large_files: large, held, .. } = self;
        match (failed.is_empty(), large.is_empty() && held.is_empty()) {
            (true, true) => Outcome::Done,
            (false, true) => Outcome::Partial(failed),
            (_, false) => Outcome::Split { large, failed, held },
        }
    }

    /// Removes the temporary files that an earlier rsync has left on a local target. All of its
    /// processes have ended, since they held the lock of the target.
    pub(super) fn remove_abandoned(&self) {
        let Some(target) = self.target() else { return };
        for path in self.executor.state.abandoned.remove(self.root, target) {
            let text = format_args!("removed the temporary file {path} that an rsync has left");
            self.executor.log.say(Category::Debug("Exec"), text);
        }
    }

    /// Gives the entries of a local target that ignores case the names of the source. Entries that
    /// the target cannot have count as failed.
    pub(super) fn respell(&mut self, paths: &PathSet) {
        let path = self.executor.state.target_identity.path();
        let name = path.and_then(Path::file_name).map(OsStrExt::as_bytes);
        let Some(target) = self.target() else { return };
        // A look does not change the target. Only if it has no name with a letter, a file is made.
        let answer = target.ignores_case(name);
        if !answer.unwrap_or_else(|| ignores_case(target)) {
            return;
        }
        let sides = CaseSides { source: self.root, target, filter: &self.executor.filter };
        let shared = sides.respell(paths);
        self.target_ignores_case = true;
        let source = Escaped(self.executor.root.path().as_os_str().as_bytes());
        self.failed.extend(shared.iter().map(|shared| {
            let why = format!("cannot copy {source}{}: {}", shared.path, shared.reason());
            let why = Failure::new(why);
            (DirtyPath { path: shared.path.clone(), scope: Scope::Entry }, why)
        }));
        self.shared_names = shared;
    }

    /// Notes that a call may have left a temporary file.
    pub(super) fn note_abandoned(
        &self,
        end: &ProcessExit,
        report: &CallReport,
        call_paths: CallPaths<'_>,
    ) {
        let is_finished = matches!(end, ProcessExit::Exited(code) if FINISHED.contains(code));
        if is_finished {
            return;
        }
        let is_partial = matches!(end, ProcessExit::Exited(PARTIAL));
        let is_attributed = !report.attributed_failures(None).is_empty();
        let paths: Vec<DirtyPath> = if is_partial && is_attributed {
            // What the sender has failed on has no temporary file.
            let entry = |path: &TreePath| DirtyPath { path: path.clone(), scope: Scope::Entry };
            report.unwritable.iter().map(entry).collect()
        } else {
            call_paths.dirty_paths().collect()
        };
        let RsyncExecutor { state, plan, .. } = self.executor;
        if plan.target().local().is_some() {
            state.abandoned.note(self.started, paths.into_iter());
        } else if plan.options.may_remove_temp_files() {
            let files = paths.into_iter().filter(|dirty| dirty.scope == Scope::Entry);
            state.remote_temp_files.note(files.map(|dirty| dirty.path), !is_partial);
        }
    }

    /// Returns the target directory, if it is on this machine.
    pub(super) fn target(&self) -> Option<&Dir> {
        self.target.get_or_init(|| self.executor.state.open_local()).as_ref()
    }
}
