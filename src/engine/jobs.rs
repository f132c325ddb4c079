//! Running jobs, each on a thread of its own.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use mirror_core::{
    input::{ChildExit, Input, ScriptInput},
    job::{DirtyPath, Failure, Job, JobEnd, JobId, Outcome, Scope, Work},
    path::Escaped,
    plan::command::CommandLine,
    queue::PathSet,
};
use rustix::process::{Pid, Resource, Signal, getrlimit};

use super::{Inbox, Message, log_events, thread_retry::ThreadRetry};
use crate::{
    exec::{
        Executor,
        process::{cancel::CancelToken, child::ChildProgram, end::ProcessExit},
    },
    lock,
    report::{Category, Log},
};

/// Number of descriptors that a job may need.
const FILES_PER_JOB: u64 = 24;

/// Number of processes that a job may need: its thread, three processes of rsync, and ssh or
/// another program of the user. Other processes of the same user are not counted.
const PROCESSES_PER_JOB: u64 = 6;

/// Number of descriptors reserved for everything else.
const RESERVED_FILES: u64 = 56;

/// Running and queued jobs. The fleet limits how many it starts. Children that a script starts at
/// any time count against that limit, and wait here until there is capacity.
///
/// Jobs also wait here while the process lacks descriptors, processes or threads.
pub(super) struct Jobs {
    inbox: Inbox,
    max_running: Option<usize>,
    /// Number of jobs that the resource limits of the process allow.
    capacity: usize,
    /// The resource limit that this follows from.
    limit: &'static str,
    /// True if the log says that queued jobs wait for the limit.
    is_limit_logged: bool,
    running: HashMap<JobId, CancelToken>,
    queued: VecDeque<QueuedJob>,
    /// Nothing is started before this time.
    thread_retry: ThreadRetry,
    log: Log,
}

/// Job that has not been started yet.
struct QueuedJob {
    job: JobId,
    task: JobTask,
    /// Input to send if the job fails without an answer.
    if_abandoned: Input,
    /// Input to send if the job is stopped before it starts.
    if_stopped: Input,
    /// True for a child that a script started, which the fleet does not count against its limit.
    is_uncounted: bool,
}

/// Work to run on a job thread. Returns the input to send.
type JobTask = Box<dyn FnOnce(&CancelToken) -> Input + Send>;

/// Child process that a script has requested.
#[derive(Debug)]
pub(super) struct ScriptProcess {
    pub(super) job: JobId,
    pub(super) program: ChildProgram,
    pub(super) call: CommandLine,
}

impl Jobs {
    /// Creates a runner for at most `max_running` jobs at once; `None`: unlimited.
    pub(super) fn new(max_running: Option<usize>, inbox: Inbox, log: Log) -> Self {
        let files = getrlimit(Resource::Nofile).current;
        let files = files.map(|limit| limit.saturating_sub(RESERVED_FILES) / FILES_PER_JOB);
        let processes = getrlimit(Resource::Nproc).current.map(|limit| limit / PROCESSES_PER_JOB);
        let (capacity, limit) = if processes.is_some_and(|it| files.is_none_or(|files| it < files))
        {
            (processes, "processes (LimitNPROC=, ulimit -u)")
        } else {
            (files, "open files (LimitNOFILE=, ulimit -n)")
        };
        let capacity =
            capacity.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX).max(1);
        Self {
            inbox,
            max_running,
            capacity,
            limit,
            is_limit_logged: false,
            running: HashMap::new(),
            queued: VecDeque::new(),
            thread_retry: ThreadRetry::default(),
            log,
        }
    }

    /// Changes the limit of concurrent jobs.
    pub(super) fn set_limit(&mut self, max_running: Option<usize>) {
        self.max_running = max_running;
        self.start_queued();
    }

    /// Starts a job as soon as there is capacity. The result always arrives through the inbox.
    pub(super) fn start(&mut self, mut job: Job, executor: Arc<dyn Executor>) {
        let id = job.id;
        let again = |why| Input::JobEnded(JobEnd::new(id, Outcome::Retry(Failure::new(why))));
        self.queued.push_back(QueuedJob {
            job: id,
            task: Box::new(move |cancel| {
                let outcome = executor.run(&mut job, cancel);
                let is_full = job.work.is_full();
                // Shared state of the job must be released before its batch is settled.
                drop(job);
                Input::JobEnded(JobEnd { job: id, outcome, is_full })
            }),
            if_abandoned: again("internal error: job thread failed to start or panicked"),
            if_stopped: again("the job was stopped"),
            is_uncounted: false,
        });
        self.start_queued();
    }

    /// Starts a child of a script as soon as there is capacity, in the order of requests.
    pub(super) fn start_child(&mut self, process: ScriptProcess) {
        let ScriptProcess { job, program, call } = process;
        let log = self.log.clone();
        self.enqueue_child(job, move |cancel| {
            log.say(Category::Debug("Exec"), program.format_command(&call));
            match program.run(&call, cancel, &mut |_| ()) {
                ProcessExit::Exited(code) => ChildExit::Code(code),
                ProcessExit::Killed(signal) => ChildExit::Signal(signal),
                ProcessExit::NotStarted(error) => {
                    let name = Escaped(program.binary.as_bytes());
                    let text = format_args!("Failed executing [ {name} ]! {error}");
                    log.say(Category::Error, text);
                    NOT_STARTED
                }
                end @ (ProcessExit::Stalled(_)
                | ProcessExit::Deadlocked
                | ProcessExit::WaitFailed(_)) => {
                    let name = Escaped(program.binary.as_bytes()).to_string();
                    log.say(Category::Error, end.describe(&name));
                    NOT_STARTED
                }
            }
        });
    }

    /// Runs a transfer to a built-in target for a script, in the same queue. Its result is reported
    /// as that of a child.
    pub(super) fn start_transfer(&mut self, job: Job, executor: Arc<dyn Executor>) {
        let log = self.log.clone();
        self.enqueue_child(job.id, move |cancel| run_as_child(&job, &*executor, cancel, &log));
    }

    fn enqueue_child(
        &mut self,
        job: JobId,
        work: impl FnOnce(&CancelToken) -> ChildExit + Send + 'static,
    ) {
        let ended = move |exit| Input::Script(ScriptInput::ChildExited { job, exit });
        self.queued.push_back(QueuedJob {
            job,
            task: Box::new(move |cancel| ended(work(cancel))),
            if_abandoned: ended(NOT_STARTED),
            // The result is the same as if the child had been started and terminated.
            if_stopped: ended(ChildExit::Signal(Signal::TERM.as_raw())),
            is_uncounted: true,
        });
        self.start_queued();
    }

    /// Starts queued jobs while there is capacity.
    pub(super) fn start_queued(&mut self) {
        if self.queued.is_empty() {
            self.is_limit_logged = false;
            return;
        }
        if !self.thread_retry.may_start() {
            return;
        }
        while self.running.len() < self.capacity
            && let Some(at) = self.queued.iter().position(|it| self.may_start(it))
            && let Some(next) = self.queued.remove(at)
        {
            if let Err(failed) = self.run(next) {
                let (queued_job, error) = *failed;
                let text = format_args!("cannot start a thread for a job yet: {error}; retrying");
                self.log.say(Category::Warn, text);
                self.queued.insert(at, queued_job);
                self.thread_retry.pause();
                return;
            }
        }
        let waits = self.queued.iter().any(|it| self.may_start(it));
        if waits && !self.is_limit_logged {
            let (count, limit) = (self.running.len(), self.limit);
            let text = format_args!(
                "the limit of {limit} allows no more than {count} concurrent jobs: others wait \
                 until one ends; raise it if jobs hang"
            );
            self.log.say(Category::Warn, text);
        }
        self.is_limit_logged = waits;
    }

    fn may_start(&self, queued_job: &QueuedJob) -> bool {
        !queued_job.is_uncounted || self.max_running.is_none_or(|limit| self.running.len() < limit)
    }

    /// Returns the time until queued jobs can be started. `None` if that depends on running jobs.
    pub(super) fn retry_wait(&self) -> Option<Duration> {
        self.thread_retry.wait().filter(|_| !self.queued.is_empty())
    }

    /// Runs a job on a thread. If the work panics, `abandoned` is sent: a job can fail, but it
    /// can't vanish and leave its mirror waiting forever.
    fn run(&mut self, queued_job: QueuedJob) -> Result<(), Box<(QueuedJob, io::Error)>> {
        let job = queued_job.job;
        let inbox = self.inbox.clone();
        let cancel = CancelToken::with_child_listener(move || inbox.send(Message::ChildChanged));
        // A thread that fails to start does not return its closure, so the job stays reachable
        // here.
        let slot = Arc::new(Mutex::new(Some(queued_job)));
        let (thread_slot, job_stop, inbox) =
            (Arc::clone(&slot), cancel.clone(), self.inbox.clone());
        let work = move || {
            if let Some(QueuedJob { task, if_abandoned, .. }) = take_job(&thread_slot) {
                Reply { input: Some(if_abandoned), inbox }.send(task(&job_stop));
            }
        };
        let spawned = thread::Builder::new().name("job".into()).spawn(work);
        if let Err(error) = spawned
            && let Some(queued_job) = take_job(&slot)
        {
            return Err(Box::new((queued_job, error)));
        }
        self.running.insert(job, cancel);
        Ok(())
    }

    /// Notifies running jobs that the daemon is about to exit.
    pub(super) fn notify_exit(&self) {
        self.running.values().for_each(CancelToken::announce_shutdown);
    }

    /// Asks a job to stop. One that was not started yet is answered at once.
    pub(super) fn stop(&mut self, job: JobId) {
        if let Some(cancel) = self.running.get(&job) {
            cancel.cancel();
        } else if let Some(at) = self.queued.iter().position(|it| it.job == job)
            && let Some(queued_job) = self.queued.remove(at)
        {
            self.inbox.send(Message::Input(queued_job.if_stopped));
        }
    }

    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Returns the child processes of the jobs, oldest first, each with its start time in ticks of
    /// `times(2)`.
    pub(super) fn children(&self) -> Vec<(Pid, u64)> {
        let mut children: Vec<_> = self.running.values().filter_map(CancelToken::child).collect();
        children.sort_unstable_by_key(|(_, started)| *started);
        children
    }

    /// Removes a job that has ended, and starts queued ones.
    pub(super) fn job_ended(&mut self, job: JobId) {
        self.running.remove(&job);
        self.start_queued();
    }
}

fn take_job(slot: &Mutex<Option<QueuedJob>>) -> Option<QueuedJob> {
    lock(slot).take()
}

/// Exit code of a child that could not be started, as in the original.
const NOT_STARTED: ChildExit = ChildExit::Code(255);

/// Runs a job for a script to completion, and reports its result as that of a program.
///
/// A failure above the paths of the job is not part of it, and no later job would retry it. It is
/// retried separately, once.
fn run_as_child(job: &Job, executor: &dyn Executor, cancel: &CancelToken, log: &Log) -> ChildExit {
    let observed = job.work.observed();
    let mut remaining: Vec<Work> = vec![job.work.clone()];
    let (mut ancestors, mut failed) = (PathSet::new(), Vec::new());
    let mut sort_failures = |more: Vec<(DirtyPath, Failure)>, remaining: &mut Vec<Work>| {
        for (dirty, failure) in more {
            if is_ancestor_of_work(&dirty, &job.work) && !ancestors.covers(&dirty.path, dirty.scope)
            {
                ancestors.insert(&dirty.path, dirty.scope);
                let paths = Arc::new([dirty].iter().collect());
                remaining.push(Work::Batch {
                    paths,
                    observed: Arc::clone(observed),
                    renames: Arc::new([]),
                });
            } else {
                failed.push((dirty, failure));
            }
        }
    };
    while let Some(work) = remaining.pop() {
        match executor.run(&mut Job { work, ..job.clone() }, cancel) {
            Outcome::Done => {}
            Outcome::Partial(more) => sort_failures(more, &mut remaining),
            Outcome::Split { large, failed: more, held } => {
                sort_failures(more, &mut remaining);
                let by_itself = |path| Work::Large { path, observed: Arc::clone(observed) };
                remaining.extend(large.into_iter().map(by_itself));
                log_events::log_held(log, "", &held, &held);
            }
            Outcome::SourceGone(failure) => {
                return ChildExit::Partial(vec![(DirtyPath::root_tree(), failure)]);
            }
            Outcome::HookFailed { failure, held, .. } => {
                log_events::log_held(log, "", &held, &held);
                log.say(Category::Warn, &failure.message);
                return ChildExit::Code(failure.code.unwrap_or(255));
            }
            Outcome::Retry(failure) | Outcome::Fatal(failure, _) => {
                log.say(Category::Warn, &failure.message);
                return ChildExit::Code(failure.code.unwrap_or(255));
            }
        }
    }
    if failed.is_empty() { ChildExit::Code(0) } else { ChildExit::Partial(failed) }
}

/// Returns true if this path is not part of the work but an ancestor of a part of it.
fn is_ancestor_of_work(dirty: &DirtyPath, work: &Work) -> bool {
    let Work::Batch { paths, .. } = work else { return false };
    let DirtyPath { path, .. } = dirty;
    paths.overlaps(path, Scope::Tree) && !paths.covers(path, Scope::Entry)
}

/// Answer that a job owes the engine. If it is dropped unused, as on a panic, it sends the input
/// that it was created with.
#[must_use = "a job owes an answer"]
struct Reply {
    input: Option<Input>,
    inbox: Inbox,
}

impl Reply {
    fn send(mut self, input: Input) {
        self.input = Some(input);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            self.inbox.send(Message::Input(input));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::MessageChannel;
    use crate::{exec::process::child::ChildOutput, report::RunMode};
    use mirror_core::{fs_event::MirrorId, job::Work, path::TreePath};

    struct PanickingExecutor;

    impl Executor for PanickingExecutor {
        fn run(&self, _: &mut Job, _: &CancelToken) -> Outcome {
            panic!("on purpose, in a test")
        }
    }

    #[test]
    fn jobs_over_the_limit_wait_in_order_and_can_be_stopped() {
        let MessageChannel { inbox, receiver } = MessageChannel::default();
        let mut jobs = Jobs::new(None, inbox, Log::default());
        jobs.capacity = 1;
        let next = || loop {
            if let Message::Input(Input::JobEnded(JobEnd { job, outcome, .. })) =
                receiver.recv().unwrap()
            {
                return (job.0, outcome);
            }
        };
        for id in [1, 2, 3].map(JobId) {
            jobs.start(Job::new(id, MirrorId(0), Work::full()), Arc::new(DoneExecutor));
        }
        assert_eq!(next(), (1, Outcome::Done));
        jobs.stop(JobId(2));
        assert_eq!(next(), (2, Outcome::Retry(Failure::new("the job was stopped"))));
        jobs.job_ended(JobId(1));
        assert_eq!(next(), (3, Outcome::Done));
        // Simulates a shortage of threads.
        jobs.job_ended(JobId(3));
        jobs.thread_retry.pause_for(Duration::from_mins(10));
        jobs.start(Job::new(JobId(4), MirrorId(0), Work::full()), Arc::new(DoneExecutor));
        assert!(jobs.running.is_empty() && jobs.retry_wait().is_some());
        jobs.thread_retry.pause_for(Duration::ZERO);
        // The engine must not sleep if the pause ends right before it asks.
        assert_eq!(jobs.retry_wait(), Some(Duration::ZERO));
        jobs.start_queued();
        assert_eq!(next(), (4, Outcome::Done));
        assert_eq!(jobs.retry_wait(), None);
    }

    #[test]
    fn the_log_says_once_that_jobs_wait_for_a_limit_of_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (dir.path().join("log"), Log::default());
        log.begin(RunMode::Daemon, Some(path.clone()), "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        let mut jobs = Jobs::new(None, MessageChannel::default().inbox, log);
        jobs.capacity = 1;
        let start = |jobs: &mut Jobs, id| {
            jobs.start(Job::new(JobId(id), MirrorId(0), Work::full()), Arc::new(DoneExecutor));
        };
        let warnings =
            || fs::read_to_string(&path).unwrap().matches("allows no more than 1 ").count();
        start(&mut jobs, 1);
        assert_eq!(warnings(), 0);
        start(&mut jobs, 2);
        start(&mut jobs, 3);
        assert_eq!(warnings(), 1);
        (1..=3).for_each(|id| jobs.job_ended(JobId(id)));
        // The next wait is another one.
        assert!(!jobs.is_limit_logged);
    }

    #[test]
    fn a_panicking_job_still_replies() {
        let MessageChannel { inbox, receiver } = MessageChannel::default();
        let mut jobs = Jobs::new(None, inbox, Log::default());
        let job = Job::new(JobId(7), MirrorId(0), Work::full());
        jobs.start(job, Arc::new(PanickingExecutor));
        let Message::Input(Input::JobEnded(JobEnd { job, outcome, .. })) = receiver.recv().unwrap()
        else {
            panic!("no end of a job");
        };
        assert_eq!(job, JobId(7));
        assert!(matches!(outcome, Outcome::Retry(_)));
    }

    /// Executor that fails at `b` a number of times, and records the paths of each call.
    struct FailingAncestorExecutor(usize, Mutex<Vec<PathSet>>);

    impl Executor for FailingAncestorExecutor {
        fn run(&self, job: &mut Job, _: &CancelToken) -> Outcome {
            let Work::Batch { paths, .. } = &job.work else { panic!() };
            let mut asked = self.1.lock().unwrap();
            asked.push((**paths).clone());
            if asked.len() > self.0 {
                return Outcome::Done;
            }
            let dirty = DirtyPath { path: TreePath::new(b"b").unwrap(), scope: Scope::Tree };
            Outcome::Partial(vec![(dirty, Failure::new("no"))])
        }
    }

    #[test]
    fn a_failed_ancestor_of_script_paths_is_retried_once() {
        for (fails, exit) in [(0, true), (1, true), (2, false), (3, false)] {
            let set = |path: &[u8], scope| {
                [DirtyPath { path: TreePath::new(path).unwrap(), scope }]
                    .iter()
                    .collect::<PathSet>()
            };
            let asked = set(b"b/x", Scope::Entry);
            let (observed, moves) = (Arc::default(), Arc::default());
            let work = Work::Batch { paths: Arc::new(asked.clone()), observed, renames: moves };
            let job = Job::new(JobId(1), MirrorId(0), work);
            let executor = FailingAncestorExecutor(fails, Mutex::default());
            let end = run_as_child(&job, &executor, &CancelToken::default(), &Log::default());
            assert_eq!(end == ChildExit::Code(0), exit, "{fails}: {end:?}");
            let mut expected = vec![asked, set(b"b", Scope::Tree)];
            expected.truncate(fails + 1);
            assert_eq!(executor.1.into_inner().unwrap(), expected, "{fails}");
        }
    }

    struct DoneExecutor;

    impl Executor for DoneExecutor {
        fn run(&self, _: &mut Job, _: &CancelToken) -> Outcome {
            Outcome::Done
        }
    }

    #[test]
    fn script_children_wait_for_capacity_in_order() {
        let dirty = tempfile::tempdir().unwrap();
        let MessageChannel { inbox, receiver } = MessageChannel::default();
        let mut jobs = Jobs::new(Some(1), inbox, Log::default());
        let spawn = |jobs: &mut Jobs, number: u64| {
            let script = format!("echo {number} >> said; until [ -e go ]; do sleep 0.01; done");
            jobs.start_child(ScriptProcess {
                job: JobId(number),
                program: ChildProgram {
                    binary: "sh".into(),
                    working_dir: dirty.path().into(),
                    environment: Vec::new(),
                    output: ChildOutput::Null,
                    parent_death_signal: Signal::TERM,
                    inherited: None,
                },
                call: CommandLine { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None },
            });
        };
        (1..=3).for_each(|number| spawn(&mut jobs, number));
        let job = Job::new(JobId(4), MirrorId(0), Work::full());
        jobs.start_transfer(job, Arc::new(DoneExecutor));
        let next = || loop {
            let Message::Input(input) = receiver.recv().unwrap() else { continue };
            if let Input::Script(ScriptInput::ChildExited { job, exit }) = input {
                return (job, exit);
            }
        };
        jobs.stop(JobId(2));
        assert_eq!(next(), (JobId(2), ChildExit::Signal(15)));
        std::fs::write(dirty.path().join("go"), "").unwrap();
        for expected in [1, 3, 4].map(JobId) {
            let (job, exit) = next();
            assert_eq!((job, exit), (expected, ChildExit::Code(0)));
            jobs.job_ended(job);
        }
        assert_eq!(std::fs::read_to_string(dirty.path().join("said")).unwrap(), "1\n3\n");
    }
}
