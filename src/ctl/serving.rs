//! The command `serve`: its options, and what it prints.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;

use super::{
    args::{CtlOptions, ServeArgs},
    failure::{CtlFailure, Severity},
    output,
    serve::{ControlAccess, ServeOptions, Server, Token},
};
use crate::control::{
    client::find_daemon,
    location::{control_socket_of, read_only_socket},
};

/// Serves until the process is ended.
///
/// # Errors
///
/// If it cannot start.
pub(super) fn run(options: &CtlOptions, args: &ServeArgs) -> Result<Severity, CtlFailure> {
    let control = find_daemon(options.socket.as_deref())?;
    let socket = status_socket(&control);
    let access = control_access(&control, args)?;
    let is_control = access.is_some();
    if !is_control && control.exists() && !socket.exists() {
        eprintln!(
            "lsyncctl: the daemon has no read-only socket {}: set socketGroup in its settings, or \
             start with --control",
            Escaped(socket.as_os_str().as_bytes())
        );
    }
    let options = ServeOptions {
        listen: args.listen,
        socket,
        allowed_hosts: args.allow_host.clone(),
        control: access,
    };
    let server = Server::start(options).map_err(CtlFailure::System)?;
    let rights = if is_control { "with control" } else { "read-only" };
    output::print(&format!("http://{}/ ({rights})\n", server.address()));
    if !args.listen.ip().is_loopback() {
        eprintln!(
            "lsyncctl: everybody who reaches {} can read names of files; a proxy with a login in \
             front of a server on 127.0.0.1 prevents that",
            server.address()
        );
    }
    server.wait();
    Ok(Severity::Ok)
}

/// The read-only socket of a daemon, of which either socket was given.
fn status_socket(given: &Path) -> PathBuf {
    if control_socket_of(given).is_some() { given.to_owned() } else { read_only_socket(given) }
}

/// Reads or makes the token. A new one is printed.
fn control_access(control: &Path, args: &ServeArgs) -> Result<Option<ControlAccess>, CtlFailure> {
    if !args.control {
        return Ok(None);
    }
    let token = if let Some(file) = &args.token_file {
        let failed = |error| CtlFailure::System(format!("cannot use the token: {error}"));
        Token::read(file).map_err(failed)?
    } else {
        let failed = |error| CtlFailure::System(format!("cannot make a token: {error}"));
        let token = Token::random().map_err(failed)?;
        output::print(&format!("token: {}\n", token.secret()));
        token
    };
    Ok(Some(ControlAccess { socket: control.to_owned(), token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_socket_leads_to_the_one_that_only_shows() {
        for given in ["/run/a/lsyncd.sock", "/run/a/lsyncd.status.sock"] {
            assert_eq!(status_socket(Path::new(given)), Path::new("/run/a/lsyncd.status.sock"));
        }
    }
}
