//! Line-wise reading of pipes from child processes.

use std::{
    io::{self, Read},
    os::fd::AsFd,
};

use rustix::io::ioctl_fionbio;

/// Reader of the lines of a pipe. Strips the carriage return with which ssh ends its own lines.
/// Truncates lines longer than [`LineReader::MAX_LINE`].
#[derive(Debug)]
pub(in crate::exec) struct LineReader<P> {
    pipe: Option<P>,
    line: Vec<u8>,
    /// True if a carriage return ends a line, too.
    pub(super) splits_returns: bool,
}

impl<P: Read + AsFd> LineReader<P> {
    /// Two paths of maximum length with each byte escaped, and some text.
    const MAX_LINE: usize = 64 * 1024;

    /// Limit on the bytes of one [`read`](Self::read), so that the exit of a child is noticed
    /// however much another process writes.
    const MAX_READ: usize = 1024 * 1024;

    /// Creates a reader of `pipe` and makes the pipe non-blocking.
    pub(in crate::exec) fn new(pipe: Option<P>) -> io::Result<Self> {
        pipe.iter().try_for_each(set_nonblocking)?;
        Ok(Self { pipe, line: Vec::new(), splits_returns: false })
    }

    /// Returns the pipe, or `None` after its end.
    pub(in crate::exec) const fn pipe(&self) -> Option<&P> {
        self.pipe.as_ref()
    }

    /// Reads the available bytes. Passes them unchanged to `raw`, and each line without its line
    /// feed to `on_line`.
    pub(in crate::exec) fn read(
        &mut self,
        raw: &mut dyn FnMut(&[u8]),
        on_line: &mut dyn FnMut(&[u8]),
    ) {
        let mut buffer = [0; 16 * 1024];
        let mut total = 0;
        while let Some(pipe) = self.pipe.as_mut().filter(|_| total < Self::MAX_READ) {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    total += length;
                    let bytes = buffer.get(..length).unwrap_or_default();
                    raw(bytes);
                    self.split_lines(bytes, on_line);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn split_lines(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&[u8])) {
        let splits_returns = self.splits_returns;
        let is_end = |byte: &u8| *byte == b'\n' || splits_returns && *byte == b'\r';
        for part in bytes.split_inclusive(is_end) {
            let text = part.split_last().filter(|(last, _)| is_end(last)).map_or(part, |it| it.1);
            let room = Self::MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if text.len() < part.len() {
                on_line(strip_carriage_return(&self.line));
                self.line.clear();
            }
        }
    }

    /// Passes the incomplete last line to `on_line`.
    pub(in crate::exec) fn finish(&mut self, on_line: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            on_line(strip_carriage_return(&self.line));
        }
    }
}

fn strip_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Makes reads and writes of a pipe return `EAGAIN` instead of blocking.
pub(in crate::exec) fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(pipe, true)?)
}
