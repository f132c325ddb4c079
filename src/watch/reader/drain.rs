//! Barriers: requests to publish everything that happened before.

use std::{collections::BTreeSet, os::fd::BorrowedFd, path::PathBuf};

use super::{
    super::{
        backend::{Backend, DrainStatus},
        poll::PollCommand,
    },
    WatchMessage, WatchReader,
};

/// Minimum size of a kernel event: that of an inotify event without a name, inotify(7).
const MIN_EVENT_SIZE: u64 = 16;

/// Number of times that the queue is read. The second half of a rename may be queued while the
/// first is read, and directories that are found must be watched before their own events.
const PASSES: u8 = 2;

/// A barrier that is not passed yet.
#[derive(Debug)]
pub(super) struct PendingBarrier {
    id: u64,
    stage: BarrierStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BarrierStage {
    /// This number of threads is reading the polled directories.
    Polling(usize),
    /// At most this number of kernel events is still queued from before, in this pass.
    Reading { events: u64, pass: u8 },
}

impl WatchReader {
    /// Begins a barrier: [`WatchMessage::Barrier`] follows everything that has happened up to now
    /// in these sources. Others may not answer.
    pub(super) fn begin_barrier(&mut self, id: u64, sources: &BTreeSet<PathBuf>) {
        self.backends.all().for_each(Backend::catch_up);
        let pollers = self.pollers.iter().filter(|(root, _)| sources.contains(*root));
        let polling =
            pollers.filter(|(_, poller)| poller.send(PollCommand::Barrier(id)).is_ok()).count();
        let stage = if polling > 0 { BarrierStage::Polling(polling) } else { self.first_pass() };
        self.barriers.push(PendingBarrier { id, stage });
    }

    /// Handles the end of the polling for a barrier.
    pub(super) fn barrier_polled(&mut self, id: u64) {
        let stage = self.first_pass();
        let is_it = |it: &&mut PendingBarrier| it.id == id;
        let Some(barrier) = self.barriers.iter_mut().find(is_it) else { return };
        match &mut barrier.stage {
            BarrierStage::Polling(left) if *left > 1 => *left -= 1,
            BarrierStage::Polling(_) => barrier.stage = stage,
            BarrierStage::Reading { .. } => {}
        }
    }

    /// Returns true if a barrier waits for the next drain.
    pub(super) fn has_barrier(&self) -> bool {
        self.barriers.iter().any(|it| matches!(it.stage, BarrierStage::Reading { .. }))
    }

    /// Handles the result of a drain. Passed barriers are published with all events before them.
    pub(super) fn advance_barriers(&mut self, status: DrainStatus) {
        if !self.has_barrier() {
            return;
        }
        let read = u64::try_from(self.drained.kernel_events).unwrap_or(u64::MAX);
        let (queued, has_work) = (self.queued_events(), self.has_work);
        let mut passed = Vec::new();
        for barrier in &mut self.barriers {
            let BarrierStage::Reading { events, pass } = &mut barrier.stage else { continue };
            *events = if status == DrainStatus::Empty { 0 } else { events.saturating_sub(read) };
            if *events > 0 || has_work {
                continue;
            }
            if *pass < PASSES {
                *pass += 1;
                *events = queued;
            } else {
                passed.push(barrier.id);
            }
        }
        if passed.is_empty() {
            return;
        }
        self.backends.all().for_each(|backend| backend.flush_pending(&mut self.drained));
        self.publish();
        self.barriers.retain(|barrier| !passed.contains(&barrier.id));
        self.messages.extend(passed.into_iter().map(WatchMessage::Barrier));
    }

    fn first_pass(&self) -> BarrierStage {
        BarrierStage::Reading { events: self.queued_events(), pass: 1 }
    }

    /// The maximum number of kernel events that are queued now.
    fn queued_events(&self) -> u64 {
        // Without an answer, until there is a moment without events.
        let queued = |fd: BorrowedFd<'_>| rustix::io::ioctl_fionread(fd).unwrap_or(u64::MAX);
        let bytes = self.backends.descriptors().map(queued).fold(0, u64::saturating_add);
        let read = u64::try_from(self.backends.unhandled_bytes()).unwrap_or(u64::MAX);
        bytes.saturating_add(read).div_ceil(MIN_EVENT_SIZE)
    }
}
