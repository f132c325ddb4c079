//! The jobs that run, each on a thread of its own.

use std::{collections::HashMap, sync::Arc, thread};

use mirror_core::{
    input::Input,
    job::{Failure, Job, JobId, Outcome},
};
use rustix::process::Pid;

use super::{Inbox, Message};
use crate::exec::{Executor, stop::Stop};

/// The jobs that run. The fleet sees to it that they are not too many.
pub(super) struct Jobs {
    inbox: Inbox,
    running: HashMap<JobId, Stop>,
}

impl Jobs {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self { inbox, running: HashMap::new() }
    }

    /// Starts a job. Its end comes through the inbox, whatever happens.
    pub(super) fn start(&mut self, job: Job, executor: Arc<dyn Executor>) {
        let inbox = self.inbox.clone();
        let stop = Stop::telling(move || inbox.send(Message::Child));
        let reply = Reply { job: job.id, inbox: Some(self.inbox.clone()) };
        self.running.insert(job.id, stop.clone());
        let work = move || {
            let outcome = executor.run(&job, &stop);
            // What the job shares with its batch is given back before the batch is settled.
            drop(job);
            reply.send(outcome);
        };
        // If there can be no thread, the reply is dropped with the closure, and answers.
        let _ = thread::Builder::new().name("job".into()).spawn(work);
    }

    /// Asks a job to end.
    pub(super) fn stop(&self, job: JobId) {
        if let Some(stop) = self.running.get(&job) {
            stop.ask();
        }
    }

    /// The children that do the work of jobs, each with its start in ticks of `times(2)`, the
    /// oldest first.
    pub(super) fn children(&self) -> Vec<(Pid, u64)> {
        let mut children: Vec<_> = self.running.values().filter_map(Stop::child).collect();
        children.sort_unstable_by_key(|(_, started)| *started);
        children
    }

    pub(super) fn ended(&mut self, job: JobId) {
        self.running.remove(&job);
    }
}

/// The one answer that a job owes the engine.
///
/// Dropped unused, as on a panic of the executor, it answers [`Outcome::Again`]: a job can fail,
/// but it can't vanish and leave its mirror waiting for ever.
#[must_use = "a job owes an answer"]
struct Reply {
    job: JobId,
    inbox: Option<Inbox>,
}

impl Reply {
    fn send(mut self, outcome: Outcome) {
        self.deliver(outcome);
    }

    fn deliver(&mut self, outcome: Outcome) {
        if let Some(inbox) = self.inbox.take() {
            inbox.send(Message::Input(Input::JobEnded { job: self.job, outcome }));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.deliver(Outcome::Again(Failure::new("the job was abandoned: no thread, or a bug")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::inbox;
    use mirror_core::{job::Work, notice::MirrorId};

    struct Panics;

    impl Executor for Panics {
        fn run(&self, _: &Job, _: &Stop) -> Outcome {
            panic!("on purpose, in a test")
        }
    }

    #[test]
    fn a_job_that_panics_still_answers() {
        let (inbox, receiver) = inbox();
        let mut jobs = Jobs::new(inbox);
        let job = Job { id: JobId(7), mirror: MirrorId(0), work: Work::Full };
        jobs.start(job, Arc::new(Panics));
        let Message::Input(Input::JobEnded { job, outcome }) = receiver.recv().unwrap() else {
            panic!("no end of a job");
        };
        assert_eq!(job, JobId(7));
        assert!(matches!(outcome, Outcome::Again(_)));
    }
}
