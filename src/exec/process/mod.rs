//! Child processes: started, watched, cancelled.

pub mod cancel;
pub mod child;
pub mod end;
pub(super) mod pipe;
pub(super) mod remedy;
pub(super) mod stall;
