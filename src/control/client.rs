//! Client of a daemon: one request per connection, with limits for time and size.

use std::{
    env,
    io::{self, ErrorKind as IoErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use mirror_platform::unix_socket;
use rustix::{
    io::Errno,
    net::{SocketAddrUnix, connect},
    process::Pid,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    client_error::{ClientError, FoundDaemon},
    frame::{Answer, RequestFrame, parse_answer, to_line},
    location::{find_sockets, read_only_socket, search_directories},
    request::{Request, Selection},
    status::StatusDocument,
};

/// Maximum length of an answer in bytes.
pub const MAX_ANSWER: usize = 64 << 20;

/// Time limit for a connection: the daemon accepts one at any time unless it hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval between two tries while the daemon's queue of connections is full.
const CONNECT_INTERVAL: Duration = Duration::from_millis(20);

/// Time limit for each daemon when several are asked who they are.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the default time limit for the answer to a request. `None`: it takes as long as a
/// transfer.
#[must_use]
pub const fn default_timeout(request: &Request) -> Option<Duration> {
    match request {
        Request::Flush { .. } | Request::Verify(_) => None,
        // A configuration file may run programs.
        Request::Reload => Some(Duration::from_mins(1)),
        Request::Status(_)
        | Request::Metrics
        | Request::History { .. }
        | Request::Explain { .. }
        | Request::Pause(_)
        | Request::Resume(_)
        | Request::Resync(_)
        | Request::Release(_)
        | Request::Retry(_)
        | Request::Log { .. }
        | Request::Stop => Some(Duration::from_secs(10)),
    }
}

/// Finds the socket of the daemon: the given one, or that of the only running daemon.
///
/// # Errors
///
/// If none is given, and no daemon or more than one runs.
pub fn find_daemon(given: Option<&Path>) -> Result<PathBuf, ClientError> {
    if let Some(socket) = given {
        return Ok(socket.to_owned());
    }
    let user = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let (mut running, mut dead) = (Vec::new(), Vec::new());
    for socket in find_sockets(user.as_deref()) {
        match ControlClient::connect(&socket) {
            Err(ClientError::Dead(_)) => dead.push(socket),
            Err(ClientError::NoSocket(_)) => {}
            // It may run: the request will tell.
            Ok(_) | Err(_) => running.push(socket),
        }
    }
    match (running.pop(), running.is_empty(), dead.is_empty()) {
        (None, _, true) => Err(ClientError::NoDaemon(search_directories(user.as_deref()))),
        (None, _, false) => Err(ClientError::Dead(dead)),
        (Some(only), true, _) => Ok(only),
        (Some(last), false, _) => {
            running.push(last);
            Err(ClientError::Several(running.into_iter().map(identify).collect()))
        }
    }
}

/// Asks one of several daemons for its process id and configuration.
fn identify(socket: PathBuf) -> FoundDaemon {
    let request = Request::Status(Selection::default());
    let document = ControlClient::connect_for(&socket, &request)
        .and_then(|client| client.ask::<StatusDocument>(&request, Some(IDENTIFY_TIMEOUT)));
    match document {
        Ok(StatusDocument { daemon, .. }) => {
            FoundDaemon { socket, pid: Some(daemon.pid), config_files: daemon.config_files }
        }
        Err(_) => FoundDaemon { socket, pid: None, config_files: Vec::new() },
    }
}

/// A connection to a daemon, for one request.
#[derive(Debug)]
pub struct ControlClient {
    stream: UnixStream,
    socket: PathBuf,
}

impl ControlClient {
    /// Connects to a socket.
    ///
    /// # Errors
    ///
    /// If the daemon is not there, or does not let the user in.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let owned = || socket.to_owned();
        let stream = connect_stream(socket).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => ClientError::NoSocket(owned()),
            Errno::CONNREFUSED => ClientError::Dead(vec![owned()]),
            Errno::ACCESS | Errno::PERM => ClientError::PermissionDenied(owned()),
            Errno::AGAIN => ClientError::Timeout { socket: owned(), limit: CONNECT_TIMEOUT },
            error => ClientError::Io { socket: owned(), error: error.into() },
        })?;
        Ok(Self { stream, socket: owned() })
    }

    /// Connects to a control socket or, if the user may not use it and the request changes nothing,
    /// to the read-only socket that belongs to it.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::connect`].
    pub fn connect_for(socket: &Path, request: &Request) -> Result<Self, ClientError> {
        let result = Self::connect(socket);
        if request.is_read_only() && matches!(result, Err(ClientError::PermissionDenied(_))) {
            return Self::connect(&read_only_socket(socket)).or(result);
        }
        result
    }

    /// Returns the process that listens at the socket.
    #[must_use]
    pub fn peer(&self) -> Option<Pid> {
        unix_socket::peer_process(&self.stream).ok()
    }

    /// Sends a request and returns its result.
    ///
    /// # Errors
    ///
    /// If the request is refused, or there is no valid answer in time.
    pub fn ask<T: DeserializeOwned>(
        self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<T, ClientError> {
        let socket = self.socket.clone();
        parse_result(&socket, &self.ask_raw(request, timeout)?)
    }

    /// Sends a request and returns the JSON text of its result.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub fn ask_raw(
        mut self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> Result<Box<RawValue>, ClientError> {
        let deadline = timeout.map(|limit| AnswerDeadline { start: Instant::now(), limit });
        let sent = self.send(&to_line(&RequestFrame::new(request.clone())), deadline);
        let line = match sent {
            // A daemon that refuses a connection may answer without reading.
            Err(ClientError::Closed(_)) | Ok(()) => self.receive(deadline)?,
            Err(error) => return Err(error),
        };
        match parse_answer(&line) {
            Ok(Answer::Ok(result)) => Ok(result),
            Ok(Answer::Error(error)) => Err(ClientError::Refused(error)),
            Err(reason) => Err(ClientError::InvalidAnswer { socket: self.socket, reason }),
        }
    }

    fn send(&mut self, line: &[u8], deadline: Option<AnswerDeadline>) -> Result<(), ClientError> {
        let timeout = self.remaining(deadline)?;
        let sent =
            self.stream.set_write_timeout(timeout).and_then(|()| self.stream.write_all(line));
        sent.map_err(|error| self.failure(error, deadline))
    }

    /// Receives a line.
    fn receive(&mut self, deadline: Option<AnswerDeadline>) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let timeout = self.remaining(deadline)?;
            let received = self
                .stream
                .set_read_timeout(timeout)
                .and_then(|()| self.stream.read(&mut chunk))
                .map_err(|error| self.failure(error, deadline));
            let length = match received {
                Ok(0) => return Err(ClientError::Closed(self.socket.clone())),
                Ok(length) => length,
                Err(ClientError::Io { error, .. }) if error.kind() == IoErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            let part = chunk.get(..length).unwrap_or_default();
            let end = part.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(part.get(..end.unwrap_or(length)).unwrap_or_default());
            if line.len() > MAX_ANSWER {
                return Err(ClientError::TooLong(MAX_ANSWER));
            }
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    /// Returns the remaining time for one call.
    fn remaining(&self, deadline: Option<AnswerDeadline>) -> Result<Option<Duration>, ClientError> {
        let Some(AnswerDeadline { start, limit }) = deadline else { return Ok(None) };
        let remaining = limit.saturating_sub(start.elapsed());
        if remaining.is_zero() {
            return Err(ClientError::Timeout { socket: self.socket.clone(), limit });
        }
        Ok(Some(remaining))
    }

    fn failure(&self, error: io::Error, deadline: Option<AnswerDeadline>) -> ClientError {
        let socket = self.socket.clone();
        match (error.kind(), deadline) {
            (
                IoErrorKind::WouldBlock | IoErrorKind::TimedOut,
                Some(AnswerDeadline { limit, .. }),
            ) => ClientError::Timeout { socket, limit },
            (IoErrorKind::BrokenPipe | IoErrorKind::ConnectionReset, _) => {
                ClientError::Closed(socket)
            }
            _ => ClientError::Io { socket, error },
        }
    }
}

/// Time limit of an answer.
#[derive(Clone, Copy, Debug)]
struct AnswerDeadline {
    /// Start of the waiting time.
    start: Instant,
    limit: Duration,
}

/// Parses the JSON text of a result.
///
/// # Errors
///
/// If it is of another type.
pub fn parse_result<T: DeserializeOwned>(
    socket: &Path,
    result: &RawValue,
) -> Result<T, ClientError> {
    serde_json::from_str(result.get()).map_err(|error| ClientError::InvalidAnswer {
        socket: socket.to_owned(),
        reason: error.to_string(),
    })
}

/// Connects within [`CONNECT_TIMEOUT`]. `Errno::AGAIN`: the queue of connections stayed full.
fn connect_stream(path: &Path) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let start = Instant::now();
    loop {
        let descriptor = unix_socket::create_nonblocking()?;
        match connect(&descriptor, &address) {
            Ok(()) => {
                rustix::io::ioctl_fionbio(&descriptor, false)?;
                return Ok(descriptor.into());
            }
            Err(Errno::AGAIN | Errno::INTR) if start.elapsed() < CONNECT_TIMEOUT => {
                thread::sleep(CONNECT_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
}
