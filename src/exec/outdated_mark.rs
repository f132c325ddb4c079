//! Outdating of a target's mark by a sync without snapshots.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mirror_core::job::{Job, Outcome};

use super::{Executor, process::cancel::CancelToken, target_identity::TargetIdentity};

/// Executor of a sync that notes its changes of the target in no snapshot. Before its first job it
/// outdates the mark of a local target: the snapshot of an earlier run must not match any more.
pub(crate) struct WithOutdatedMark {
    inner: Arc<dyn Executor>,
    target: Arc<TargetIdentity>,
    is_outdated: AtomicBool,
}

impl WithOutdatedMark {
    /// Creates an executor that runs the jobs with `inner`.
    pub(crate) fn new(inner: Arc<dyn Executor>, target: Arc<TargetIdentity>) -> Self {
        Self { inner, target, is_outdated: AtomicBool::new(false) }
    }
}

impl Executor for WithOutdatedMark {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        if !self.is_outdated.swap(true, Ordering::Relaxed) {
            // One that can't be opened now may have a mark later.
            self.is_outdated.store(self.target.outdate_mark().is_ok(), Ordering::Relaxed);
        }
        self.inner.run(job, cancel)
    }
}
