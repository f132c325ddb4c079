//! A single rsync call, and the meaning of its exit.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use mirror_core::{
    job::{Failure, Outcome},
    path::{Escaped, TreePath},
    plan::{exit::ExitClass, rsync::RsyncCall, stderr::StderrParser},
};

use rustix::io::Errno;

use super::{
    call_paths::{CallPathIndex, CallPaths},
    call_report::{CallReport, RemoteRefusal, StdoutLine},
    progress::{PossibleChanges, ProgressReader},
    run::RsyncRun,
    transfer_log::{append_capped, max_logged_names},
};
use crate::{
    exec::{
        lookup::may_exist,
        process::{
            backoff::SpawnBackoff,
            child::ChildProgram,
            end::{ChildLimit, ProcessExit},
            output::OutputFilter,
        },
    },
    report::{Category, StdStream},
};

/// `RERR_IPC` of rsync: it could not start one of its own processes.
const EXIT_IPC: i32 = 14;

/// `RERR_TIMEOUT` of rsync: its `--timeout` expired.
const EXIT_TIMEOUT: i32 = 30;

/// Time without output after which a blocked call is killed: rsync 3.5.0 with `-H` never exits if a
/// directory blocks a file with several names, since it waits for that file.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// `RERR_DEL_LIMIT` of rsync: it skipped deletions because of `--max-delete`.
const EXIT_DEL_LIMIT: i32 = 25;

impl RsyncRun<'_> {
    /// Makes a call that deletes nothing by itself.
    pub(super) fn call_without_deletions(
        &mut self,
        call: &RsyncCall,
        call_paths: CallPaths<'_>,
    ) -> Result<(), Outcome> {
        let (end, report) = self.call(call, call_paths)?;
        self.record_exit(&end, &report, call_paths)
    }

    /// Makes a call, unless the job is cancelled. A call that transfers only a part fails if the
    /// target is missing.
    pub(super) fn call(
        &self,
        call: &RsyncCall,
        call_paths: CallPaths<'_>,
    ) -> Result<(ProcessExit, CallReport), Outcome> {
        let state = &self.executor.state;
        if self.is_full() || !state.target_identity.was_present() {
            return self.call_supported(call, call_paths);
        }
        let plan = &self.executor.plan;
        let make = |call: &RsyncCall| self.call_supported(call, call_paths);
        let (end, report) = state.capabilities.existing_target.call(plan, call, make)?;
        if report.refusal == Some(RemoteRefusal::MissingTarget)
            && !matches!(end, ProcessExit::Exited(0))
        {
            state.target_identity.mark_missing();
            return Err(Outcome::Retry(report.failure(None, "the target does not exist")));
        }
        Ok((end, report))
    }

    /// Makes a call, without the options that the remote side refuses and that are dispensable.
    fn call_supported(
        &self,
        call: &RsyncCall,
        call_paths: CallPaths<'_>,
    ) -> Result<(ProcessExit, CallReport), Outcome> {
        let lacks_modify_window = &self.executor.state.capabilities.lacks_modify_window;
        if lacks_modify_window.is_set() {
            return self.call_once(&call.clone().without_window(), call_paths);
        }
        let (end, report) = self.call_once(call, call_paths)?;
        let narrower = call.clone().without_window();
        if report.refusal != Some(RemoteRefusal::ModifyWindow) || narrower == *call {
            return Ok((end, report));
        }
        lacks_modify_window.set(true);
        let target = Escaped(self.executor.plan.target().as_arg());
        let message = format!("{target} is behind rrsync: times are compared in whole seconds");
        self.executor.log.say(Category::Normal, message);
        self.call_once(&narrower, call_paths)
    }

    fn call_once(
        &self,
        call: &RsyncCall,
        call_paths: CallPaths<'_>,
    ) -> Result<(ProcessExit, CallReport), Outcome> {
        let stopped = || Outcome::Retry(Failure::new("rsync was stopped"));
        if self.cancel.is_cancelled() {
            return Err(stopped());
        }
        // RACE: rsync opens the target by its name; the check afterwards detects a replaced target.
        self.executor.state.target_identity.check_path()?;
        let mut call = self.with_protected_mounts(call).into_owned();
        if self.progress.is_some() && !call.is_dry_run() {
            call = call.with_progress();
        }
        let call = &call;
        self.log_call(call);
        let mut backoff = SpawnBackoff::new(self.cancel, ChildLimit::Unlimited);
        let (end, report) = loop {
            let (end, report) = self.run_rsync(call, call_paths);
            let Some(shortage) =
                report.shortage.as_ref().filter(|_| matches!(end, ProcessExit::Exited(EXIT_IPC)))
            else {
                break (end, report);
            };
            // Nothing was done. Other processes hold the resource, and release it when they exit.
            if !backoff.wait_after(&Errno::AGAIN.into()) {
                break (end, report);
            }
            if backoff.is_first_wait() {
                let text = format_args!("{shortage}; retrying");
                self.executor.log.say(Category::Warn, text);
            }
        };
        self.note_abandoned(&end, &report, call_paths);
        self.count_changes(call, &report);
        self.executor.state.target_identity.check_path()?;
        self.executor.stall_limit.record(&end);
        if self.cancel.is_cancelled() && !matches!(end, ProcessExit::Exited(0)) {
            return Err(stopped());
        }
        Ok((end, report))
    }

    /// Counts the entries that a call has created and deleted.
    fn count_changes(&self, call: &RsyncCall, report: &CallReport) {
        if call.is_dry_run() {
            return;
        }
        self.created.set(self.created.get() + report.created_count.unwrap_or_default());
        let may_delete = call.deletes() && !call.deletes_nothing();
        let untold = if may_delete { None } else { Some(0) };
        self.executor.state.subtract_entries(report.deleted_count.or(untold));
    }

    /// Runs rsync and parses its output. Passes on the part of stdout that the user asked for.
    fn run_rsync(&self, call: &RsyncCall, call_paths: CallPaths<'_>) -> (ProcessExit, CallReport) {
        let plan = &self.executor.plan;
        let names = StderrParser { source: plan.source(), target: plan.target() };
        let exists = |path: &TreePath| may_exist(self.root, path);
        let owners = CallPathIndex::new(call_paths, &exists);
        let mut report = CallReport::default();
        let (kill_at, keeps_links) = (Cell::new(None), plan.options.keeps_hard_links());
        let shows_progress = call.shows_progress();
        let mut progress = ProgressReader::new(&self.executor.state.meter, shows_progress);
        let mut is_after_stats = false;
        let mut on_line = |stream, line: &[u8]| {
            if stream == StdStream::Out && progress.read(line) {
                return false;
            }
            match stream {
                StdStream::Err => report.read_stderr(&names, &owners, line),
                StdStream::Out => report.read_stdout(&names, &owners, line),
            }
            if keeps_links && !report.blocked.is_empty() {
                kill_at.set(Some(Instant::now() + DEADLOCK_TIMEOUT));
            }
            let class = StdoutLine::classify(line);
            // rsync separates the statistics from the summary.
            let is_separator = line.is_empty() && is_after_stats && !plan.options.prints_stats();
            is_after_stats = class == StdoutLine::Stats;
            match class {
                StdoutLine::Internal => false,
                StdoutLine::Stats => plan.options.prints_stats(),
                StdoutLine::Summary => plan.options.prints_summary() && !is_separator,
                StdoutLine::Other => true,
            }
        };
        let limit = self.executor.stall_limit.run_limit();
        let filter = OutputFilter {
            on_line: &mut on_line,
            filters_stdout: call.counts_deletions()
                || shows_progress
                || plan.options.has_own_stats(),
            splits_returns: shows_progress,
            kill_at: &kill_at,
        };
        let inherited = self.target_lock.clone();
        let program = ChildProgram { inherited, ..self.executor.program.clone() };
        let end = program.run_filtered(limit, call.command_line(), self.cancel, filter);
        if !call.is_dry_run() {
            // The user's own limit on deletions does not mean that nothing is transferred.
            let transfers = !call.transfers_no_files() || plan.options.max_delete().is_some();
            progress.finish(PossibleChanges { transfers, deletes: !call.deletes_nothing() });
        }
        (end, report)
    }

    /// Records the failures of a call according to its exit.
    pub(super) fn record_exit(
        &mut self,
        end: &ProcessExit,
        report: &CallReport,
        call_paths: CallPaths<'_>,
    ) -> Result<(), Outcome> {
        let binary = Escaped(self.executor.program.binary.as_encoded_bytes()).to_string();
        let (code, what) = match end {
            ProcessExit::Exited(code) => (*code, format!("{binary} failed")),
            ProcessExit::Stalled(_) => (EXIT_TIMEOUT, end.describe(&binary)),
            ProcessExit::Killed(_) | ProcessExit::Deadlocked | ProcessExit::WaitFailed(_) => {
                return Err(Outcome::Retry(report.failure(None, &end.describe(&binary))));
            }
            ProcessExit::NotStarted(error) => {
                let message = format!("Failed executing [ {binary} ]!");
                self.executor.log.say(Category::Error, &message);
                let failure = Failure { code: Some(255), message: format!("{message} {error}") };
                return Err(Outcome::Retry(failure));
            }
        };
        let failure = || report.failure(Some(code), &what);
        let mut class = self.executor.codes.class(code);
        if code == EXIT_DEL_LIMIT && report.over_limit.is_some() {
            class = ExitClass::Partial;
        }
        let mut failed = match class {
            // A daemon reports each failure, and exits with 0 all the same.
            ExitClass::Ok if self.executor.plan.target().is_module() => {
                report.attributed_failures(None)
            }
            ExitClass::Ok => Vec::new(),
            ExitClass::Partial | ExitClass::Vanished => report.failed_paths(call_paths, code),
            ExitClass::Again => return Err(Outcome::Retry(failure())),
            ExitClass::Fatal(reason) => return Err(Outcome::Fatal(failure(), reason)),
        };
        if report.over_limit.is_some() {
            // A retry would go on deleting beyond the limit.
            failed.retain(|(dirty, _)| !call_paths.missing.contains(&dirty.path));
        }
        // A path that the module excludes stays there, if it exists at all.
        let is_kept = |path: &TreePath| {
            call_paths.missing.contains(path) && report.refused_by_module.contains(path)
        };
        failed.retain(|(dirty, _)| !is_kept(&dirty.path));
        self.failed.append(&mut failed);
        Ok(())
    }

    pub(super) fn warn_no_delete_missing_args(&self) {
        if !self.executor.state.capabilities.lacks_delete_missing_args.set(true) {
            let target = Escaped(self.executor.plan.target().as_arg());
            let message = format!(
                "the rsync at {target} cannot delete listed paths (3.4.3, and older versions with \
                 its security patch): using a slower method; update rsync there"
            );
            self.executor.log.say(Category::Warn, message);
        }
    }

    fn log_call(&self, call: &RsyncCall) {
        let category = Category::Debug("Exec");
        if !self.executor.log.wants(category) {
            return;
        }
        let command_line = call.command_line();
        let mut message = self.executor.program.format_command(command_line);
        if let Some(stdin) = &command_line.stdin {
            let names = stdin.split(|&b| b == 0).filter(|name| !name.is_empty());
            message += " [<]";
            append_capped(&mut message, names.map(Escaped), max_logged_names(&self.executor.log));
        }
        self.executor.log.say(category, message);
    }
}
