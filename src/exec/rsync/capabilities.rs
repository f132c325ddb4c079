//! Capabilities of the remote side: assumed until it refuses a call.

use std::sync::atomic::{AtomicBool, Ordering};

use mirror_core::{
    job::Outcome,
    plan::rsync::{RsyncCall, RsyncPlan},
};

use super::call_report::CallReport;
use crate::exec::process::end::ProcessExit;

/// `RERR_STREAMIO` of rsync: the remote side closed the connection.
const EXIT_STREAM_IO: i32 = 12;

/// Capabilities of the remote side of a target.
#[derive(Debug, Default)]
pub(super) struct RemoteCapabilities {
    /// `--delete-missing-args`: deletions by a list of paths.
    pub(super) delete_missing_args: Capability,
    /// `--modify-window`, an option that `rrsync` does not know.
    pub(super) modify_window: Capability,
    /// `--max-delete`: a limit on deletions.
    pub(super) max_delete: Capability,
    /// Calls that require an existing target.
    pub(super) existing_target: ExistingTargetForm,
}

/// A capability that is assumed until a call proves that it is missing.
#[derive(Debug, Default)]
pub(super) struct Capability {
    missing: AtomicBool,
}

impl Capability {
    pub(super) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Marks the capability as missing. Returns true if it was marked before.
    pub(super) fn set_missing(&self) -> bool {
        self.missing.swap(true, Ordering::Relaxed)
    }
}

/// Support for calls that require an existing target.
///
/// Their last argument differs from that of other calls, and something on the way, such as a forced
/// command of a key, may check and refuse it.
#[derive(Debug, Default)]
pub(super) struct ExistingTargetForm {
    /// Such a call succeeded.
    accepted: AtomicBool,
    /// Such a call failed, and succeeded with the usual argument.
    refused: AtomicBool,
}

impl ExistingTargetForm {
    /// Makes `call` in this form through `make`, or unchanged where this form is refused.
    pub(super) fn call(
        &self,
        plan: &RsyncPlan,
        call: &RsyncCall,
        make: impl Fn(&RsyncCall) -> Result<(ProcessExit, CallReport), Outcome>,
    ) -> Result<(ProcessExit, CallReport), Outcome> {
        let existing =
            plan.requiring_target(call).filter(|_| !self.refused.load(Ordering::Relaxed));
        let Some(existing) = existing else { return make(call) };
        let (end, report) = make(&existing)?;
        if matches!(end, ProcessExit::Exited(0)) {
            self.accepted.store(true, Ordering::Relaxed);
        } else if matches!(end, ProcessExit::Exited(EXIT_STREAM_IO))
            && report.refusal.is_none()
            && !self.accepted.load(Ordering::Relaxed)
        {
            let (end, report) = make(call)?;
            if matches!(end, ProcessExit::Exited(0)) {
                self.refused.store(true, Ordering::Relaxed);
            }
            return Ok((end, report));
        }
        Ok((end, report))
    }
}
