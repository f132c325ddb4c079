//! What the live tests stand on.

mod churn;
mod daemon;
mod detached;
mod live;
mod mode;
mod mounts;
mod needs;
mod network;
mod programs;
mod recorder;
mod sandbox;
mod server;
mod snapshot;
mod tree;
mod wait;

pub(crate) use churn::Churn;
pub(crate) use daemon::{Daemon, exit_code};
pub(crate) use live::Live;
pub(crate) use mode::{Mode, in_both_modes};
pub(crate) use mounts::{Tmpfs, with_private_mounts};
pub(crate) use needs::{Need, find_program, lacks, needs};
pub(crate) use network::{Network, Weather};
pub(crate) use programs::FakeRsync;
pub(crate) use recorder::{Call, Recorder};
pub(crate) use sandbox::Sandbox;
pub(crate) use server::{Server, free_port};
pub(crate) use tree::differences;
pub(crate) use wait::wait_until;
