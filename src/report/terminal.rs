//! stdout and stderr, which somebody else has opened and nobody may be reading.
//!
//! They are shared with whoever started this process, so they stay as they are: only a piece is
//! written for which there is room.

use std::{io, os::fd::BorrowedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    stdio,
};

/// Each of these fits where there is room at all: `PIPE_BUF` of `pipe(7)`.
const PIECE: usize = 4096;

/// How long somebody who reads may take. Whoever took longer is not waited for again.
const PATIENCE: Duration = Duration::from_millis(200);

/// One of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}

/// The terminal, or what stands in for it.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    out: Reader,
    err: Reader,
}

/// How it is with whoever reads a stream.
#[derive(Debug, Default)]
struct Reader {
    is_stuck: bool,
    /// The last line was cut off.
    is_torn: bool,
    lost: u64,
}

impl Terminal {
    /// Writes a text of whole lines. What nobody reads is lost, which is told when somebody does.
    pub(super) fn write(&mut self, stream: Stream, text: &[u8]) {
        match stream {
            Stream::Out => self.out.write(stdio::stdout(), text),
            Stream::Err => self.err.write(stdio::stderr(), text),
        }
    }
}

impl Reader {
    fn write(&mut self, to: BorrowedFd<'_>, text: &[u8]) {
        if self.is_torn && self.pass(to, b"\n") {
            self.is_torn = false;
        }
        if !self.is_torn && self.lost > 0 {
            let told = format!("{} times nobody has read what was said here\n", self.lost);
            if self.pass(to, told.as_bytes()) {
                self.lost = 0;
            }
        }
        if self.is_torn || self.lost > 0 || !self.pass(to, text) {
            self.lost += 1;
        }
    }

    /// Whether all of it was written, or never will be by anybody.
    fn pass(&mut self, to: BorrowedFd<'_>, text: &[u8]) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            if !self.has_room(to) {
                self.is_torn |= rest.len() < text.len();
                return false;
            }
            match rustix::io::write(to, piece) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // A closed pipe is no reason for a mirror to end.
                Err(_) => return true,
            }
        }
        true
    }

    fn has_room(&mut self, to: BorrowedFd<'_>) -> bool {
        let patience = if self.is_stuck { Duration::ZERO } else { PATIENCE };
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let mut room = [PollFd::new(&to, PollFlags::OUT)];
        // What can't be polled does not make anybody wait.
        self.is_stuck = matches!(poll(&mut room, Some(&patience)), Ok(0) | Err(Errno::INTR));
        !self.is_stuck
    }
}

/// Writes a line to stderr, before there is a log.
pub(super) fn to_stderr(line: &str) {
    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsFd, time::Instant};

    #[test]
    fn what_nobody_reads_is_counted_and_holds_up_nobody() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let mut reader = Reader::default();
        let line = [&[b'x'; 9999][..], b"\n"].concat();
        let began = Instant::now();
        // More than a pipe holds, unless pages are very large.
        for _ in 0..1000 {
            reader.write(writer.as_fd(), &line);
        }
        assert!(reader.lost > 100 && began.elapsed() < Duration::from_mins(1), "{reader:?}");
        let lost = reader.lost;
        let mut read = vec![0; 5 << 20];
        let mut length = pipe.read(&mut read).unwrap();
        reader.write(writer.as_fd(), b"again\n");
        assert_eq!(reader.lost, 0);
        drop(writer);
        while let more @ 1.. = pipe.read(&mut read[length..]).unwrap() {
            length += more;
        }
        let text = String::from_utf8(read[..length].to_vec()).unwrap();
        let told = format!("\n{lost} times nobody has read what was said here\nagain\n");
        assert!(text.ends_with(&told), "{:?}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_closed_pipe_is_no_trouble() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut gone = Reader::default();
        gone.write(writer.as_fd(), b"line\n");
        assert_eq!((gone.lost, gone.is_stuck), (0, false));
    }
}
