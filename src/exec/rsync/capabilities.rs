//! Capabilities of the remote side: assumed until it refuses a call.

use mirror_core::{
    job::Outcome,
    plan::rsync::{RsyncCall, RsyncPlan},
};

use super::{call_report::CallReport, flag::Flag};
use crate::exec::process::end::ProcessExit;

/// `RERR_STREAMIO` of rsync: the remote side closed the connection.
const EXIT_STREAM_IO: i32 = 12;

/// Capabilities that a call has shown to be missing on the remote side of a target.
#[derive(Debug, Default)]
pub(super) struct RemoteCapabilities {
    /// No deletions by a list of paths: `--delete-missing-args`.
    pub(super) lacks_delete_missing_args: Flag,
    /// No `--modify-window`, an option that `rrsync` does not know.
    pub(super) lacks_modify_window: Flag,
    /// No limit on deletions: `--max-delete`.
    pub(super) lacks_max_delete: Flag,
    /// Calls that require an existing target.
    pub(super) existing_target: ExistingTargetForm,
}

/// Support for calls that require an existing target.
///
/// Their last argument differs from that of other calls, and something on the way, such as a forced
/// command of a key, may check and refuse it.
#[derive(Debug, Default)]
pub(super) struct ExistingTargetForm {
    /// Such a call succeeded.
    accepted: Flag,
    /// Such a call failed, and succeeded with the usual argument.
    refused: Flag,
}

impl ExistingTargetForm {
    /// Makes `call` in this form through `make`, or unchanged where this form is refused.
    pub(super) fn call(
        &self,
        plan: &RsyncPlan,
        call: &RsyncCall,
        make: impl Fn(&RsyncCall) -> Result<(ProcessExit, CallReport), Outcome>,
    ) -> Result<(ProcessExit, CallReport), Outcome> {
        if self.refused.is_set() {
            return make(call);
        }
        let Some(existing) = plan.requiring_target(call) else { return make(call) };
        let (end, report) = make(&existing)?;
        if matches!(end, ProcessExit::Exited(0)) {
            self.accepted.set(true);
        } else if matches!(end, ProcessExit::Exited(EXIT_STREAM_IO))
            && report.refusal.is_none()
            && !self.accepted.is_set()
        {
            let (end, report) = make(call)?;
            if matches!(end, ProcessExit::Exited(0)) {
                self.refused.set(true);
            }
            return Ok((end, report));
        }
        Ok((end, report))
    }
}
