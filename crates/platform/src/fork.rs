//! Leaving the process that was started: `fork(2)`.

use std::{fs, io};

use nix::unistd::{self, ForkResult};
use rustix::process::Pid;

/// Which of the two processes this is after a [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that called; this is the new one.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Makes a copy of this process.
///
/// # Errors
///
/// As `fork(2)`; and if this process has more than one thread, or it can't be told, since a lock
/// that another thread held would stay locked in the child for ever.
pub fn fork() -> io::Result<Side> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| {
        let text = format!("/proc/self/task: {error}: /proc has to be mounted");
        io::Error::new(error.kind(), text)
    })?;
    if threads.count() != 1 {
        return Err(io::Error::other("cannot fork: the process has more than one thread"));
    }
    // SAFETY: this is the only thread, so no other can have left memory or a lock half changed,
    // and none can be started before the call.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Side::Parent(child))
        }
        ForkResult::Child => Ok(Side::Child),
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
