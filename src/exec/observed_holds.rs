//! Observed deletions that are held: they bind the unobserved ones of all jobs.

use std::sync::atomic::{AtomicBool, Ordering};

use mirror_core::{
    guard::{DeletionTerms, MaxDelete},
    job::{HoldReason, Work},
};

/// Knowledge of a target: observed deletions are held, or were when the last job began.
#[derive(Debug, Default)]
pub(super) struct ObservedHolds(AtomicBool);

impl ObservedHolds {
    /// Begins a job, which knows what earlier ones have held.
    pub(super) fn begin(&self, work: &Work) {
        self.0.store(work.observed().may_include_held, Ordering::Relaxed);
    }

    /// Notes that a job holds deletions. Other jobs that run at the same time know it, too.
    pub(super) fn note(&self, reason: HoldReason) {
        if reason == HoldReason::Observed {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the terms for unobserved deletions, given the configured budgets.
    pub(super) fn terms(&self, unobserved: MaxDelete, observed: MaxDelete) -> DeletionTerms {
        let terms = DeletionTerms::unobserved(unobserved);
        if self.0.load(Ordering::Relaxed) { terms.with_observed(observed) } else { terms }
    }
}
