//! Failures of a client, with their remedies.

use std::{
    error::Error,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mirror_core::path::Escaped;
use nix::unistd::{Gid, Group, Uid, User};

use super::{
    frame::{ErrorKind, RequestError, VERSION},
    location::control_socket_of,
};
use crate::report::os_error_text;

/// Failure of a client: no connection, no valid answer, or a refused request.
#[derive(Debug)]
pub enum ClientError {
    /// No daemon was found in these directories.
    NoDaemon(Vec<PathBuf>),
    /// There is no such socket.
    NoSocket(PathBuf),
    /// Nobody listens at these sockets.
    Dead(Vec<PathBuf>),
    /// The user may not connect to this socket.
    PermissionDenied(PathBuf),
    /// Several daemons run.
    Several(Vec<FoundDaemon>),
    /// No answer came in time.
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// The time limit.
        limit: Duration,
    },
    /// The daemon closed the connection before its answer was complete.
    Closed(PathBuf),
    /// The answer is longer than this number of bytes.
    TooLong(usize),
    /// The answer is invalid, for this reason.
    InvalidAnswer {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The connection failed.
    Io {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The daemon refused the request.
    Refused(RequestError),
}

/// One of several daemons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDaemon {
    /// Its socket.
    pub socket: PathBuf,
    /// Its process id, if it answers.
    pub pid: Option<u32>,
    /// Its configuration files, if it answers.
    pub config_files: Vec<String>,
}

/// Returns true if a read-only socket is missing while the control socket is there.
fn has_control_socket(missing: &Path) -> bool {
    control_socket_of(missing).is_some_and(|control| control.exists())
}

impl Error for ClientError {}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(directories) => {
                let places: Vec<String> = directories.iter().map(|it| escaped(it)).collect();
                let places = places.join(", ");
                write!(f, "no running lsyncd was found: there is no socket in {places}; ")?;
                f.write_str("start lsyncd, or name its socket with --socket")
            }
            Self::NoSocket(socket) if has_control_socket(socket) => {
                let socket = escaped(socket);
                write!(f, "the lsyncd here has no read-only socket: {socket} does not exist; ")?;
                f.write_str("set socketGroup in its settings to a group of yours")
            }
            Self::NoSocket(socket) => {
                let socket = escaped(socket);
                write!(f, "no lsyncd runs here: {socket} does not exist; start lsyncd, or ")?;
                f.write_str("name another socket with --socket")
            }
            Self::Dead(sockets) => {
                let sockets: Vec<String> = sockets.iter().map(|it| escaped(it)).collect();
                let sockets = sockets.join(", ");
                write!(f, "no lsyncd is listening at {sockets}: it died and left its socket ")?;
                f.write_str("behind; start lsyncd again")
            }
            Self::PermissionDenied(socket) => {
                let name = escaped(socket);
                write!(f, "permission denied: {name}: {}", permitted_users(socket))
            }
            Self::Several(daemons) => write_several(daemons, f),
            Self::Timeout { socket, limit } => {
                let (socket, limit) = (escaped(socket), limit.as_secs_f64());
                write!(f, "no answer within {limit} seconds at {socket}: lsyncd is overloaded, ")?;
                f.write_str("stopped or hangs; --answer-timeout waits longer")
            }
            Self::Closed(socket) => {
                let socket = escaped(socket);
                write!(f, "lsyncd closed the connection before its answer was complete: {socket}")
            }
            Self::TooLong(limit) => {
                write!(f, "the answer is longer than {limit} bytes; select a single sync")
            }
            Self::InvalidAnswer { socket, reason } => {
                let (socket, reason) = (escaped(socket), Escaped(reason.as_bytes()));
                write!(f, "not an answer of lsyncd: {socket}: {reason}")
            }
            Self::Io { socket, error } => {
                write!(f, "the connection failed: {}: {}", escaped(socket), os_error_text(error))
            }
            Self::Refused(error) => write_refusal(error, f),
        }
    }
}

fn write_several(daemons: &[FoundDaemon], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("several daemons run; select one with --socket:")?;
    for FoundDaemon { socket, pid, config_files } in daemons {
        write!(f, "\n  {}", escaped(socket))?;
        match pid {
            Some(pid) => write!(f, " (pid {pid}")?,
            None => f.write_str(" (does not answer")?,
        }
        for file in config_files {
            write!(f, ", {}", Escaped(file.as_bytes()))?;
        }
        f.write_str(")")?;
    }
    Ok(())
}

fn write_refusal(error: &RequestError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Errors of a configuration are several lines.
    let lines = error.message.lines().map(|line| Escaped(line.as_bytes()).to_string());
    let message = lines.collect::<Vec<_>>().join("\n");
    match error.kind {
        ErrorKind::UnsupportedVersion => {
            write!(f, "lsyncd speaks another version of the protocol than this lsyncctl, which ")?;
            write!(f, "speaks version {VERSION}: {message}; use the lsyncctl of its package")
        }
        ErrorKind::NotPermitted => {
            write!(f, "the read-only socket does not accept this command: {message}; ")?;
            f.write_str("use the control socket")
        }
        ErrorKind::InvalidRequest
        | ErrorKind::NoSuchSync
        | ErrorKind::NotApplicable
        | ErrorKind::Busy
        | ErrorKind::Failed
        | ErrorKind::Exiting => write!(f, "{message}"),
    }
}

/// Returns a text about the users who may connect to a socket.
fn permitted_users(socket: &Path) -> String {
    // The socket itself, or the directory that hides it.
    let found = socket.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let Some((path, metadata)) = found else { return "ask its owner".to_owned() };
    let is_socket = path == socket;
    // Write permission on a socket, search permission on a directory.
    let bit = if is_socket { 0o020 } else { 0o010 };
    let user = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
    let user = user.map_or_else(|| metadata.uid().to_string(), |user| user.name);
    let group = if metadata.mode() & bit == 0 {
        String::new()
    } else {
        let group = Group::from_gid(Gid::from_raw(metadata.gid())).ok().flatten();
        let group = group.map_or_else(|| metadata.gid().to_string(), |group| group.name);
        format!(" and the members of the group {group}")
    };
    if is_socket {
        format!("only root, the user {user}{group} may use it")
    } else {
        format!("{} is open only to root, the user {user}{group}", escaped(path))
    }
}

fn escaped(path: &Path) -> String {
    Escaped(path.as_os_str().as_encoded_bytes()).to_string()
}
