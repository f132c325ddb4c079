//! A service manager that listens to one daemon.

use std::{
    cell::RefCell,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{Sandbox, TestDaemon};

/// The socket of a service manager, with the messages that it has received.
#[derive(Debug)]
pub(crate) struct TestServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
    messages: RefCell<Vec<ReceivedMessage>>,
}

/// A received message.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedMessage {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

impl TestServiceManager {
    /// Listens on a socket in the sandbox.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, messages: RefCell::default() }
    }

    /// Returns the value of `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &Path {
        &self.path
    }

    /// Returns all messages so far.
    pub(crate) fn messages(&self) -> Vec<ReceivedMessage> {
        let mut buffer = [0; 4096];
        let mut messages = self.messages.borrow_mut();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            messages.push(ReceivedMessage { at: Instant::now(), text });
        }
        messages.clone()
    }

    /// Returns the number of messages that begin with `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.messages().iter().filter(|message| message.text.starts_with(text)).count()
    }

    /// Waits until this number of messages begin with `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, daemon: &TestDaemon, text: &str, count: usize) {
        daemon.wait_until(&format!("{count} messages {text:?}"), || self.count(text) >= count);
    }

    /// Waits until the last status line is `text`.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, daemon: &TestDaemon, text: &str) {
        let wanted = format!("STATUS={text}");
        daemon.wait_until(&format!("the status is {text:?}"), || {
            let messages = self.messages();
            let mut statuses = messages.iter().filter(|it| it.text.starts_with("STATUS="));
            statuses.next_back().is_some_and(|message| message.text == wanted)
        });
    }
}
