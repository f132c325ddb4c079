//! The end of a one-pass run of a scripted mirror.

use alloc::{string::String, vec::Vec};

use super::{ScriptedMirror, phase::ScriptPhase};
use crate::{
    job::Failure,
    mirror::SyncMember,
    queue::event_queue::{EventQueue, EventStatus},
};

/// The number of tries of an event in a one-pass run.
const ONE_PASS_TRIES: u32 = 2;

/// Progress of a mirror in a one-pass run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnePassStatus {
    /// Work is left.
    Running,
    /// Everything is done.
    Done,
    /// Everything is done but these events, which failed more than once, and those that depend on
    /// them.
    Failed(Vec<(String, Failure)>),
}

impl ScriptedMirror {
    /// Changes the queue so that new events may take the place of earlier ones. If a one-pass run
    /// has any left, the new events belong to it, too.
    pub(super) fn replace_events<T>(&mut self, change: impl FnOnce(&mut EventQueue) -> T) -> T {
        let end = self.queue.mark();
        let is_left = match self.phase {
            ScriptPhase::Live { mark } => self.queue.before(mark).next().is_some(),
            ScriptPhase::Restarting { .. } | ScriptPhase::Starting { .. } => false,
        };
        let result = change(&mut self.queue);
        if is_left && self.queue.mark() != end {
            self.phase = ScriptPhase::Live { mark: self.queue.mark() };
        }
        result
    }

    /// The progress of a one-pass run, which comprises the init event and everything queued before
    /// that was done: later events may arrive for ever.
    pub(crate) fn one_pass(&self) -> OnePassStatus {
        let mut failed = Vec::new();
        let (mark, has_begun) = match self.phase {
            ScriptPhase::Live { mark } => (mark, true),
            ScriptPhase::Restarting { .. } | ScriptPhase::Starting { .. } => {
                (self.queue.mark(), false)
            }
        };
        for event in self.queue.before(mark) {
            match event.failure() {
                Some(failure) if failure.tries >= ONE_PASS_TRIES => {
                    failed.push((event.title(), Failure::new(&*failure.message)));
                }
                // It is blocked by a failed event: everything before it is done.
                None if event.status() == EventStatus::Block && !failed.is_empty() => {}
                // The script does not want it now.
                None if has_begun && self.idle.since.is_some() => {}
                _ => return OnePassStatus::Running,
            }
        }
        if self.is_busy() {
            OnePassStatus::Running
        } else if !failed.is_empty() {
            OnePassStatus::Failed(failed)
        } else if self.is_live() {
            OnePassStatus::Done
        } else {
            OnePassStatus::Running
        }
    }
}
