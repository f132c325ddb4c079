//! Non-blocking output to stdout and stderr, which may have no reader.
//!
//! The streams are shared with the parent process, so their flags stay unchanged: a chunk is
//! written only if there is room for it.

use std::{io, os::fd::BorrowedFd, time::Duration};

use super::{
    Category,
    json::{self, LogFormat},
    stream::StdStream,
    text::{self, LogMessage},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    stdio,
};

/// A chunk of this size fits wherever poll reports room: `PIPE_BUF` of `pipe(7)`.
const CHUNK_SIZE: usize = 4096;

/// Time limit for a reader. One that exceeded it is not waited for again.
const READER_TIMEOUT: Duration = Duration::from_millis(200);

/// The two output streams of the terminal, or of its replacement.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    out: StreamState,
    err: StreamState,
    /// Formats a notice of the daemon itself.
    format: LogFormat,
}

/// State of one output stream and its reader.
#[derive(Debug, Default)]
struct StreamState {
    is_stuck: bool,
    /// The last line was truncated.
    is_truncated: bool,
    lost_count: u64,
}

impl Terminal {
    /// Writes whole lines. Text without a reader is dropped, which is reported when the stream is
    /// read again.
    pub(super) fn write(&mut self, stream: StdStream, text: &[u8]) {
        match stream {
            StdStream::Out => self.out.write(stdio::stdout(), text, self.format),
            StdStream::Err => self.err.write(stdio::stderr(), text, self.format),
        }
    }

    /// Sets the format of the notices of lost text.
    pub(super) const fn set_format(&mut self, format: LogFormat) {
        self.format = format;
    }
}

impl StreamState {
    fn write(&mut self, to: BorrowedFd<'_>, lines: &[u8], format: LogFormat) {
        if self.is_truncated && self.write_chunks(to, b"\n") {
            self.is_truncated = false;
        }
        if !self.is_truncated && self.lost_count > 0 {
            let notice = format!("{} writes dropped: the reader was too slow", self.lost_count);
            let message = LogMessage { category: Category::Warn, text: &notice, sync: None };
            let notice = match format {
                LogFormat::Text => notice + "\n",
                LogFormat::Json => json::message_line(message, &text::now()),
            };
            if self.write_chunks(to, notice.as_bytes()) {
                self.lost_count = 0;
            }
        }
        if self.is_truncated || self.lost_count > 0 || !self.write_chunks(to, lines) {
            self.lost_count += 1;
        }
    }

    /// Returns true if the text was written completely, or can never be written.
    fn write_chunks(&mut self, to: BorrowedFd<'_>, text: &[u8]) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            let chunk = rest.get(..CHUNK_SIZE).unwrap_or(rest);
            if !self.has_room(to) {
                self.is_truncated |= rest.len() < text.len();
                return false;
            }
            match rustix::io::write(to, chunk) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // A closed pipe must not stop the daemon.
                Err(_) => return true,
            }
        }
        true
    }

    fn has_room(&mut self, to: BorrowedFd<'_>) -> bool {
        let timeout = if self.is_stuck { Duration::ZERO } else { READER_TIMEOUT };
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        let mut room = [PollFd::new(&to, PollFlags::OUT)];
        // A stream that can't be polled never blocks.
        self.is_stuck = matches!(poll(&mut room, Some(&timeout)), Ok(0) | Err(Errno::INTR));
        !self.is_stuck
    }
}

/// Writes a line to stderr before the log is set up.
pub(super) fn to_stderr(line: &str) {
    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsFd, time::Instant};

    #[test]
    fn unread_output_is_counted_and_never_blocks() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let mut state = StreamState::default();
        let line = [&[b'x'; 9999][..], b"\n"].concat();
        let began = Instant::now();
        // More than a pipe holds, unless pages are very large.
        for _ in 0..1000 {
            state.write(writer.as_fd(), &line, LogFormat::Text);
        }
        assert!(state.lost_count > 100 && began.elapsed() < Duration::from_mins(1), "{state:?}");
        let lost = state.lost_count;
        let mut read = vec![0; 5 << 20];
        let mut length = pipe.read(&mut read).unwrap();
        state.write(writer.as_fd(), b"again\n", LogFormat::Text);
        assert_eq!(state.lost_count, 0);
        drop(writer);
        while let more @ 1.. = pipe.read(&mut read[length..]).unwrap() {
            length += more;
        }
        let text = String::from_utf8(read[..length].to_vec()).unwrap();
        let notice = format!("\n{lost} writes dropped: the reader was too slow\nagain\n");
        assert!(text.ends_with(&notice), "{:?}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_closed_output_pipe_is_ignored() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut gone = StreamState::default();
        gone.write(writer.as_fd(), b"line\n", LogFormat::Text);
        assert_eq!((gone.lost_count, gone.is_stuck), (0, false));
    }
}
