//! Handles of running processes: `pidfd_open(2)`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, even if its id is used by another one later. Its descriptor is readable for `poll(2)`
/// once the process has exited.
#[derive(Debug)]
pub struct ProcessHandle {
    fd: OwnedFd,
}

impl ProcessHandle {
    /// Creates a handle of the process that has this id now.
    ///
    /// # Errors
    ///
    /// As `pidfd_open(2)`: `ESRCH` if there is no such process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self { fd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Creates another handle of the same process.
    ///
    /// # Errors
    ///
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// As `pidfd_send_signal(2)`: `ESRCH` if the process has exited and was waited for.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
