//! `onSynced`: from a job to a function of the user, and back.

use std::sync::mpsc::{Sender, channel};

use super::{Engine, Inbox, Message};

/// The way from a job to the functions of `onSynced`, of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Synced {
    pub(super) inbox: Inbox,
    pub(super) generation: u64,
}

/// A batch is on the target, and a function is to be called for it.
#[derive(Debug)]
pub struct Question {
    /// The number of its sync.
    number: usize,
    /// Which configuration the sync is from.
    generation: u64,
    /// What was looked at.
    names: Vec<u8>,
    answer: Sender<Result<(), String>>,
}

impl Synced {
    /// Calls the function of the sync of this number, and waits for it.
    pub(super) fn function(
        &self,
        number: usize,
    ) -> Box<dyn Fn(Vec<u8>) -> Result<(), String> + Send + Sync> {
        let Self { inbox, generation } = self.clone();
        Box::new(move |names| {
            let (answer, answered) = channel();
            inbox.send(Message::Synced(Question { number, generation, names, answer }));
            // Nobody answers when all is over.
            answered.recv().unwrap_or(Ok(()))
        })
    }
}

impl Engine {
    /// Calls a function for what is on the target. That of a configuration which is in force no
    /// more is not called: for that in its place everything is new.
    pub(super) fn ask_synced(&mut self, question: Question) {
        let Question { number, generation, names, answer } = question;
        let scripts = self.scripts.as_ref().filter(|_| generation == self.generation);
        let now = self.now();
        let called = scripts.map(|it| it.synced(&mut self.fleet, (number, &names), now));
        self.carry_out_orders();
        // The job waits, unless it was ended.
        let _ = answer.send(called.unwrap_or(Ok(())).map_err(|failure| failure.why));
    }

    /// The way to the functions of the configuration that is in force.
    pub(super) fn synced(&self) -> Synced {
        Synced { inbox: self.inbox.clone(), generation: self.generation }
    }
}
