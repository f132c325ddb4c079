//! Who carries jobs out.

pub mod absent;
pub mod direct;
pub mod hook;
pub mod linked;
pub mod process;
pub mod rsync;
pub mod source_root;
pub mod ssh;
pub mod survey;
mod target_identity;
#[cfg(test)]
mod test_mounts;
pub mod trusted;
pub mod tunnel;

use mirror_core::job::{Job, Outcome};

use process::cancel::Stop;

/// Carries out the jobs of one mirror.
pub trait Executor: Send + Sync {
    /// Carries `job` out on the calling thread, a worker of the engine, and tells how it ended. Where
    /// more is owed to the target than it asks for, that is what `job` asks for afterwards.
    ///
    /// There is no error: whatever goes wrong, from a missing program to a full disk, is an
    /// [`Outcome`]. It ends early, with [`Outcome::Again`], when `stop` asks for it.
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome;
}
