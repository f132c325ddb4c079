//! Fixtures of the live tests.

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
mod service_manager;
mod snapshot;
#[cfg(target_os = "linux")]
mod sshfs;
mod tree;
mod wait;

pub(crate) use churn::LiveChurn;
pub(crate) use daemon::{TestDaemon, exit_code};
pub(crate) use live::LiveMirror;
pub(crate) use mode::{TransferMode, in_both_modes};
pub(crate) use mounts::{MountedTmpfs, with_private_mounts};
pub(crate) use needs::{Requirement, find_program, needs, unmet};
pub(crate) use network::{NetworkCondition, TestNetwork};
pub(crate) use programs::FakeRsync;
pub(crate) use recorder::{CallArgs, ProgramRecorder};
pub(crate) use sandbox::Sandbox;
pub(crate) use server::{TestServer, free_port};
pub(crate) use service_manager::TestServiceManager;
#[cfg(target_os = "linux")]
pub(crate) use sshfs::MountedBySshfs;
pub(crate) use tree::differences;
pub(crate) use wait::wait_until;
