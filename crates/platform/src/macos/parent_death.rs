//! Children of a parent that dies.

use std::process::Command;

use rustix::process::Signal;

/// Leaves the program as it is: macOS has no signal for the death of the parent.
///
/// What the program reads from a pipe of the parent ends then, and a later start of the daemon
/// replaces what is left. Only the sudden death of the daemon leaves a program running, since it
/// otherwise ends its programs itself. A watching process of our own would be needed to do more,
/// and would outlive a crash as well.
pub fn signal_on_thread_exit(_command: &mut Command, _signal: Signal) {}
