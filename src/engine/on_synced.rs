//! `onSynced`: calls of the user's function from job threads.

use std::sync::mpsc::{Sender, channel};

use super::{Inbox, Message};

/// Sends `onSynced` calls of one configuration from job threads to the engine.
#[derive(Clone, Debug)]
pub(super) struct OnSyncedSender {
    pub(super) inbox: Inbox,
    pub(super) generation: u64,
}

/// Request to call a user function for a completed batch.
#[derive(Debug)]
pub(crate) struct OnSyncedRequest {
    pub(super) number: usize,
    /// Generation of the configuration that the sync belongs to.
    pub(super) generation: u64,
    /// Paths of the batch, each followed by a NUL.
    pub(super) names: Vec<u8>,
    pub(super) reply: Sender<Result<(), String>>,
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
