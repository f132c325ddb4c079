//! Job executors.

pub(crate) mod direct;
pub(crate) mod dry_run;
mod hardlink_walk;
pub(crate) mod hook;
mod inode;
mod lookup;
mod nested_mounts;
mod observed_holds;
pub(crate) mod outdated_mark;
pub(crate) mod process;
pub(crate) mod rsync;
pub(crate) mod source_root;
mod spelling;
pub(crate) mod ssh;
mod survey;
pub(crate) mod target_check;
pub(crate) mod target_identity;
pub(crate) mod target_mark;
#[cfg(test)]
mod test_mounts;
pub(crate) mod trusted_path;
pub(crate) mod tunnel;

use mirror_core::job::{Job, Outcome};

use crate::lock;
use process::cancel::CancelToken;

/// Executor for the jobs of one mirror.
pub(crate) trait Executor: Send + Sync {
    /// Runs `job` on the calling thread, a worker of the engine, and returns its outcome. If the
    /// target needs more than the job asks for, `job` is extended accordingly.
    ///
    /// There is no error: every failure, from a missing program to a full disk, is an [`Outcome`].
    /// The job ends early, with [`Outcome::Retry`], when `cancel` is triggered.
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome;
}
