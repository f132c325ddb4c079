//! How the programs of one sync get to its host.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt, sync::Arc};

use mirror_core::{
    path::Escaped,
    plan::{
        options::RsyncOptions,
        ssh::{add_to_remote_shell, remote_shell, rsh_text, split_rsh},
    },
};

use crate::{
    exec::ssh::{Connections, Master, is_ssh, keep_alive},
    report::{Category, Log},
};

/// How the programs of one sync get to its host.
#[derive(Debug)]
pub(super) struct Line {
    /// The program that gets there, with all its words.
    pub(super) command: Vec<Vec<u8>>,
    /// The same for `RSYNC_RSH`, where `options` do not say it.
    pub(super) remote_shell: Option<OsString>,
    /// The connection that goes before.
    pub(super) master: Option<Arc<Master>>,
}

impl Line {
    /// The line to `host`. What `options` say of it gets further words behind those of the user.
    ///
    /// What is not plainly ssh stays as it is, and what `RSYNC_RSH` says has no part in a shared
    /// connection. Without `connections` none is.
    pub(super) fn to(
        host: &[u8],
        options: &mut RsyncOptions,
        connections: Option<&Connections>,
        log: &Log,
    ) -> Self {
        let said = remote_shell(options);
        let environment = || env::var_os("RSYNC_RSH").map(OsString::into_vec);
        let environment = if said.is_none() { environment() } else { None };
        let text = said.as_ref().or(environment.as_ref()).map_or(&b"ssh"[..], Vec::as_slice);
        let mut command = split_rsh(text);
        let tell = |why: &str| {
            if connections.is_some_and(Connections::are_shared) {
                let (host, program) =
                    (Escaped(host), Escaped(command.first().map_or(b"", |it| it)));
                let text = format!(
                    "each transfer to {host} by {program} has a connection of its own: {why}"
                );
                log.say(Category::Normal, text);
            }
        };
        if !is_ssh(&command) {
            tell("it is not ssh");
            return Self { command, remote_shell: None, master: None };
        }
        if environment.is_some() {
            tell("that is what RSYNC_RSH says");
        }
        let mut further: Vec<_> = keep_alive().collect();
        let connections = connections.filter(|_| environment.is_none());
        let master =
            connections.and_then(|it| it.master(&[&*command, &*further].concat(), host, log));
        further.extend(master.iter().flat_map(|master| master.words()));
        let more = rsh_text(&further);
        command.append(&mut further);
        let remote_shell = if said.is_some() {
            add_to_remote_shell(options, &more);
            None
        } else {
            Some(OsString::from_vec([text, b" ", &more].concat()))
        };
        Self { command, remote_shell, master }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words `--rsh` and `RSYNC_RSH` of a sync whose user said `said`.
    fn line(said: &[&str], shared: bool) -> (Vec<String>, String) {
        let long = said.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut options = RsyncOptions { long, ..RsyncOptions::default() };
        let connections = Connections::new(shared);
        let line = Line::to(b"host", &mut options, Some(&connections), &Log::default());
        assert_eq!(line.master.is_some(), shared && !said.iter().any(|it| it.contains("plink")));
        let socket = line.master.as_ref().map(|master| master.words().concat());
        let socket = String::from_utf8(socket.unwrap_or_default()).unwrap();
        let socket = socket.rsplit('=').next().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            if socket.is_empty() { text } else { text.replace(socket, "SOCKET") }
        };
        let remote_shell = line.remote_shell.map(OsString::into_vec).unwrap_or_default();
        (options.long.iter().map(|word| text(word)).collect(), text(&remote_shell))
    }

    #[test]
    fn every_ssh_notices_that_its_host_is_away_and_the_words_of_the_user_come_first() {
        if env::var_os("RSYNC_RSH").is_some() {
            println!("skipped: RSYNC_RSH is set");
            return;
        }
        let alive = "-o ServerAliveInterval=15 -o ConnectTimeout=30";
        let shared = "-o ControlMaster=no -o ControlPath=SOCKET";
        assert_eq!(line(&[], false), (vec![], format!("ssh {alive}")));
        assert_eq!(line(&[], true), (vec![], format!("ssh {alive} {shared}")));
        let own = "--rsh=/usr/bin/ssh -p 22";
        assert_eq!(line(&[own], false), (vec![format!("{own} {alive}")], String::new()));
        assert_eq!(line(&[own], true), (vec![format!("{own} {alive} {shared}")], String::new()));
        let other = "--rsh=plink -P 22";
        assert_eq!(line(&[other], true), (vec![other.to_owned()], String::new()));
    }
}
