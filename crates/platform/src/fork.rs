//! Process creation with `fork(2)`.

use std::io;

use nix::unistd::{self, ForkResult};
use rustix::process::Pid;

use crate::answers::WaitingLooks;

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
/// because a lock held by another thread would stay locked in the child for ever. Threads that
/// [look at paths](crate::answers) do not count: the new process does not have them.
pub fn fork() -> io::Result<ForkSide> {
    let looks = WaitingLooks::without_other_threads("fork")?;
    // SAFETY: this is the only thread, so no other can have left memory or a lock half changed, and
    // none can start before the call. Others only wait in a system call for a file system, and if
    // it answers now, they need `looks`; until then they use no lock but that of the allocator,
    // which the C library has put in order when this returns.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
            Ok(ForkSide::Parent(child))
        }
        ForkResult::Child => {
            looks.forget();
            Ok(ForkSide::Child)
        }
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
