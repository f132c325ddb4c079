//! Target on another machine, as a shell there sees it.

use std::path::Path;

use mirror_core::plan::{
    options::TransferPhase,
    target::{Target, TargetPath},
};

use super::remote_shell::RemoteShell;
use crate::{
    config::{SyncConfig, SyncKind},
    exec::{
        rsync,
        ssh::{RemoteMark, SshConnections},
    },
    report::Log,
};

/// Returns the directory of the target. `None` if a remote shell may see other paths than rsync
/// does.
fn remote_directory(sync: &SyncConfig, target: &Target) -> Option<Vec<u8>> {
    let mut args = sync.rsync.extra.iter().chain(&sync.rsync.long);
    // Such as `sudo chroot /srv rsync`.
    let changes_root = |arg: &Vec<u8>| {
        arg == b"--rsync-path" || arg.starts_with(b"--rsync-path=") && arg.contains(&b' ')
    };
    if args.any(changes_root) {
        return None;
    }
    match target.path() {
        // The home of another user, which the remote shell may resolve differently.
        TargetPath::Relative([b'~', ..]) => None,
        TargetPath::Absolute(path) | TargetPath::Relative(path) => Some(path.to_vec()),
        TargetPath::Unknown => Some(b".".to_vec()),
    }
}

/// Returns the settings for repeating renames on the target of `default.rsyncssh`. `None` if a
/// remote shell may see other paths than rsync does, or if nothing is to be deleted, including the
/// old name.
pub(super) fn remote_renames(
    sync: &SyncConfig,
    target: &Target,
    shell: &RemoteShell,
    connections: &SshConnections,
    log: &Log,
) -> Option<rsync::ShellRenames> {
    let deletes = sync.delete.applies(TransferPhase::Running);
    if sync.kind != SyncKind::Rsyncssh || !sync.renames || !deletes {
        return None;
    }
    let directory = remote_directory(sync, target)?;
    let shell = connections.shell(&shell.command, target.host()?, log)?;
    Some(rsync::ShellRenames { shell, directory, codes: sync.ssh_exit_codes.clone() })
}

/// Returns the mark of the target. `None` if a remote shell may see other paths than rsync does, or
/// if it is not reached by ssh.
pub(super) fn remote_mark(
    sync: &SyncConfig,
    target: &Target,
    shell: &RemoteShell,
    base_dir: &Path,
) -> Option<RemoteMark> {
    let directory = remote_directory(sync, target)?;
    RemoteMark::new(&shell.command, target.host()?, directory, base_dir.to_owned())
}
