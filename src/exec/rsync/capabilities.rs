//! Capabilities of the remote side: assumed until it refuses a call.

use mirror_core::{
    job::Outcome,
    plan::rsync::{RsyncCall, RsyncPlan},
};

use super::{
    call_report::{CallReport, RemoteRefusal},
    flag::Flag,
};
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
            && report.refusal == Some(RemoteRefusal::Unanswered)
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mirror_core::plan::{options::RsyncOptions, stderr::StderrParser, target::Target};

    use super::*;
    use crate::exec::rsync::call_paths::{CallPathIndex, CallPaths};

    /// Returns the number of calls that are made if each fails with this message.
    fn calls(message: &str) -> usize {
        let target = Target::new(b"host:/target/").unwrap();
        let plan = RsyncPlan::new(RsyncOptions::default(), b"/source/", target);
        let (form, count) = (ExistingTargetForm::default(), Cell::new(0));
        let made = form.call(&plan, &plan.root_attributes(), |_| {
            count.set(count.get() + 1);
            let mut report = CallReport::default();
            let names = StderrParser { source: b"/source/", target: plan.target() };
            let owners = CallPathIndex::new(CallPaths::default(), &|_| true);
            report.read_stderr(&names, &owners, message.as_bytes());
            Ok((ProcessExit::Exited(EXIT_STREAM_IO), report))
        });
        assert!(made.is_ok());
        count.get()
    }

    /// The receiver may live on, and another call would hide that this one was lost.
    #[test]
    fn only_a_call_that_nobody_has_answered_is_made_in_the_usual_form() {
        for side in ["", "[sender] "] {
            let closed = |bytes| {
                format!(
                    "rsync: {side}connection unexpectedly closed ({bytes} bytes received so far)"
                )
            };
            assert_eq!(calls(&closed(0)), 2);
            assert_eq!(calls(&closed(10)), 1);
        }
        assert_eq!(calls("rsync error: error in rsync protocol data stream (code 12)"), 1);
    }
}
