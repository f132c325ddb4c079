//! Process creation with `fork(2)`.

use std::io;

use nix::unistd::{self, ForkResult};
use rustix::process::Pid;

use crate::threads::count_threads;

/// The process in which a [`fork`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkSide {
    /// The caller, with the id of the new process.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Duplicates this process.
///
/// # Errors
///
/// As `fork(2)`. Fails also if this process has more than one thread, or their number is unknown,
/// because a lock held by another thread would stay locked in the child for ever.
pub fn fork() -> io::Result<ForkSide> {
    if count_threads()? != 1 {
        return Err(io::Error::other("cannot fork: the process has more than one thread"));
    }
    // SAFETY: this is the only thread, so no other can have left memory or a lock half changed, and
    // none can start before the call.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
            Ok(ForkSide::Parent(child))
        }
        ForkResult::Child => Ok(ForkSide::Child),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};

    #[test]
    fn a_process_with_threads_is_not_forked() {
        let (end, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || wait.recv());
        assert!(fork().is_err());
        drop(end);
        assert!(other.join().unwrap().is_err());
    }
}
