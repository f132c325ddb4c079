//! Executor that mirrors with rsync as a child process.
//!
//! [`mirror_core::plan::rsync`] builds the arguments. This module decides about the order of the
//! calls and the meaning of their exit codes.

mod abandoned;
mod batch;
mod call;
mod call_diagnostics;
mod call_paths;
mod call_report;
mod capabilities;
mod deletion_guard;
mod dry_run;
mod flag;
mod hardlinks;
mod link_groups;
mod mount_protection;
mod progress;
mod remote_temp_files;
mod removal;
mod renames;
mod run;
mod state;
mod target_lock;
#[cfg(test)]
mod tests;
mod time_precision;
mod transfer_groups;
mod transfer_log;
mod whole_directories;

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc, time::Duration};

use mirror_core::{
    filter::Filter,
    guard::MaxDelete,
    job::{Failure, Job, Outcome, Scope, Work},
    plan::{
        exit::{ExitClass, ExitCodes},
        options::{RsyncOptions, TransferPhase},
        rsync::{QuickCheck, RsyncPlan},
        target::Target,
    },
};
use rustix::process::Signal;

use super::{
    Executor,
    process::cancel::CancelToken,
    process::child::{ChildOutput, ChildProgram},
    process::stall::StallLimit,
    source_root::SourceRoot,
    ssh::{ControlMaster, RemoteMark},
};
use crate::report::Log;
pub(crate) use renames::ShellRenames;
use run::RsyncRun;
pub(crate) use state::RsyncState;

/// Stands in for `--timeout` with a local target, where all rsync processes are visible: if none of
/// them does anything for twice this time, and none waits for a disk, they wait for each other.
/// rsync 3.5.0 does that at times when directories vanish while it reads them.
const LOCAL_STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Configuration of an [`RsyncExecutor`].
#[derive(Debug)]
pub(crate) struct RsyncConfig {
    pub root: Arc<SourceRoot>,
    pub target: Target,
    /// The rsync options of the user.
    pub options: RsyncOptions,
    /// Filter of the paths of a batch. Must agree with the rules of `options`.
    pub filter: Arc<Filter>,
    /// The program, looked up in `PATH` if it contains no slash.
    pub binary: OsString,
    /// Absolute path of its working directory, the base of relative targets.
    pub working_dir: PathBuf,
    /// Default of the remote shell, if the user has set none.
    pub remote_shell: Option<OsString>,
    /// Shared connection to the target. Without one, the remote shell connects by itself.
    pub master: Option<Arc<ControlMaster>>,
    /// Meaning of rsync's exit codes.
    pub codes: ExitCodes,
    /// Files of a batch larger than this number of bytes are transferred after all others, one call
    /// each.
    pub batch_size_limit: Option<u64>,
    /// True if such files are left to jobs of their own, beside which others run.
    pub separate_large_files: bool,
    /// Budget of deletions that were not observed at the source.
    pub max_delete: MaxDelete,
    /// Budget of observed deletions.
    pub max_delete_seen: MaxDelete,
    /// Greatest difference of times that count as equal. Without it, the precision of the target is
    /// measured.
    pub modify_window: Option<Duration>,
    /// Facts about this source and target from an earlier executor.
    pub state: Option<Arc<RsyncState>>,
    /// Repeats renames at the target; rsync itself has no renames.
    pub renames: Option<ShellRenames>,
    /// Mark of a target on another machine, if snapshots need it.
    pub mark: Option<Arc<RemoteMark>>,
    /// Destination of rsync's output.
    pub output: ChildOutput,
    /// Destination of the executor's own messages.
    pub log: Log,
}

/// Mirrors one source to one target with rsync.
#[derive(Debug)]
pub(crate) struct RsyncExecutor {
    root: Arc<SourceRoot>,
    plan: RsyncPlan,
    filter: Arc<Filter>,
    program: ChildProgram,
    master: Option<Arc<ControlMaster>>,
    codes: ExitCodes,
    batch_size_limit: Option<u64>,
    separate_large_files: bool,
    max_delete: MaxDelete,
    max_delete_seen: MaxDelete,
    modify_window: Option<Duration>,
    renames: Option<ShellRenames>,
    mark: Option<Arc<RemoteMark>>,
    log: Log,
    stall_limit: StallLimit,
    state: Arc<RsyncState>,
}

impl RsyncExecutor {
    /// Creates an executor. Starts nothing.
    #[must_use]
    pub(crate) fn new(config: RsyncConfig) -> Self {
        let source = config.root.path().as_os_str().as_bytes();
        // `--rsh` among the arguments of a call takes precedence.
        let remote_shell = config.remote_shell.into_iter().map(|it| ("RSYNC_RSH".into(), it));
        let plan = RsyncPlan::new(config.options, source, config.target);
        let at_home = plan.target().local().map(|_| LOCAL_STALL_TIMEOUT);
        let stall_limit = StallLimit::new(plan.io_timeout().or(at_home));
        let state = config.state.unwrap_or_else(|| {
            Arc::new(RsyncState::new(plan.target(), &config.working_dir, config.log.clone()))
        });
        Self {
            plan,
            root: config.root,
            filter: config.filter,
            program: ChildProgram {
                binary: config.binary,
                working_dir: config.working_dir,
                environment: remote_shell.collect(),
                output: config.output,
                // At SIGTERM, rsync waits for 0.4 s before it ends its other processes, which go on
                // writing.
                parent_death_signal: Signal::KILL,
                inherited: None,
            },
            master: config.master,
            codes: config.codes,
            batch_size_limit: config.batch_size_limit,
            separate_large_files: config.separate_large_files,
            max_delete: config.max_delete,
            max_delete_seen: config.max_delete_seen,
            modify_window: config.modify_window,
            renames: config.renames,
            mark: config.mark,
            log: config.log,
            stall_limit,
            state,
        }
    }

    /// Returns the facts about the target known so far.
    #[must_use]
    pub(crate) const fn state(&self) -> &Arc<RsyncState> {
        &self.state
    }

    /// Returns the criterion by which two files count as equal where no change was observed.
    fn quick_check(&self) -> QuickCheck {
        let by_user = self.modify_window.map(|window| match window.as_secs() {
            _ if window.is_zero() => QuickCheck::Nanoseconds,
            0 => QuickCheck::Seconds,
            seconds => QuickCheck::Within(u32::try_from(seconds).unwrap_or(u32::MAX)),
        });
        let measured = || {
            let by_options = self.plan.options.sets_modify_window();
            if by_options { None } else { self.state.quick_check() }
        };
        by_user.or_else(measured).unwrap_or_default()
    }
}

impl RsyncExecutor {
    /// Runs `work`, extended to the whole source where the target needs a full sync.
    fn attempt(&self, run: &mut RsyncRun<'_>, work: &mut Work) -> Result<(), Outcome> {
        let target_identity = &self.state.target_identity;
        let before = target_identity.check_before(work)?;
        run.remove_abandoned();
        run.observed = Arc::clone(work.observed());
        let left = self.root.vacated_paths();
        if let Work::Batch { paths, .. } = work
            && !left.is_empty()
        {
            let paths = Arc::make_mut(paths);
            for path in &left {
                paths.insert(path, Scope::Tree);
            }
        }
        run.respell(&work.paths());
        match work {
            Work::Full { observed } => run.transfer_full(TransferPhase::Startup, observed)?,
            Work::Batch { paths, observed, renames } => {
                run.transfer_batch(paths, observed, renames)?;
            }
            Work::Large { path, observed } => run.transfer_file(path, observed)?,
        }
        run.remove_remote_temp_files(&work.paths());
        target_identity.check_after(&before, run.is_full())?;
        if !matches!(work, Work::Large { .. }) {
            self.root.settle_vacated(&left);
        }
        if run.is_complete() {
            target_identity.adopt();
        }
        Ok(())
    }

    /// Returns the outcome of a job without a connection: the same as if rsync had reported that of
    /// its ssh. With renames, the exit codes that the user configured for ssh apply first.
    fn connection_failed(&self, job: &Job, why: String) -> Outcome {
        let code = 255;
        let has_renames = matches!(&job.work, Work::Batch { renames, .. } if !renames.is_empty());
        let renames = self.renames.as_ref().filter(|_| has_renames);
        if let Some(outcome) = renames.and_then(|it| it.fatal_outcome(code, || why.clone())) {
            return outcome;
        }
        let failure = Failure { code: Some(code), message: why };
        match self.codes.class(code) {
            ExitClass::Fatal(reason) => Outcome::Fatal(failure, reason),
            ExitClass::Ok | ExitClass::Partial | ExitClass::Vanished | ExitClass::Again => {
                Outcome::Retry(failure)
            }
        }
    }
}

impl Executor for RsyncExecutor {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        let _timer = self.state.meter.time_job();
        // An open source keeps its file system from being unmounted.
        // RACE: rsync opens the source by its name. If another directory takes that name between
        // this check and rsync's open, rsync mirrors that directory; the check afterwards detects
        // it.
        let root = match self.root.open_for(&job.work, &self.log) {
            Ok(root) => root,
            Err(outcome) => return outcome,
        };
        let slot = self.master.as_ref().map(|master| master.acquire_slot(cancel));
        if let Some(Err(why)) = slot {
            return self.connection_failed(job, why);
        }
        if let Some(Err(outcome)) = self.renames.as_ref().map(|renames| renames.settle(cancel)) {
            return outcome;
        }
        if let Some(Err(why)) = self.mark.as_ref().map(|mark| mark.settle(cancel)) {
            return self.connection_failed(job, why);
        }
        self.state.observed_holds.begin(&job.work);
        let mut run = RsyncRun::new(self, cancel, &root);
        let mut done = self.attempt(&mut run, &mut job.work);
        if self.state.target_identity.needs_full_sync() {
            self.mark.iter().for_each(|mark| mark.detach());
        }
        if !run.is_full() && self.state.target_identity.needs_full_sync() {
            run = RsyncRun::new(self, cancel, &root);
            done = self.attempt(&mut run, &mut job.work);
        }
        if done.is_ok() && run.is_full() {
            self.mark.iter().for_each(|mark| mark.anchor(cancel));
        }
        match (done, self.root.open()) {
            (_, Err(outcome @ Outcome::SourceGone(_))) | (Err(outcome), _) => outcome,
            (Ok(()), _) => run.outcome(),
        }
    }
}
