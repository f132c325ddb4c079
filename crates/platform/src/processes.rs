//! Other processes.

pub use crate::process_info::{children, children_of_this_thread, is_opening_fifo, program_name};
use rustix::process::Pid;

/// I/O and CPU counters of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessCounters {
    /// The process.
    pub pid: Pid,
    /// In interruptible sleep, which may never end: neither waiting for a disk nor stopped.
    pub sleeps: bool,
    /// Bytes read, from any descriptor.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// CPU time used, in clock ticks.
    pub ticks: u64,
}

/// Returns the descendants of a process. Processes that moved to the background are not among them.
#[must_use]
pub fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = children(of);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}
