//! What has to be done, as the exact words of the programs that do it, and what those programs say.

pub mod args;
pub mod chmod;
pub mod complaint;
pub mod direct;
pub mod exit;
pub mod moves;
pub mod options;
mod patience;
mod patterns;
pub mod rsync;
pub mod shell;
pub mod ssh;
pub mod target;
