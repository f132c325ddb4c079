//! Child processes: their start, their end with their parent, and what they inherit.

use std::{
    ffi::{OsStr, OsString},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::process::Signal;

pub use crate::{child_process::ChildProcess, parent_death::signal_on_thread_exit};

/// A program to start, and what it gets.
#[derive(Debug)]
pub struct ChildSpec<'a> {
    /// Looked up in `PATH` if it contains no slash.
    pub program: &'a OsStr,
    /// Without the name of the program.
    pub args: Vec<&'a OsStr>,
    /// Variables in addition to those of this process, or in place of them.
    pub environment: &'a [(OsString, OsString)],
    /// Working directory. A relative path of the program is relative to it.
    pub working_dir: &'a Path,
    /// stdin, stdout and stderr.
    pub streams: [OwnedFd; 3],
    /// A descriptor that the program gets under its present number. All processes that it starts
    /// have it, too, unless they close it: a `flock(2)` lock of its open file description lasts
    /// until the last of them has ended.
    pub inherited: Option<BorrowedFd<'a>>,
    /// As [`signal_on_thread_exit`].
    pub parent_death_signal: Signal,
}

#[cfg(test)]
pub(crate) mod tests;
