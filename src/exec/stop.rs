//! How a running job is asked to end.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mirror_linux::clock::ticks;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Asks a running job to end, from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    child: Mutex<Option<Child>>,
}

#[derive(Debug)]
struct Child {
    fd: OwnedFd,
    program: Running,
}

/// A program that runs for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its number.
    pub pid: Pid,
    /// When it was started, in ticks of `times(2)`.
    pub started: u64,
}

impl Stop {
    /// Whether the job should end. A job without a child looks here between its steps.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Asks the job to end: a child gets SIGTERM.
    pub fn ask(&self) {
        let child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.asked.store(true, Ordering::Relaxed);
        if let Some(child) = &*child {
            // It fails only when the child has ended by itself.
            let _ = pidfd_send_signal(&child.fd, Signal::TERM);
        }
    }

    /// The child that does the work now.
    #[must_use]
    pub fn child(&self) -> Option<Running> {
        let child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_ref().map(|child| child.program)
    }

    /// Names the child that does the work, until the guard is dropped. The child must not have
    /// been waited for yet.
    ///
    /// # Errors
    ///
    /// As `pidfd_open(2)`.
    pub fn watch(&self, pid: Pid) -> io::Result<Watched<'_>> {
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        let mut child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_asked() {
            let _ = pidfd_send_signal(&fd, Signal::TERM);
        }
        *child = Some(Child { fd, program: Running { pid, started: ticks() } });
        drop(child);
        Ok(Watched { stop: self })
    }
}

/// The time during which a child gets the signal of [`Stop::ask`].
#[derive(Debug)]
pub struct Watched<'a> {
    stop: &'a Stop,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        *self.stop.shared.child.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
