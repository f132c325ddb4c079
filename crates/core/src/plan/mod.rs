//! Planning: the exact command lines of the programs that do the work, and the interpretation of
//! their output.

pub mod args;
pub mod chmod;
pub mod command;
pub mod direct;
pub mod exit;
pub mod options;
mod patterns;
pub mod renames;
pub mod rsync;
pub mod shell;
pub mod ssh;
pub mod stderr;
pub mod target;
mod timeouts;
