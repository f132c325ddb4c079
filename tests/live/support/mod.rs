//! What the live tests stand on.

mod daemon;
mod mode;
mod mounts;
mod needs;
mod sandbox;
mod tree;
mod wait;

pub(crate) use daemon::Daemon;
pub(crate) use mode::{Mode, in_both_modes};
pub(crate) use needs::{Need, lacks, needs};
pub(crate) use sandbox::Sandbox;
pub(crate) use tree::differences;
pub(crate) use wait::wait_until;
