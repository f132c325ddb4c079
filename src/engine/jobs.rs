//! The jobs that run, each on a thread of its own.

use std::{
    collections::{HashMap, VecDeque},
    os::unix::ffi::OsStrExt,
    sync::Arc,
    thread,
};

use mirror_core::{
    input::{ChildExit, Input},
    job::{Failure, Job, JobId, Outcome, Place, Scope, Work},
    path::{Escaped, TreePath},
    plan::rsync::Call,
};
use rustix::process::{Pid, Signal};

use super::{Inbox, Message, words};
use crate::{
    exec::{
        Executor,
        child::{End, Program},
        stop::Stop,
    },
    report::{Category, Log},
};

/// The jobs that run. The fleet sees to it that they are not too many, but for what a script starts
/// when it likes: that it counts, and here it waits until there is room.
pub(super) struct Jobs {
    inbox: Inbox,
    most: Option<usize>,
    running: HashMap<JobId, Stop>,
    waiting: VecDeque<(JobId, Wanted)>,
}

/// What a script wants done, and how it ended.
type Wanted = Box<dyn FnOnce(&Stop) -> ChildExit + Send>;

/// A child that a script wants.
#[derive(Debug)]
pub(super) struct Spawn {
    pub(super) job: JobId,
    pub(super) program: Program,
    pub(super) call: Call,
    pub(super) log: Log,
}

impl Jobs {
    /// At most so many run at once, if there is a limit.
    pub(super) fn new(most: Option<usize>, inbox: Inbox) -> Self {
        Self { inbox, most, running: HashMap::new(), waiting: VecDeque::new() }
    }

    /// From now on so many run at once.
    pub(super) fn limit(&mut self, most: Option<usize>) {
        self.most = most;
        self.fill();
    }

    /// Starts a job. Its end comes through the inbox, whatever happens.
    pub(super) fn start(&mut self, mut job: Job, executor: Arc<dyn Executor>) {
        let id = job.id;
        let abandoned = Outcome::Again(Failure::new("the job was abandoned: no thread, or a bug"));
        let ended = move |outcome| Input::JobEnded { job: id, outcome };
        self.run(id, ended(abandoned), move |stop| {
            let outcome = executor.run(&mut job, stop);
            // What the job shares with its batch is given back before the batch is settled.
            drop(job);
            ended(outcome)
        });
    }

    /// Starts a child of a script as soon as there is room for it. Those that were wanted earlier
    /// come first.
    pub(super) fn spawn(&mut self, spawn: Spawn) {
        let Spawn { job, program, call, log } = spawn;
        self.line_up(job, move |stop| {
            log.say(Category::Debug("Exec"), program.line(&call));
            match program.run(&call, stop, &mut |_| ()) {
                End::Exited(code) => ChildExit::Code(code),
                End::Killed(signal) => ChildExit::Signal(signal),
                End::NotStarted(error) => {
                    let name = Escaped(program.binary.as_bytes());
                    let text = format_args!("Failed executing [ {name} ]! {error}");
                    log.say(Category::Error, text);
                    NOT_STARTED
                }
                end @ (End::Hung(_) | End::Lost(_)) => {
                    let name = Escaped(program.binary.as_bytes()).to_string();
                    log.say(Category::Error, end.of(&name));
                    NOT_STARTED
                }
            }
        });
    }

    /// The same with a target of ours. Its end is told as that of a child.
    pub(super) fn transfer(&mut self, job: Job, executor: Arc<dyn Executor>, log: Log) {
        self.line_up(job.id, move |stop| exit_of(&job, &*executor, stop, &log));
    }

    fn line_up(&mut self, job: JobId, work: impl FnOnce(&Stop) -> ChildExit + Send + 'static) {
        self.waiting.push_back((job, Box::new(work)));
        self.fill();
    }

    fn fill(&mut self) {
        while self.most.is_none_or(|most| self.running.len() < most) {
            let Some((job, work)) = self.waiting.pop_front() else { return };
            let ended = move |exit| Input::ChildEnded { job, exit };
            self.run(job, ended(NOT_STARTED), move |stop| ended(work(stop)));
        }
    }

    /// Works on a thread. If there can be none, or the work panics, `abandoned` is told: a job can
    /// fail, but it can't vanish and leave its mirror waiting for ever.
    fn run(
        &mut self,
        job: JobId,
        abandoned: Input,
        work: impl FnOnce(&Stop) -> Input + Send + 'static,
    ) {
        let inbox = self.inbox.clone();
        let stop = Stop::telling(move || inbox.send(Message::Child));
        let reply = Reply { input: Some(abandoned), inbox: self.inbox.clone() };
        self.running.insert(job, stop.clone());
        // If there can be no thread, the reply is dropped with the closure, and answers.
        let work = move || reply.send(work(&stop));
        let _ = thread::Builder::new().name("job".into()).spawn(work);
    }

    /// Asks a job to end. What was not started yet has ended, as if it had been started and asked
    /// to.
    pub(super) fn stop(&mut self, job: JobId) {
        if let Some(stop) = self.running.get(&job) {
            stop.ask();
        } else if let Some(at) = self.waiting.iter().position(|(id, _)| *id == job) {
            self.waiting.remove(at);
            let exit = ChildExit::Signal(Signal::TERM.as_raw());
            self.inbox.send(Message::Input(Input::ChildEnded { job, exit }));
        }
    }

    /// The children that do the work of jobs, each with its start in ticks of `times(2)`, the
    /// oldest first.
    pub(super) fn children(&self) -> Vec<(Pid, u64)> {
        let mut children: Vec<_> = self.running.values().filter_map(Stop::child).collect();
        children.sort_unstable_by_key(|(_, started)| *started);
        children
    }

    /// A job has ended.
    pub(super) fn ended(&mut self, job: JobId) {
        self.running.remove(&job);
        self.fill();
    }
}

/// What a child that could not be started returns, as the original has it.
const NOT_STARTED: ChildExit = ChildExit::Code(255);

/// Carries out a job for a script, all of it, and tells of it as if it were a program.
fn exit_of(job: &Job, executor: &dyn Executor, stop: &Stop, log: &Log) -> ChildExit {
    let mut left: Vec<Work> = vec![job.work.clone()];
    let mut failed = Vec::new();
    while let Some(work) = left.pop() {
        match executor.run(&mut Job { work, ..job.clone() }, stop) {
            Outcome::Done => {}
            Outcome::Partly(more) => failed.extend(more),
            Outcome::Split { large, failed: more, held } => {
                failed.extend(more);
                let heard = job.work.heard();
                let alone = |path| Work::Large { path, heard: Arc::clone(heard) };
                left.extend(large.into_iter().map(alone));
                for held in &held {
                    log.say(Category::Warn, words::held(held));
                }
            }
            Outcome::SourceGone(failure) => {
                let all = Place { path: TreePath::root(), scope: Scope::Tree };
                return ChildExit::Partly(vec![(all, failure)]);
            }
            Outcome::Again(failure)
            | Outcome::Fatal(failure, _)
            | Outcome::HookFailed(failure, _) => {
                log.say(Category::Warn, &failure.why);
                return ChildExit::Code(failure.code.unwrap_or(255));
            }
        }
    }
    if failed.is_empty() { ChildExit::Code(0) } else { ChildExit::Partly(failed) }
}

/// The one answer that a job owes the engine. Dropped unused, as on a panic, it is the one that it
/// was made with.
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
    use super::*;
    use crate::engine::inbox;
    use crate::exec::child::ChildOutput;
    use mirror_core::{job::Work, notice::MirrorId};

    struct Panics;

    impl Executor for Panics {
        fn run(&self, _: &mut Job, _: &Stop) -> Outcome {
            panic!("on purpose, in a test")
        }
    }

    #[test]
    fn a_job_that_panics_still_answers() {
        let (inbox, receiver) = inbox();
        let mut jobs = Jobs::new(None, inbox);
        let job = Job { id: JobId(7), mirror: MirrorId(0), work: Work::full() };
        jobs.start(job, Arc::new(Panics));
        let Message::Input(Input::JobEnded { job, outcome }) = receiver.recv().unwrap() else {
            panic!("no end of a job");
        };
        assert_eq!(job, JobId(7));
        assert!(matches!(outcome, Outcome::Again(_)));
    }

    struct Works;

    impl Executor for Works {
        fn run(&self, _: &mut Job, _: &Stop) -> Outcome {
            Outcome::Done
        }
    }

    #[test]
    fn what_scripts_start_waits_for_room_in_its_order() {
        let place = tempfile::tempdir().unwrap();
        let (inbox, receiver) = inbox();
        let mut jobs = Jobs::new(Some(1), inbox);
        let spawn = |jobs: &mut Jobs, number: u64| {
            let script = format!("echo {number} >> said; until [ -e go ]; do sleep 0.01; done");
            jobs.spawn(Spawn {
                job: JobId(number),
                program: Program {
                    binary: "sh".into(),
                    directory: place.path().into(),
                    environment: Vec::new(),
                    output: ChildOutput::Null,
                },
                call: Call { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None },
                log: Log::default(),
            });
        };
        (1..=3).for_each(|number| spawn(&mut jobs, number));
        let job = Job { id: JobId(4), mirror: MirrorId(0), work: Work::full() };
        jobs.transfer(job, Arc::new(Works), Log::default());
        let next = || loop {
            if let Message::Input(Input::ChildEnded { job, exit }) = receiver.recv().unwrap() {
                return (job, exit);
            }
        };
        jobs.stop(JobId(2));
        assert_eq!(next(), (JobId(2), ChildExit::Signal(15)));
        std::fs::write(place.path().join("go"), "").unwrap();
        for expected in [1, 3, 4].map(JobId) {
            let (job, exit) = next();
            assert_eq!((job, exit), (expected, ChildExit::Code(0)));
            jobs.ended(job);
        }
        assert_eq!(std::fs::read_to_string(place.path().join("said")).unwrap(), "1\n3\n");
    }
}
