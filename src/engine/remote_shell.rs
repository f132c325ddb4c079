//! Remote shell commands of one sync.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt, sync::Arc};

use mirror_core::{
    path::Escaped,
    plan::{
        options::RsyncOptions,
        ssh::{add_to_remote_shell, remote_shell, rsh_value, split_rsh},
    },
};

use crate::{
    exec::ssh::{ControlMaster, SshConnections, is_ssh, keep_alive},
    report::{Category, Log},
};

/// Remote shell of one sync: how its programs reach the host.
#[derive(Debug)]
pub(super) struct RemoteShell {
    /// The remote shell program with all its arguments.
    pub(super) command: Vec<Vec<u8>>,
    /// Value for `RSYNC_RSH`, if `options` do not specify a remote shell.
    pub(super) rsync_rsh: Option<OsString>,
    /// Shared connection that must be established first.
    pub(super) master: Option<Arc<ControlMaster>>,
}

impl RemoteShell {
    /// Builds the remote shell for `host`. Further arguments are appended to those of the user in
    /// `options`.
    ///
    /// A program other than plain ssh is left unchanged, and a remote shell from `RSYNC_RSH` never
    /// uses a shared connection. Without `connections` none is shared.
    pub(super) fn for_host(
        host: &[u8],
        options: &mut RsyncOptions,
        connections: Option<&SshConnections>,
        log: &Log,
    ) -> Self {
        let given = remote_shell(options);
        let environment = if given.is_none() { shell_of_environment() } else { None };
        let text = given.as_ref().or(environment.as_ref()).map_or(&b"ssh"[..], Vec::as_slice);
        let mut command = split_rsh(text);
        let log_unshared = |why: &str| {
            if connections.is_some_and(SshConnections::are_shared) {
                let (host, program) =
                    (Escaped(host), Escaped(command.first().map_or(b"", |it| it)));
                let text = format!(
                    "each transfer to {host} by {program} opens a connection of its own: {why}"
                );
                log.say(Category::Normal, text);
            }
        };
        if !is_ssh(&command) {
            log_unshared("it is not ssh");
            return Self { command, rsync_rsh: None, master: None };
        }
        if environment.is_some() {
            log_unshared("RSYNC_RSH is set");
        }
        let mut extra_args: Vec<_> = keep_alive().collect();
        let connections = connections.filter(|_| environment.is_none());
        let master =
            connections.and_then(|it| it.master(&[&*command, &*extra_args].concat(), host, log));
        extra_args.extend(master.iter().flat_map(|master| master.args()));
        let extra_text = rsh_value(&extra_args);
        command.append(&mut extra_args);
        let rsync_rsh = if given.is_some() {
            add_to_remote_shell(options, &extra_text);
            None
        } else {
            Some(OsString::from_vec([text, b" ", &extra_text].concat()))
        };
        Self { command, rsync_rsh, master }
    }
}

fn shell_of_environment() -> Option<Vec<u8>> {
    env::var_os("RSYNC_RSH").map(OsString::into_vec)
}

/// Returns the remote shell that rsync runs with these options of the user: the program with its
/// arguments.
pub(super) fn shell_command(options: &RsyncOptions) -> Vec<Vec<u8>> {
    let text = remote_shell(options).or_else(shell_of_environment);
    split_rsh(text.as_deref().unwrap_or(b"ssh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the arguments and the `RSYNC_RSH` of a sync with these options of the user.
    fn arguments(given: &[&str], shared: bool) -> (Vec<String>, String) {
        let long = given.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let mut options = RsyncOptions { long, ..RsyncOptions::default() };
        let connections = SshConnections::new(shared);
        let shell =
            RemoteShell::for_host(b"host", &mut options, Some(&connections), &Log::default());
        assert_eq!(shell.master.is_some(), shared && !given.iter().any(|it| it.contains("plink")));
        let socket = shell.master.as_ref().map(|master| master.args().concat());
        let socket = String::from_utf8(socket.unwrap_or_default()).unwrap();
        let socket = socket.rsplit('=').next().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            if socket.is_empty() { text } else { text.replace(socket, "SOCKET") }
        };
        let rsync_rsh = shell.rsync_rsh.map(OsString::into_vec).unwrap_or_default();
        (options.long.iter().map(|arg| text(arg)).collect(), text(&rsync_rsh))
    }

    #[test]
    fn ssh_gets_keepalive_options_after_the_user_options() {
        if env::var_os("RSYNC_RSH").is_some() {
            println!("skipped: RSYNC_RSH is set");
            return;
        }
        let alive = "-o ServerAliveInterval=15 -o ConnectTimeout=30";
        let shared = "-o ControlMaster=no -o ControlPath=SOCKET";
        assert_eq!(arguments(&[], false), (vec![], format!("ssh {alive}")));
        assert_eq!(arguments(&[], true), (vec![], format!("ssh {alive} {shared}")));
        let own = "--rsh=/usr/bin/ssh -p 22";
        assert_eq!(arguments(&[own], false), (vec![format!("{own} {alive}")], String::new()));
        assert_eq!(
            arguments(&[own], true),
            (vec![format!("{own} {alive} {shared}")], String::new())
        );
        let other = "--rsh=plink -P 22";
        assert_eq!(arguments(&[other], true), (vec![other.to_owned()], String::new()));
    }
}
