//! Calls to a target that has to be there.
//!
//! Their last word is not that of other calls, and somebody on the way, such as a forced command
//! for a key, may look at it and refuse. Who does so is found out once.

use std::sync::atomic::{AtomicBool, Ordering};

use mirror_core::{
    job::Outcome,
    plan::rsync::{Call, RsyncPlan},
};

use super::findings::Findings;
use crate::exec::process::child::End;

/// What rsync returns when the other side hangs up.
const HUNG_UP: i32 = 12;

/// Whether the other side takes such calls.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// It took one.
    taken: AtomicBool,
    /// It hung up, and took the same call with the usual word.
    refused: AtomicBool,
}

impl Existing {
    /// Makes `call` in this form by way of `make`, or as it is where that is refused.
    pub(super) fn call(
        &self,
        plan: &RsyncPlan,
        call: &Call,
        make: impl Fn(&Call) -> Result<(End, Findings), Outcome>,
    ) -> Result<(End, Findings), Outcome> {
        let existing = plan.to_existing(call).filter(|_| !self.refused.load(Ordering::Relaxed));
        let Some(existing) = existing else { return make(call) };
        let (end, findings) = make(&existing)?;
        match end {
            End::Exited(0) => self.taken.store(true, Ordering::Relaxed),
            End::Exited(HUNG_UP)
                if findings.refusal.is_none() && !self.taken.load(Ordering::Relaxed) =>
            {
                let (end, findings) = make(call)?;
                if matches!(end, End::Exited(0)) {
                    self.refused.store(true, Ordering::Relaxed);
                }
                return Ok((end, findings));
            }
            _ => {}
        }
        Ok((end, findings))
    }
}
