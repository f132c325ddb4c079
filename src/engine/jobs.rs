//! The jobs that run, each on a thread of its own.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mirror_core::{
    input::{ChildExit, Input},
    job::{Failure, Job, JobId, Outcome, Place, Scope, Work},
    path::Escaped,
    plan::rsync::Call,
    queue::PlaceSet,
};
use rustix::process::{Pid, Resource, Signal, getrlimit};

use super::{Inbox, Message, words};
use crate::{
    exec::{
        Executor,
        process::{
            cancel::Stop,
            child::{End, Program},
        },
    },
    report::{Category, Log},
};

/// How many descriptors a job may need.
const PER_JOB: u64 = 24;

/// How many processes a job may need: its thread, three of rsync, and an ssh or another program of the
/// user, over what the others of this user are.
const PROCESSES_PER_JOB: u64 = 6;

/// How many all else may need.
const FOR_ALL_ELSE: u64 = 56;

/// How long nothing is started after there was no thread for it.
const REST: Duration = Duration::from_millis(200);

/// The jobs that run. The fleet sees to it that they are not too many, but for what a script starts
/// when it likes: that it counts, and here it waits until there is room.
///
/// Here wait also those for which the process has not enough of something.
pub(super) struct Jobs {
    inbox: Inbox,
    most: Option<usize>,
    /// So many are within the limits of the process.
    room: usize,
    running: HashMap<JobId, Stop>,
    waiting: VecDeque<Waiting>,
    /// Nothing is started before.
    rest: Option<Instant>,
    log: Log,
}

/// Work that was not started yet.
struct Waiting {
    job: JobId,
    task: Task,
    /// What is answered if it fails to.
    abandoned: Input,
    /// What is answered if it is stopped before.
    stopped: Input,
    /// A script has started it when it liked.
    is_uncounted: bool,
}

/// What is done on a thread, and its answer.
type Task = Box<dyn FnOnce(&Stop) -> Input + Send>;

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
    pub(super) fn new(most: Option<usize>, inbox: Inbox, log: Log) -> Self {
        let (files, processes) = (getrlimit(Resource::Nofile), getrlimit(Resource::Nproc));
        let files = files.current.map(|most| most.saturating_sub(FOR_ALL_ELSE) / PER_JOB);
        let processes = processes.current.map(|most| most / PROCESSES_PER_JOB);
        let room = files.into_iter().chain(processes).min();
        let room = room.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).max(1);
        let (running, waiting) = (HashMap::new(), VecDeque::new());
        Self { inbox, most, room, running, waiting, rest: None, log }
    }

    /// From now on so many run at once.
    pub(super) fn limit(&mut self, most: Option<usize>) {
        self.most = most;
        self.fill();
    }

    /// Starts a job as soon as there is room for it. Its end comes through the inbox, whatever happens.
    pub(super) fn start(&mut self, mut job: Job, executor: Arc<dyn Executor>) {
        let id = job.id;
        let ended = move |outcome| Input::JobEnded { job: id, outcome };
        let again = |why| ended(Outcome::Again(Failure::new(why)));
        self.waiting.push_back(Waiting {
            job: id,
            task: Box::new(move |stop| {
                let outcome = executor.run(&mut job, stop);
                // What the job shares with its batch is given back before the batch is settled.
                drop(job);
                ended(outcome)
            }),
            abandoned: again("the job was abandoned: a bug"),
            stopped: again("the job was stopped"),
            is_uncounted: false,
        });
        self.fill();
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
                end @ (End::Hung(_) | End::Doomed | End::Lost(_)) => {
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
        let ended = move |exit| Input::ChildEnded { job, exit };
        self.waiting.push_back(Waiting {
            job,
            task: Box::new(move |stop| ended(work(stop))),
            abandoned: ended(NOT_STARTED),
            // As if it had been started and asked to.
            stopped: ended(ChildExit::Signal(Signal::TERM.as_raw())),
            is_uncounted: true,
        });
        self.fill();
    }

    /// Starts what there is room for.
    pub(super) fn fill(&mut self) {
        if self.waiting.is_empty() || self.wait().is_some() {
            return;
        }
        self.rest = None;
        while self.running.len() < self.room
            && let Some(at) = self.waiting.iter().position(|it| self.may_start(it))
            && let Some(next) = self.waiting.remove(at)
        {
            if let Err(failed) = self.run(next) {
                let (waiting, error) = *failed;
                if self.rest.is_none() {
                    let text =
                        format_args!("no thread for a job yet: {error}; it waits for its turn");
                    self.log.say(Category::Warn, text);
                }
                self.waiting.insert(at, waiting);
                self.rest = Some(Instant::now() + REST);
                return;
            }
        }
    }

    fn may_start(&self, waiting: &Waiting) -> bool {
        !waiting.is_uncounted || self.most.is_none_or(|most| self.running.len() < most)
    }

    /// How long nothing can be started that waits. `None` if it depends on what runs.
    pub(super) fn wait(&self) -> Option<Duration> {
        let rest = self.rest.filter(|_| !self.waiting.is_empty())?;
        let rest = rest.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    /// Works on a thread. If the work panics, `abandoned` is told: a job can fail, but it can't vanish
    /// and leave its mirror waiting for ever.
    fn run(&mut self, waiting: Waiting) -> Result<(), Box<(Waiting, io::Error)>> {
        let job = waiting.job;
        let inbox = self.inbox.clone();
        let stop = Stop::telling(move || inbox.send(Message::Child));
        // A thread that can't be had does not give back what it was to do.
        let desk = Arc::new(Mutex::new(Some(waiting)));
        let (on_desk, told, inbox) = (Arc::clone(&desk), stop.clone(), self.inbox.clone());
        let work = move || {
            if let Some(Waiting { task, abandoned, .. }) = take(&on_desk) {
                Reply { input: Some(abandoned), inbox }.send(task(&told));
            }
        };
        let spawned = thread::Builder::new().name("job".into()).spawn(work);
        if let Err(error) = spawned
            && let Some(waiting) = take(&desk)
        {
            return Err(Box::new((waiting, error)));
        }
        self.running.insert(job, stop);
        Ok(())
    }

    /// Tells those that run that all is to end soon.
    pub(super) fn hurry(&self) {
        self.running.values().for_each(Stop::hurry);
    }

    /// Asks a job to end. What was not started yet has ended.
    pub(super) fn stop(&mut self, job: JobId) {
        if let Some(stop) = self.running.get(&job) {
            stop.ask();
        } else if let Some(at) = self.waiting.iter().position(|it| it.job == job)
            && let Some(waiting) = self.waiting.remove(at)
        {
            self.inbox.send(Message::Input(waiting.stopped));
        }
    }

    /// Whether there are any.
    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
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

fn take(desk: &Mutex<Option<Waiting>>) -> Option<Waiting> {
    desk.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What a child that could not be started returns, as the original has it.
const NOT_STARTED: ChildExit = ChildExit::Code(255);

/// Carries out a job for a script, all of it, and tells of it as if it were a program.
///
/// What failed above the places of the job is no part of it, and has nobody who would try it again:
/// it is looked at by itself, once.
fn exit_of(job: &Job, executor: &dyn Executor, stop: &Stop, log: &Log) -> ChildExit {
    let heard = job.work.heard();
    let mut left: Vec<Work> = vec![job.work.clone()];
    let (mut above, mut failed) = (PlaceSet::new(), Vec::new());
    let mut note = |more: Vec<(Place, Failure)>, left: &mut Vec<Work>| {
        for (place, failure) in more {
            if lies_above(&place, &job.work) && !above.covers(&place.path, place.scope) {
                above.insert(&place.path, place.scope);
                let places = Arc::new([place].iter().collect());
                left.push(Work::Batch { places, heard: Arc::clone(heard), moves: Arc::new([]) });
            } else {
                failed.push((place, failure));
            }
        }
    };
    while let Some(work) = left.pop() {
        match executor.run(&mut Job { work, ..job.clone() }, stop) {
            Outcome::Done => {}
            Outcome::Partly(more) => note(more, &mut left),
            Outcome::Split { large, failed: more, held } => {
                note(more, &mut left);
                let alone = |path| Work::Large { path, heard: Arc::clone(heard) };
                left.extend(large.into_iter().map(alone));
                for held in &held {
                    log.say(Category::Warn, words::held(held));
                }
            }
            Outcome::SourceGone(failure) => {
                return ChildExit::Partly(vec![(Place::all(), failure)]);
            }
            Outcome::HookFailed { failure, held, .. } => {
                for held in &held {
                    log.say(Category::Warn, words::held(held));
                }
                log.say(Category::Warn, &failure.why);
                return ChildExit::Code(failure.code.unwrap_or(255));
            }
            Outcome::Again(failure) | Outcome::Fatal(failure, _) => {
                log.say(Category::Warn, &failure.why);
                return ChildExit::Code(failure.code.unwrap_or(255));
            }
        }
    }
    if failed.is_empty() { ChildExit::Code(0) } else { ChildExit::Partly(failed) }
}

/// Returns true if this place is no part of the work, and a part of it lies below it.
fn lies_above(place: &Place, work: &Work) -> bool {
    let Work::Batch { places, .. } = work else { return false };
    let Place { path, .. } = place;
    places.overlaps(path, Scope::Tree) && !places.covers(path, Scope::Entry)
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
    use crate::exec::process::child::ChildOutput;
    use mirror_core::{job::Work, notice::MirrorId, path::TreePath};

    struct Panics;

    impl Executor for Panics {
        fn run(&self, _: &mut Job, _: &Stop) -> Outcome {
            panic!("on purpose, in a test")
        }
    }

    #[test]
    fn who_finds_no_room_waits_for_its_turn_and_can_be_stopped() {
        let (inbox, receiver) = inbox();
        let mut jobs = Jobs::new(None, inbox, Log::default());
        jobs.room = 1;
        let next = || loop {
            if let Message::Input(Input::JobEnded { job, outcome }) = receiver.recv().unwrap() {
                return (job.0, outcome);
            }
        };
        for id in [1, 2, 3].map(JobId) {
            jobs.start(Job { id, mirror: MirrorId(0), work: Work::full() }, Arc::new(Works));
        }
        assert_eq!(next(), (1, Outcome::Done));
        jobs.stop(JobId(2));
        assert_eq!(next(), (2, Outcome::Again(Failure::new("the job was stopped"))));
        jobs.ended(JobId(1));
        assert_eq!(next(), (3, Outcome::Done));
        // After a shortage of threads.
        jobs.ended(JobId(3));
        jobs.rest = Some(Instant::now() + Duration::from_mins(10));
        jobs.start(Job { id: JobId(4), mirror: MirrorId(0), work: Work::full() }, Arc::new(Works));
        assert!(jobs.running.is_empty() && jobs.wait().is_some());
        jobs.rest = Some(Instant::now());
        jobs.fill();
        assert_eq!(next(), (4, Outcome::Done));
        assert_eq!(jobs.wait(), None);
    }

    #[test]
    fn a_job_that_panics_still_answers() {
        let (inbox, receiver) = inbox();
        let mut jobs = Jobs::new(None, inbox, Log::default());
        let job = Job { id: JobId(7), mirror: MirrorId(0), work: Work::full() };
        jobs.start(job, Arc::new(Panics));
        let Message::Input(Input::JobEnded { job, outcome }) = receiver.recv().unwrap() else {
            panic!("no end of a job");
        };
        assert_eq!(job, JobId(7));
        assert!(matches!(outcome, Outcome::Again(_)));
    }

    /// Fails so often at `b`, and is told to look at these places.
    struct FailsAbove(usize, Mutex<Vec<PlaceSet>>);

    impl Executor for FailsAbove {
        fn run(&self, job: &mut Job, _: &Stop) -> Outcome {
            let Work::Batch { places, .. } = &job.work else { panic!() };
            let mut asked = self.1.lock().unwrap();
            asked.push((**places).clone());
            if asked.len() > self.0 {
                return Outcome::Done;
            }
            let place = Place { path: TreePath::new(b"b").unwrap(), scope: Scope::Tree };
            Outcome::Partly(vec![(place, Failure::new("no"))])
        }
    }

    #[test]
    fn what_failed_above_the_places_of_a_script_is_looked_at_by_itself_once() {
        for (fails, exit) in [(0, true), (1, true), (2, false), (3, false)] {
            let set = |path: &[u8], scope| {
                [Place { path: TreePath::new(path).unwrap(), scope }].iter().collect::<PlaceSet>()
            };
            let asked = set(b"b/x", Scope::Entry);
            let (heard, moves) = (Arc::default(), Arc::default());
            let work = Work::Batch { places: Arc::new(asked.clone()), heard, moves };
            let job = Job { id: JobId(1), mirror: MirrorId(0), work };
            let executor = FailsAbove(fails, Mutex::default());
            let end = exit_of(&job, &executor, &Stop::default(), &Log::default());
            assert_eq!(end == ChildExit::Code(0), exit, "{fails}: {end:?}");
            let mut expected = vec![asked, set(b"b", Scope::Tree)];
            expected.truncate(fails + 1);
            assert_eq!(executor.1.into_inner().unwrap(), expected, "{fails}");
        }
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
        let mut jobs = Jobs::new(Some(1), inbox, Log::default());
        let spawn = |jobs: &mut Jobs, number: u64| {
            let script = format!("echo {number} >> said; until [ -e go ]; do sleep 0.01; done");
            jobs.spawn(Spawn {
                job: JobId(number),
                program: Program {
                    binary: "sh".into(),
                    directory: place.path().into(),
                    environment: Vec::new(),
                    output: ChildOutput::Null,
                    at_our_end: Signal::TERM,
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
