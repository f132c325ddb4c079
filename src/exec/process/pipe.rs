//! Pipes to and from programs.

use std::{
    io::{self, Read},
    os::fd::AsFd,
};

use rustix::io::ioctl_fionbio;

/// The lines of a pipe. ssh ends its own with a carriage return, too: it is left out. Of a longer line
/// than [`Lines::LONGEST`] only the start is given.
#[derive(Debug)]
pub(in crate::exec) struct Lines<P> {
    pipe: Option<P>,
    line: Vec<u8>,
}

impl<P: Read + AsFd> Lines<P> {
    /// Two of the longest paths with each byte escaped, and some words.
    const LONGEST: usize = 64 * 1024;

    /// The most that is read at once, so that the end of a child is seen whoever else writes.
    const GULP: usize = 1024 * 1024;

    /// The lines of `pipe`, which blocks nobody from now on.
    pub(in crate::exec) fn new(pipe: Option<P>) -> io::Result<Self> {
        pipe.iter().try_for_each(do_not_block)?;
        Ok(Self { pipe, line: Vec::new() })
    }

    /// The pipe. `None` after its end.
    pub(in crate::exec) const fn pipe(&self) -> Option<&P> {
        self.pipe.as_ref()
    }

    /// Reads what is there now: gives it as it comes to `raw`, and each line without its line feed to
    /// `hear`.
    pub(in crate::exec) fn read(
        &mut self,
        raw: &mut dyn FnMut(&[u8]),
        hear: &mut dyn FnMut(&[u8]),
    ) {
        let mut buffer = [0; 16 * 1024];
        let mut total = 0;
        while let Some(pipe) = self.pipe.as_mut().filter(|_| total < Self::GULP) {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    total += length;
                    let bytes = buffer.get(..length).unwrap_or_default();
                    raw(bytes);
                    self.take(bytes, hear);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&[u8])) {
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = Self::LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if text.len() < part.len() {
                hear(without_return(&self.line));
                self.line.clear();
            }
        }
    }

    /// Gives what is behind the last line feed.
    pub(in crate::exec) fn finish(&mut self, hear: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            hear(without_return(&self.line));
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Has reads and writes of a pipe return at once, with `EAGAIN` if they would have to wait.
pub(in crate::exec) fn do_not_block(pipe: &impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(pipe, true)?)
}
