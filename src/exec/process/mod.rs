//! Child processes: started, watched, cancelled.

pub mod cancel;
pub mod child;
pub(super) mod pipe;
pub(super) mod remedy;
pub(super) mod stall;
