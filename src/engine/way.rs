//! How the programs of one sync get to its host.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt, sync::Arc};

use mirror_core::plan::{
    rsync::RsyncOptions,
    ssh::{add_to_remote_shell, remote_shell, rsh_text, split_rsh},
};

use crate::{
    exec::ssh::{Connections, Master, is_ssh, keep_alive},
    report::Log,
};

/// How the programs of one sync get to its host.
#[derive(Debug)]
pub(super) struct Way {
    /// The program that gets there, with all its words.
    pub(super) command: Vec<Vec<u8>>,
    /// The same for `RSYNC_RSH`, where `options` do not say it.
    pub(super) remote_shell: Option<OsString>,
    /// The connection that goes before.
    pub(super) master: Option<Arc<Master>>,
}

impl Way {
    /// The way to `host`. What `options` say of it gets further words behind those of the user.
    ///
    /// What is not plainly ssh stays as it is, and what `RSYNC_RSH` says has no part in a shared
    /// connection.
    pub(super) fn to(
        host: &[u8],
        options: &mut RsyncOptions,
        connections: &Connections,
        log: &Log,
    ) -> Self {
        let said = remote_shell(options);
        let environment = || env::var_os("RSYNC_RSH").map(OsString::into_vec);
        let environment = if said.is_none() { environment() } else { None };
        let text = said.as_ref().or(environment.as_ref()).map_or(&b"ssh"[..], Vec::as_slice);
        let mut command = split_rsh(text);
        if !is_ssh(&command) {
            return Self { command, remote_shell: None, master: None };
        }
        let mut further: Vec<_> = keep_alive().collect();
        let master = match environment {
            Some(_) => None,
            None => connections.master(&[&*command, &*further].concat(), host, log),
        };
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
