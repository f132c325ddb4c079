//! A server of a test, with the directory of its sockets.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use lsyncd::{
    control::status::StatusDocument,
    ctl::serve::{ControlAccess, ServeOptions, Server, Token},
};

use crate::fake_daemon::ScriptedDaemon;

/// The token of servers with control.
pub(crate) const TOKEN: &str = "a-token-of-some-length";

/// A directory for sockets.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// The control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.directory.path().join("lsyncd.sock")
    }

    /// The socket that only shows.
    pub(crate) fn status(&self) -> PathBuf {
        self.directory.path().join("lsyncd.status.sock")
    }

    /// A path in this directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of this directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts a daemon with both sockets.
    pub(crate) fn daemon(&self, document: StatusDocument) -> ScriptedDaemon {
        let (control, status) = (self.control(), self.status());
        ScriptedDaemon::new(document, &[(&control, false), (&status, true)])
    }

    /// Starts a server that only shows.
    pub(crate) fn serve(&self) -> Server {
        Server::start(self.options()).unwrap()
    }

    /// Starts a server that may control.
    pub(crate) fn serve_control(&self) -> Server {
        let access = ControlAccess { socket: self.control(), token: self.token() };
        Server::start(ServeOptions { control: Some(access), ..self.options() }).unwrap()
    }

    /// The token, from a file.
    pub(crate) fn token(&self) -> Token {
        let path = self.file("token", TOKEN);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Token::read(Path::new(&path)).unwrap()
    }

    pub(crate) fn options(&self) -> ServeOptions {
        ServeOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            socket: self.status(),
            allowed_hosts: vec!["mirror.example.com".to_owned()],
            control: None,
        }
    }
}
