//! Handles of running processes: `kqueue(2)` with `EVFILT_PROC`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process, test_kill_process},
};

use super::kqueue::{KernelQueue, QueueEvent};

/// A process. Its descriptor is readable for `poll(2)` once the process has exited.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: Pid,
    /// Shared, as a child process does not inherit it.
    queue: Arc<KernelQueue>,
}

impl ProcessHandle {
    /// Creates a handle of the process that has this id now.
    ///
    /// # Errors
    ///
    /// As `kqueue(2)`: `ESRCH` if there is no such process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        let queue = KernelQueue::new()?;
        let ident = pid.as_raw_nonzero().get().cast_unsigned() as usize;
        let add =
            |filter, notes| queue.add(QueueEvent { ident, filter, flags: libc::EV_ADD, notes });
        // The events are never taken from the queue, so that stays readable.
        match add(libc::EVFILT_PROC, libc::NOTE_EXIT) {
            Ok(()) => {}
            // A process that has exited and was not waited for can't be added, but is there.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {
                test_kill_process(pid)?;
                add(libc::EVFILT_USER, 0)?;
                add(libc::EVFILT_USER, libc::NOTE_TRIGGER)?;
            }
            Err(error) => return Err(error),
        }
        Ok(Self { pid, queue: Arc::new(queue) })
    }

    /// Creates another handle of the same process.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { pid: self.pid, queue: Arc::clone(&self.queue) })
    }

    /// Sends a signal.
    ///
    /// RACE: if another thread waits for the process between the check and the signal, the kernel
    /// may give its id to a new process. It gives the least recently used ids first.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process has exited; otherwise as `kill(2)`.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.has_exited() {
            return Err(Errno::SRCH.into());
        }
        Ok(kill_process(self.pid, signal)?)
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
