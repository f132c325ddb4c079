//! Child processes: started, watched, cancelled.

pub(super) mod backoff;
pub(crate) mod cancel;
pub(crate) mod child;
pub(crate) mod end;
pub(super) mod output;
pub(super) mod pipe;
pub(super) mod remedy;
pub(super) mod stall;
