//! Wake-ups of a thread that polls descriptors: `eventfd(2)`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{EventfdFlags, eventfd};

/// A descriptor that is readable from a call of [`wake`](Self::wake) until the next call of
/// [`clear`](Self::clear).
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// Creates a waker that is not readable.
    ///
    /// # Errors
    ///
    /// As `eventfd(2)`.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor readable. Never blocks.
    pub fn wake(&self) {
        // It can't be full: it counts to 2^64 - 2.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Forgets all calls of [`wake`](Self::wake). Never blocks.
    pub fn clear(&self) {
        // Fails only if nothing is there to forget.
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
