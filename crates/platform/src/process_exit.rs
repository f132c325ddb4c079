//! Waiting for the exit of a process.

use std::{io, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::process_handle::ProcessHandle;

impl ProcessHandle {
    /// Returns true if the process has exited.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        self.exits_within(Duration::ZERO)
    }

    /// Waits for the exit, at most for this time. Returns true if the process has exited.
    #[must_use]
    pub fn exits_within(&self, time: Duration) -> bool {
        let Ok(time) = Timespec::try_from(time) else { return false };
        let mut ended = [PollFd::new(self, PollFlags::IN)];
        poll(&mut ended, Some(&time)).is_ok_and(|number| number > 0)
    }

    /// Waits for the exit.
    ///
    /// # Errors
    ///
    /// As `poll(2)`.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(self, PollFlags::IN)], None) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal};
    use std::process::Command;

    #[test]
    fn a_handle_tells_the_exit_of_its_process() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let handle = ProcessHandle::open(Pid::from_child(&child)).unwrap();
        let other = handle.try_clone().unwrap();
        assert!(!handle.has_exited());
        other.signal(Signal::KILL).unwrap();
        handle.wait().unwrap();
        assert!(other.exits_within(Duration::from_mins(1)));
        child.wait().unwrap();
        assert!(handle.has_exited(), "after the process was waited for");
        handle.signal(Signal::TERM).unwrap_err();
    }
}
