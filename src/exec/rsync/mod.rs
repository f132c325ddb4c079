//! Mirrors with rsync as a child process.
//!
//! The words are made by [`mirror_core::plan::rsync`]; here is in which order the calls are made,
//! and what their ends mean.

mod absent;
mod batch;
mod call;
mod existing;
mod findings;
mod fractions;
mod learned;
mod links;
mod moves;
mod portions;
mod removal;
mod sweep;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc, time::Duration};

use mirror_core::{
    filter::Filter,
    guard::MaxDelete,
    job::{Failure, Job, Outcome, Scope, Work},
    plan::{
        exit::{ExitClass, ExitCodes},
        options::{Phase, RsyncOptions},
        rsync::{Equal, RsyncPlan},
        target::Target,
    },
};
use rustix::process::Signal;

use super::{
    Executor,
    process::cancel::Stop,
    process::child::{ChildOutput, Program},
    process::stall::Patience,
    source_root::SourceRoot,
    ssh::Master,
};
use crate::report::Log;
use batch::Run;
pub use learned::Learned;
pub use moves::Renames;

/// The same as `--timeout` for a target on this machine, where all processes of rsync can be seen: if
/// none of them does anything for twice that time, and none waits for a disk, then they wait for each
/// other. So 3.5.0 does at times when directories vanish while it reads them.
const SILENCE_AT_HOME: Duration = Duration::from_secs(20);

/// What an [`RsyncExecutor`] is made of.
#[derive(Debug)]
pub struct RsyncConfig {
    /// The source.
    pub root: Arc<SourceRoot>,
    /// Where it goes.
    pub target: Target,
    /// What the user said about how rsync is to be called.
    pub options: RsyncOptions,
    /// What is left out of a batch. It has to say the same as the rules of `options`.
    pub filter: Arc<Filter>,
    /// The program, looked up in `PATH` if it has no slash.
    pub binary: OsString,
    /// Where it works, an absolute path: from there relative targets count.
    pub directory: PathBuf,
    /// The program that reaches the other side, if the user did not say another one.
    pub remote_shell: Option<OsString>,
    /// The connection through which it goes. Without one the program above sees for itself.
    pub master: Option<Arc<Master>>,
    /// What its exit codes mean.
    pub codes: ExitCodes,
    /// Files of a batch with more bytes go after all others, each by a call of its own.
    pub batch_size_limit: Option<u64>,
    /// Whether such files are left to jobs of their own, beside which others run.
    pub large_apart: bool,
    /// How many deletions are made that nobody saw happen at the source.
    pub max_delete: MaxDelete,
    /// The same for those that were seen.
    pub max_delete_seen: MaxDelete,
    /// By how much times may differ and still count as equal. Without it that is found out.
    pub modify_window: Option<Duration>,
    /// What an earlier executor for this source and target has found out.
    pub learned: Option<Arc<Learned>>,
    /// Who repeats renames at the target. rsync has none.
    pub renames: Option<Renames>,
    /// Where its output goes.
    pub output: ChildOutput,
    /// Where ours goes.
    pub log: Log,
}

/// Mirrors one source to one target with rsync.
#[derive(Debug)]
pub struct RsyncExecutor {
    root: Arc<SourceRoot>,
    plan: RsyncPlan,
    filter: Arc<Filter>,
    program: Program,
    master: Option<Arc<Master>>,
    codes: ExitCodes,
    batch_size_limit: Option<u64>,
    large_apart: bool,
    max_delete: MaxDelete,
    max_delete_seen: MaxDelete,
    modify_window: Option<Duration>,
    renames: Option<Renames>,
    log: Log,
    patience: Patience,
    learned: Arc<Learned>,
}

impl RsyncExecutor {
    /// An executor for one mirror. Nothing is started yet.
    #[must_use]
    pub fn new(config: RsyncConfig) -> Self {
        let source = config.root.path().as_os_str().as_bytes();
        // `--rsh` among the words of a call comes before it.
        let remote_shell = config.remote_shell.into_iter().map(|it| ("RSYNC_RSH".into(), it));
        let plan = RsyncPlan::new(config.options, source, config.target);
        let at_home = plan.target().local().map(|_| SILENCE_AT_HOME);
        let patience = Patience::new(plan.silence().or(at_home));
        let learned = config.learned.unwrap_or_else(|| {
            Arc::new(Learned::new(plan.target(), &config.directory, config.log.clone()))
        });
        Self {
            plan,
            root: config.root,
            filter: config.filter,
            program: Program {
                binary: config.binary,
                directory: config.directory,
                environment: remote_shell.collect(),
                output: config.output,
                // At a SIGTERM it waits for 0.4 s before it ends its other processes, which go on writing.
                at_our_end: Signal::KILL,
            },
            master: config.master,
            codes: config.codes,
            batch_size_limit: config.batch_size_limit,
            large_apart: config.large_apart,
            max_delete: config.max_delete,
            max_delete_seen: config.max_delete_seen,
            modify_window: config.modify_window,
            renames: config.renames,
            log: config.log,
            patience,
            learned,
        }
    }

    /// What was found out so far.
    #[must_use]
    pub const fn learned(&self) -> &Arc<Learned> {
        &self.learned
    }

    /// What makes two files equal where nobody heard of a change.
    fn equal(&self) -> Equal {
        let by_user = self.modify_window.map(|window| match window.as_secs() {
            _ if window.is_zero() => Equal::Nanoseconds,
            0 => Equal::Seconds,
            seconds => Equal::Within(u32::try_from(seconds).unwrap_or(u32::MAX)),
        });
        let found_out = || {
            let by_words = self.plan.options.has_window();
            if by_words { None } else { self.learned.equal() }
        };
        by_user.or_else(found_out).unwrap_or_default()
    }
}

impl RsyncExecutor {
    /// Carries out what `work` asks for, all of the source where that is owed to the target.
    fn attempt(&self, run: &mut Run<'_>, work: &mut Work) -> Result<(), Outcome> {
        let presence = &self.learned.presence;
        let before = presence.look(work)?;
        let left = self.root.left();
        if let Work::Batch { places, .. } = work
            && !left.is_empty()
        {
            let places = Arc::make_mut(places);
            for path in &left {
                places.insert(path, Scope::Tree);
            }
        }
        match work {
            Work::Full { heard } => run.full(Phase::Startup, heard)?,
            Work::Batch { places, heard, moves } => run.batch(places, heard, moves)?,
            Work::Large { path, heard } => run.one(path, heard)?,
        }
        presence.settle(&before, run.is_full())?;
        if !matches!(work, Work::Large { .. }) {
            self.root.settle_left(&left);
        }
        if run.is_complete() {
            presence.adopt();
        }
        Ok(())
    }

    /// What it means that there is no connection: the same as if rsync said it of its ssh.
    /// Where something was renamed, the user may have said what it means of ssh.
    fn away(&self, job: &Job, why: String) -> Outcome {
        let code = 255;
        let has_moves = matches!(&job.work, Work::Batch { moves, .. } if !moves.is_empty());
        let renames = self.renames.as_ref().filter(|_| has_moves);
        if let Some(outcome) = renames.and_then(|it| it.fatal(code, || why.clone())) {
            return outcome;
        }
        let failure = Failure { code: Some(code), why };
        match self.codes.class(code) {
            ExitClass::Fatal(grounds) => Outcome::Fatal(failure, grounds),
            ExitClass::Ok | ExitClass::Partial | ExitClass::Vanished | ExitClass::Again => {
                Outcome::Again(failure)
            }
        }
    }
}

impl Executor for RsyncExecutor {
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome {
        // As long as it is open, the file system of the source can't be unmounted.
        // RACE: rsync opens the source by its name. If another directory gets that name between
        // this look and rsync's, rsync mirrors that one; the look afterwards tells it.
        let root = match self.root.open_for(&job.work, &self.log) {
            Ok(root) => root,
            Err(outcome) => return outcome,
        };
        let place = self.master.as_ref().map(|master| master.enter(stop));
        if let Some(Err(why)) = place {
            return self.away(job, why);
        }
        if let Some(Err(outcome)) = self.renames.as_ref().map(|renames| renames.settle(stop)) {
            return outcome;
        }
        let mut run = Run::new(self, stop, &root);
        let mut done = self.attempt(&mut run, &mut job.work);
        if !run.is_full() && self.learned.presence.is_owed_all() {
            run = Run::new(self, stop, &root);
            done = self.attempt(&mut run, &mut job.work);
        }
        match (done, self.root.open()) {
            (_, Err(outcome @ Outcome::SourceGone(_))) | (Err(outcome), _) => outcome,
            (Ok(()), _) => run.outcome(),
        }
    }
}
