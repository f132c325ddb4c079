//! One shared connection to each host for all syncs, and one shell there.
//!
//! A login takes half a second and a line in the logs of the remote side, and batches are due every
//! second. So a [`ControlMaster`] stays connected (`ControlMaster` in `ssh_config(5)`), and the
//! other programs use its connection. If it exits, the next job reopens it. An ssh that finds no
//! slot in it opens a connection of its own.

mod channel;
mod login;
mod mark;
mod master;
mod mux;
mod sharing;
mod shell;
mod socket_dir;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) use channel::{RemoteRename, RemoteRenameKind, RenameResult};
pub(crate) use mark::{MarkRoutes, MarkState, RemoteMark};
pub(crate) use master::{ConnectionStatus, ControlMaster};
pub(crate) use sharing::ConnectionChoice;
pub(crate) use shell::SshShell;
pub(super) use shell::UnsettledRenames;

use crate::{
    exec::{lock, process::cancel::CancelToken},
    report::{Category, Log},
};
use channel::SshRoute;
use sharing::{ProbeTiming, SharingQuery, UserSharing};
use socket_dir::SocketDir;

/// Options that detect an unreachable host: one that does not accept a connection, or does not
/// answer for three intervals.
const KEEP_ALIVE: [&str; 2] = ["ServerAliveInterval=15", "ConnectTimeout=30"];

/// The ssh connections of this process. Dropping this ends them.
#[derive(Debug)]
pub(crate) struct SshConnections {
    /// True if programs that connect to one host share a connection.
    shared: bool,
    /// Directory of the sockets, created with the first sync that needs it. `None` if it cannot be
    /// created.
    socket_dir: OnceLock<Option<SocketDir>>,
    /// Cached answers about the user's ssh configuration, by route. Each answer has a lock of its
    /// own, so that a query never blocks those of other hosts.
    user_sharing: Mutex<BTreeMap<SshRoute, Arc<UserSharing>>>,
    probe_timing: ProbeTiming,
    /// Answers of an earlier generation are stale.
    generation: AtomicU64,
    /// The connections in use, and the number of the next one, which names its socket.
    masters: Mutex<(Vec<Arc<ControlMaster>>, u64)>,
    /// The shells in use.
    shells: Mutex<BTreeMap<SshRoute, Weak<SshShell>>>,
}

impl SshConnections {
    /// Creates an empty set of connections.
    #[must_use]
    pub(crate) const fn new(shared: bool) -> Self {
        Self {
            shared,
            socket_dir: OnceLock::new(),
            user_sharing: Mutex::new(BTreeMap::new()),
            probe_timing: ProbeTiming::STANDARD,
            generation: AtomicU64::new(0),
            masters: Mutex::new((Vec::new(), 0)),
            shells: Mutex::new(BTreeMap::new()),
        }
    }

    /// Returns the shared connection to `host` for `command`: ssh with its arguments. `None` if
    /// sharing is disabled, if the user's arguments configure it, or if there is no directory for
    /// sockets. The user's ssh configuration is not queried: see [`ConnectionChoice`].
    #[must_use]
    pub(crate) fn master(
        &self,
        command: &[Vec<u8>],
        host: &[u8],
        log: &Log,
    ) -> Option<Arc<ControlMaster>> {
        if !self.shared || command.iter().any(|arg| is_sharing_option(arg)) {
            return None;
        }
        let route = SshRoute::new(command.to_vec(), host)?;
        let directory = self.socket_dir.get_or_init(|| create_socket_dir(log)).as_ref()?.path();
        let mut guard = lock(&self.masters);
        let (masters, next) = &mut *guard;
        if let Some(master) = masters.iter().find(|master| *master.route() == route) {
            return Some(Arc::clone(master));
        }
        let unused = masters.extract_if(.., |master| Arc::strong_count(master) == 1);
        unused.for_each(|master| master.terminate());
        let socket = directory.join(next.to_string());
        *next += 1;
        let master = Arc::new(ControlMaster::new(route, socket, log.clone()));
        masters.push(Arc::clone(&master));
        drop(guard);
        Some(master)
    }

    /// Returns true if programs that connect to one host are to share a connection.
    #[must_use]
    pub(crate) const fn are_shared(&self) -> bool {
        self.shared
    }

    /// Returns true if the user's ssh configuration shares connections of its own on the route of
    /// `master`. `None` if the job was cancelled.
    fn are_shared_by_user(
        &self,
        master: &ControlMaster,
        cancel: &CancelToken,
        log: &Log,
    ) -> Option<bool> {
        let route = master.route();
        let generation = self.generation.load(Ordering::Relaxed);
        let sharing = Arc::clone(lock(&self.user_sharing).entry(route.clone()).or_default());
        let query = SharingQuery { route, generation, timing: self.probe_timing };
        sharing.is_shared_by_user(query, cancel, log)
    }

    /// Returns the state of a connection, as far as it is known. Does not block.
    pub(crate) fn status(&self, master: &ControlMaster) -> ConnectionStatus {
        let sharing = lock(&self.user_sharing).get(master.route()).map(Arc::clone);
        if sharing.is_some_and(|sharing| sharing.is_known_as_shared()) {
            return ConnectionStatus::SharedByUser;
        }
        master.status()
    }

    /// Clears all backoffs, and makes ssh's configuration be queried again.
    pub(crate) fn reset_failures(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        lock(&self.masters).0.iter().for_each(|master| master.forget_failures());
    }

    /// Returns the shell at `host`, reached by `command`: ssh with all its arguments. `None` if ssh
    /// would not take it for a host.
    #[must_use]
    pub(crate) fn shell(
        &self,
        command: &[Vec<u8>],
        host: &[u8],
        log: &Log,
    ) -> Option<Arc<SshShell>> {
        let route = SshRoute::new(unattended(command), host)?;
        let mut shells = lock(&self.shells);
        if let Some(shell) = shells.get(&route).and_then(Weak::upgrade) {
            return Some(shell);
        }
        let shell = Arc::new(SshShell::new(route.clone(), log.clone()));
        shells.retain(|_, shell| shell.strong_count() > 0);
        shells.insert(route, Arc::downgrade(&shell));
        drop(shells);
        Some(shell)
    }
}

impl Drop for SshConnections {
    fn drop(&mut self) {
        lock(&self.masters).0.iter().for_each(|master| master.terminate());
    }
}

/// Returns true if the program of a command line is ssh by name.
#[must_use]
pub(crate) fn is_ssh(command: &[Vec<u8>]) -> bool {
    let program = command.first().map(|program| Path::new(OsStr::from_bytes(program)));
    program.and_then(Path::file_name) == Some(OsStr::new("ssh"))
}

/// Returns a command that asks nobody: the daemon has no user to ask for a password, no display and
/// no terminal.
fn unattended(command: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut command = command.to_vec();
    if is_ssh(&command) {
        command.extend([&b"-o"[..], b"BatchMode=yes", b"-x", b"-T"].map(<[u8]>::to_vec));
    }
    command
}

/// Returns the arguments, placed behind the user's, with which ssh detects an unreachable host.
pub(crate) fn keep_alive() -> impl Iterator<Item = Vec<u8>> {
    KEEP_ALIVE.iter().flat_map(|option| [b"-o".to_vec(), option.as_bytes().to_vec()])
}

/// Returns true if an ssh argument configures connection sharing, such as `-S`, or `-o
/// ControlPath=..`.
fn is_sharing_option(arg: &[u8]) -> bool {
    let arg = arg.to_ascii_lowercase();
    let arg = arg.strip_prefix(b"-o").unwrap_or(&arg).trim_ascii_start();
    arg.starts_with(b"-s") || arg.starts_with(b"-m") || arg.starts_with(b"control")
}

/// Creates the directory of sockets. Logs a warning if that is impossible.
fn create_socket_dir(log: &Log) -> Option<SocketDir> {
    let sockets = SocketDir::new();
    if let Err(error) = &sockets {
        let text =
            format!("ssh connections cannot be shared: no directory for their sockets: {error}");
        log.say(Category::Warn, text);
    }
    sockets.ok()
}
