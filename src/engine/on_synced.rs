//! `onSynced`: calls of the user's function from job threads.

use std::sync::mpsc::{Sender, channel};

use super::{Engine, Inbox, Message};
use crate::script::CallContext;

/// Sends `onSynced` calls of one configuration from job threads to the engine.
#[derive(Clone, Debug)]
pub(super) struct OnSyncedSender {
    pub(super) inbox: Inbox,
    pub(super) generation: u64,
}

/// Request to call a user function for a completed batch.
#[derive(Debug)]
pub struct OnSyncedRequest {
    number: usize,
    /// Generation of the configuration that the sync belongs to.
    generation: u64,
    /// Paths of the batch, each followed by a NUL.
    names: Vec<u8>,
    reply: Sender<Result<(), String>>,
}

impl OnSyncedSender {
    /// Returns a function that calls `onSynced` of this sync, and waits for the result.
    pub(super) fn blocking_call(
        &self,
        number: usize,
    ) -> Box<dyn Fn(Vec<u8>) -> Result<(), String> + Send + Sync> {
        let Self { inbox, generation } = self.clone();
        Box::new(move |names| {
            let (reply, replies) = channel();
            inbox.send(Message::OnSynced(OnSyncedRequest { number, generation, names, reply }));
            // The engine has exited without an answer.
            replies.recv().unwrap_or(Ok(()))
        })
    }
}

impl Engine {
    /// Calls `onSynced` for a completed batch. A function of a previous configuration is not
    /// called: the sync that replaced it transfers everything again.
    pub(super) fn call_on_synced(&mut self, request: OnSyncedRequest) {
        let OnSyncedRequest { number, generation, names, reply } = request;
        let now = self.now();
        let scripts = self.scripts.as_ref().filter(|_| generation == self.generation);
        let context = CallContext { now, fleet: &mut self.fleet };
        let called = scripts.map(|it| it.call_on_synced(context, number, &names));
        self.perform_requests();
        // The job waits for the answer, unless it was stopped.
        let _ = reply.send(called.unwrap_or(Ok(())).map_err(|failure| failure.message));
    }

    /// Returns a sender for the configuration in force.
    pub(super) fn on_synced_sender(&self) -> OnSyncedSender {
        OnSyncedSender { inbox: self.inbox.clone(), generation: self.generation }
    }
}
