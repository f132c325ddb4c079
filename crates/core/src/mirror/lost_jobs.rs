//! Receivers of lost jobs, on other machines.
//!
//! A receiving process on another machine learns that its connection is lost only when it reads or
//! writes next. If it hangs before, say in the rename of a file that it has received, it finishes
//! that later: it puts an outdated file over a newer one that another job has transferred
//! meanwhile. Nothing reports that, so what the next jobs transfer is compared once more.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Mirror, RunningJob, SyncMember as _};
use crate::{
    effect::Effect,
    job::{DirtyPath, Outcome, Scope},
    log_event::MirrorEvent,
    path::TreePath,
    queue::{Batch, MAX_PATHS, MAX_PER_DIRECTORY, PathSet},
    time::Moment,
};

/// The host of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// This machine: when a job has ended, all of its processes have.
    Local,
    /// Another machine.
    Remote,
}

/// The longest time that the receiver of a lost job lives on after another job has succeeded: what
/// it waited for, a disk or the whole machine, works again.
pub(crate) const RECEIVER_TIME: Duration = Duration::from_mins(1);

/// The receivers of lost jobs, as far as they may still live.
#[derive(Debug)]
pub(super) struct LostReceivers {
    host: TargetHost,
    state: ReceiverState,
    /// Paths that were transferred since a job was lost, or changed since one began that may be.
    transferred: PathSet,
}

/// Knowledge of the receivers of lost jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReceiverState {
    /// There are none.
    Gone,
    /// No job has succeeded since one was lost.
    Alive,
    /// One has: they end until this time.
    Ending(Moment),
}

impl LostReceivers {
    pub(super) fn new(host: TargetHost) -> Self {
        Self { host, state: ReceiverState::Gone, transferred: PathSet::new() }
    }

    /// Notes that a job was lost, or may have been.
    pub(super) fn job_lost(&mut self) {
        if self.host == TargetHost::Remote {
            self.state = ReceiverState::Alive;
        }
    }

    /// Notes that a job has transferred a batch. Of a full transfer, only what was observed to
    /// change can differ from what a lost job has sent before. `is_busy` tells whether other jobs
    /// run.
    pub(super) fn transferred(&mut self, batch: &Batch, is_busy: bool, now: Moment) {
        match self.state {
            ReceiverState::Gone if is_busy => return,
            ReceiverState::Gone => return self.transferred = PathSet::new(),
            ReceiverState::Alive => self.state = ReceiverState::Ending(now + RECEIVER_TIME),
            ReceiverState::Ending(_) => {}
        }
        if batch.covers_root() {
            self.add(batch.observed().paths());
        } else {
            self.add(batch.paths().iter());
        }
    }

    /// Notes a change that a full transfer does not know as observed: of attributes, or of anything
    /// in a tree. `is_busy` tells whether a job runs, which may be lost.
    pub(super) fn changed(&mut self, path: &TreePath, scope: Scope, is_busy: bool) {
        let may_be_outdated = is_busy && self.host == TargetHost::Remote;
        if may_be_outdated || self.state != ReceiverState::Gone {
            self.add([DirtyPath { path: path.clone(), scope }].into_iter());
        }
    }

    fn add(&mut self, paths: impl Iterator<Item = DirtyPath>) {
        for DirtyPath { path, scope } in paths {
            self.transferred.insert(&path, scope);
        }
        if self.transferred.len() > MAX_PATHS {
            self.transferred.collapse(MAX_PATHS / 2, MAX_PER_DIRECTORY);
        }
    }

    /// The time at which [`take_due`](Self::take_due) returns paths.
    pub(super) const fn due(&self) -> Option<Moment> {
        match self.state {
            ReceiverState::Ending(at) => Some(at),
            ReceiverState::Gone | ReceiverState::Alive => None,
        }
    }

    /// Takes the paths that are to be compared once more, after the receivers have ended.
    pub(super) fn take_due(&mut self, now: Moment) -> PathSet {
        if self.due().is_none_or(|at| at > now) {
            return PathSet::new();
        }
        self.state = ReceiverState::Gone;
        core::mem::take(&mut self.transferred)
    }

    /// The paths that a receiver may still change.
    pub(super) fn paths(&self) -> impl Iterator<Item = DirtyPath> {
        self.transferred.iter().filter(|_| self.state != ReceiverState::Gone)
    }

    /// Continues with the receivers of an earlier mirror of this target.
    pub(super) fn inherit(&mut self, other: &Self) {
        if other.state != ReceiverState::Gone {
            self.job_lost();
            self.add(other.paths());
        }
    }
}

impl Mirror {
    /// Notes the end of a job that is not among the running ones any more.
    pub(super) fn note_receivers(&mut self, ended: &RunningJob, outcome: &Outcome, now: Moment) {
        if ended.is_lost(outcome) {
            self.lost_receivers.job_lost();
        } else {
            self.lost_receivers.transferred(&ended.batch, !self.running.is_empty(), now);
        }
    }

    /// Marks what the receivers of lost jobs may have changed, after they have ended.
    pub(super) fn compare_again_after_lost_jobs(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let paths = self.lost_receivers.take_due(now);
        for DirtyPath { path, scope } in &paths {
            self.queue.mark(&path, scope, now);
        }
        if !paths.is_empty() {
            self.report(MirrorEvent::ComparedAgain(paths.len()), effects);
        }
    }
}
