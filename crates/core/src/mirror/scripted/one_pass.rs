//! When the daemon has nothing more to wait for that was asked for one pass.

use alloc::{string::String, vec::Vec};

use super::Scripted;
use crate::{job::Failure, mirror::State, queue::ordered::Status};

/// How often one pass tries what fails.
const TRIES_OF_ONE_PASS: u32 = 2;

/// How far one pass of a mirror has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnePass {
    /// Something is still to be done.
    Runs,
    /// All is done.
    Done,
    /// All is done but what depends on these events, which have failed more than once.
    Failed(Vec<(String, Failure)>),
}

impl Scripted {
    /// How far one pass has come, which ends when the beginning is done and all that came before its end:
    /// what came later may go on for ever.
    pub(crate) fn one_pass(&self) -> OnePass {
        let mut failed = Vec::new();
        let mark = self.begun.unwrap_or(self.queue.mark());
        for entry in self.queue.until(mark) {
            match entry.trouble() {
                Some(trouble) if trouble.tries >= TRIES_OF_ONE_PASS => {
                    failed.push((entry.title(), Failure::new(&*trouble.why)));
                }
                // It waits for what has failed: all else before it is done.
                None if entry.status() == Status::Block && !failed.is_empty() => {}
                // The script does not want it now.
                None if self.begun.is_some() && self.idle.since.is_some() => {}
                _ => return OnePass::Runs,
            }
        }
        match (self.begun, &self.state) {
            _ if self.is_busy() => OnePass::Runs,
            _ if !failed.is_empty() => OnePass::Failed(failed),
            (Some(_), State::Live) => OnePass::Done,
            _ => OnePass::Runs,
        }
    }
}
