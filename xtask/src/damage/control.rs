//! Requests over the control socket of the daemon.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// The interval in which a waiting read looks at the clock.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct DamageControl {
    stream: BufReader<UnixStream>,
}

impl DamageControl {
    /// Connects to the socket.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(READ_INTERVAL))?;
        stream.set_write_timeout(Some(READ_INTERVAL))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command with further fields, such as `,"timeout":5`, and returns the answer. It ends
    /// early with an error once `is_over` returns true.
    pub(crate) fn ask(
        &mut self,
        command: &str,
        fields: &str,
        mut is_over: impl FnMut() -> bool,
    ) -> io::Result<String> {
        let line = format!("{{\"version\":1,\"command\":\"{command}\"{fields}}}\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = Vec::new();
        loop {
            match self.stream.read_until(b'\n', &mut answer) {
                Ok(_) if answer.ends_with(b"\n") => {
                    return Ok(String::from_utf8_lossy(&answer).trim_end().to_owned());
                }
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if is_over() {
                return Err(io::Error::other(format!("no answer to {command}")));
            }
        }
    }
}

/// Sends one command over a connection of its own.
pub(crate) fn ask(
    socket: &Path,
    command: &str,
    fields: &str,
    timeout: Duration,
) -> io::Result<String> {
    let until = Instant::now() + timeout;
    DamageControl::connect(socket)?.ask(command, fields, || Instant::now() > until)
}

/// Returns an answer that is no error, or a message about the one that is.
pub(crate) fn accepted(command: &str, answer: String) -> Result<String, String> {
    if answer.starts_with("{\"ok\"") { Ok(answer) } else { Err(format!("{command}: {answer}")) }
}

/// Returns true if a flush says that everything is on the targets.
pub(crate) fn is_complete(flush: &str) -> bool {
    flush.contains("\"is_complete\":true")
}

/// Returns true if a flush waits for a person.
pub(crate) fn is_held(flush: &str) -> bool {
    flush.contains("held")
}

/// The part of a status document that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamageStatus {
    /// The state of the only sync.
    pub(crate) state: String,
    /// True if the document names no change that is not known to be on the target.
    pub(crate) is_without_change: bool,
    /// True if the kernel's queue has overflowed.
    pub(crate) has_overflowed: bool,
    /// True if directories are polled, because they can't be watched.
    pub(crate) is_polling: bool,
}

impl DamageStatus {
    /// Finds the fields of the only sync. A string of the document cannot contain them, because
    /// its quotation marks are escaped.
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let (_, rest) = answer.split_once("\"state\":\"")?;
        let state = rest.split('"').next()?.to_owned();
        // The first field of a name is that of the daemon.
        let is_positive = |name: &str| {
            let field = format!("\"{name}\":");
            answer.split_once(&field).is_some_and(|(_, number)| !number.starts_with('0'))
        };
        Some(Self {
            state,
            is_without_change: answer.contains("\"oldest_change\":null"),
            has_overflowed: is_positive("overflows"),
            is_polling: is_positive("polled_directories"),
        })
    }

    /// Returns true if it says that the target has everything.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.state == "in_sync" && self.is_without_change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_in_sync_only_without_pending_change() {
        let parse = |text: &str| DamageStatus::parse(text).unwrap();
        let names = r#"{"ok":{"syncs":[{"name":"\"state\":\"x","state":"in_sync","#;
        assert!(parse(&format!("{names}\"oldest_change\":null}}]}}}}")).is_in_sync());
        assert!(!parse(&format!("{names}\"oldest_change\":1.5}}]}}}}")).is_in_sync());
        let held = parse("\"overflows\":1},\"state\":\"held\",\"oldest_change\":null");
        assert_eq!((&*held.state, held.has_overflowed), ("held", true));
        let none = parse("\"polled_directories\":0,\"overflows\":0},\"state\":\"held\"");
        assert!(!none.has_overflowed && !none.is_polling);
        assert_eq!(DamageStatus::parse(r#"{"error":{"kind":"exiting"}}"#), None);
    }
}
