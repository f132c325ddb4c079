//! Wake-ups of a thread that polls descriptors: a pipe.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::io::ioctl_fionbio;

/// A descriptor that is readable from a call of [`wake`](Self::wake) until the next call of
/// [`clear`](Self::clear).
#[derive(Debug)]
pub struct Waker {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Waker {
    /// Creates a waker that is not readable.
    ///
    /// # Errors
    ///
    /// As `pipe(2)`.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        ioctl_fionbio(&reader, true)?;
        ioctl_fionbio(&writer, true)?;
        Ok(Self { reader, writer })
    }

    /// Makes the descriptor readable. Never blocks.
    pub fn wake(&self) {
        // Fails only if the pipe is full: then it is readable.
        let _ = (&self.writer).write(&[0]);
    }

    /// Forgets all calls of [`wake`](Self::wake). Never blocks.
    pub fn clear(&self) {
        let mut bytes = [0; 4096];
        while (&self.reader).read(&mut bytes).is_ok_and(|length| length > 0) {}
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
