//! A daemon that answers with prepared lines.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver},
    thread,
};

use lsyncd::control::{
    frame::{Answer, ErrorKind, RequestError, RequestFrame, to_line},
    request::Request,
};
use serde::Serialize;
use tempfile::TempDir;

/// The reaction to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    /// The bytes are sent, and the connection is closed.
    Send(Vec<u8>),
    /// Nothing is sent until the client gives up.
    Silence,
    /// A line that does not end.
    Endless,
    /// The bytes are sent, and nobody listens any more.
    Exit(Vec<u8>),
}

impl Reaction {
    /// An answer with a result.
    pub(crate) fn ok<T: Serialize>(result: T) -> Self {
        Self::Send(to_line(&Answer::Ok(result)))
    }

    /// A refusal.
    pub(crate) fn refusal(kind: ErrorKind, message: &str) -> Self {
        Self::Send(to_line(&Answer::<()>::Error(RequestError::new(kind, message))))
    }
}

/// A daemon on a socket of its own, in a directory of its own.
#[derive(Debug)]
pub(crate) struct FakeDaemon {
    pub(crate) directory: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) requests: Receiver<Request>,
}

impl FakeDaemon {
    /// Starts a daemon that reacts to all requests in the same way.
    pub(crate) fn start(reaction: Reaction) -> Self {
        Self::with(move |_| reaction.clone())
    }

    /// Starts a daemon with a reaction for each request.
    pub(crate) fn with(react: impl Fn(&Request) -> Reaction + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lsyncd.sock");
        let requests = serve(&socket, react);
        Self { directory, socket, requests }
    }
}

/// Serves connections at a socket until the test ends, or until [`Reaction::Exit`].
pub(crate) fn serve(
    socket: &Path,
    react: impl Fn(&Request) -> Reaction + Send + 'static,
) -> Receiver<Request> {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(request) = receive(&stream) else { continue };
            let reaction = react(&request);
            // The test may have what it wants.
            let _ = sender.send(request);
            if carry_out(&mut stream, reaction) {
                return;
            }
        }
    });
    requests
}

/// Returns the request of a client. `None`: it only looked whether somebody listens.
fn receive(stream: &UnixStream) -> Option<Request> {
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).unwrap();
    (!line.is_empty()).then(|| RequestFrame::parse(&line).unwrap())
}

/// Returns true if the daemon exits.
fn carry_out(stream: &mut UnixStream, reaction: Reaction) -> bool {
    // The client may close the connection at any time.
    match reaction {
        Reaction::Send(bytes) => drop(stream.write_all(&bytes)),
        Reaction::Silence => drop(stream.read(&mut [0])),
        Reaction::Endless => while stream.write_all(&[b'a'; 4096]).is_ok() {},
        Reaction::Exit(bytes) => {
            let _ = stream.write_all(&bytes);
            return true;
        }
    }
    false
}
