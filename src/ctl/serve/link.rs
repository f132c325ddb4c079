//! Requests to the daemon, with limits of time and size.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::control::{
    frame::{Answer, RequestError, RequestFrame, parse_answer, to_line},
    request::Request,
};

/// Maximum length of an answer in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// The socket of a daemon. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct DaemonLink {
    socket: PathBuf,
    fallback: Option<PathBuf>,
}

/// A request without a result.
#[derive(Debug)]
pub enum LinkError {
    /// The daemon does not answer; the text is for people.
    NoAnswer(String),
    /// The daemon refused the request.
    Refused(RequestError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(reason) => f.write_str(reason),
            Self::Refused(error) => f.write_str(&error.message),
        }
    }
}

impl DaemonLink {
    /// The link to a socket, and to another one if the first one does not exist.
    #[must_use]
    pub fn new(socket: PathBuf, fallback: Option<PathBuf>) -> Self {
        Self { socket, fallback }
    }

    /// Sends a request and returns the result. It waits at most `timeout` for each part of the
    /// answer.
    ///
    /// # Errors
    ///
    /// If there is no answer, or a refusal.
    pub fn request<T: DeserializeOwned>(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<T, LinkError> {
        let line = self.exchange(request, timeout).map_err(LinkError::NoAnswer)?;
        match parse_answer(&line).map_err(LinkError::NoAnswer)? {
            Answer::Ok(result) => Ok(result),
            Answer::Error(error) => Err(LinkError::Refused(error)),
        }
    }

    fn exchange(&self, request: &Request, timeout: Duration) -> Result<Vec<u8>, String> {
        let (path, stream) = self.connect()?;
        let failed = |error: io::Error| {
            let is_timeout =
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            if is_timeout {
                format!("no answer within {} s on {}", timeout.as_secs(), path.display())
            } else {
                format!("{}: {error}", path.display())
            }
        };
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        (&stream).write_all(&to_line(&RequestFrame::new(request.clone()))).map_err(failed)?;
        let mut line = Vec::new();
        let mut reader = BufReader::new(stream.take(MAX_ANSWER));
        reader.read_until(b'\n', &mut line).map_err(failed)?;
        if line.pop() == Some(b'\n') {
            Ok(line)
        } else {
            Err(format!("{}: the daemon closed the connection", path.display()))
        }
    }

    fn connect(&self) -> Result<(&Path, UnixStream), String> {
        let error = match UnixStream::connect(&self.socket) {
            Ok(stream) => return Ok((&self.socket, stream)),
            Err(error) => error,
        };
        if let Some(fallback) = &self.fallback
            && error.kind() == io::ErrorKind::NotFound
            && let Ok(stream) = UnixStream::connect(fallback)
        {
            return Ok((fallback, stream));
        }
        let socket = self.socket.display();
        let is_absent =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        Err(if is_absent {
            format!("no daemon at {socket}: {error}")
        } else {
            format!("cannot connect to {socket}: {error}")
        })
    }
}
