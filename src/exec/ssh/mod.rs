//! One connection for all syncs to one host, and one shell there.
//!
//! A login takes half a second and a line in the logs of the other side, and a batch comes every
//! second. So a [`Master`] stays (`ControlMaster` in `ssh_config(5)`), and the others go through it.
//! If it is gone, the next job has it opened again, and an ssh that finds no place in it has a
//! connection of its own.

mod channel;
mod choice;
mod login;
mod master;
mod mux;
mod shell;
mod sockets;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

pub use channel::{Done, Step, StepKind};
pub use choice::Choice;
pub use master::Master;
pub use shell::{Shell, Unsettled};

use crate::{
    exec::process::cancel::Stop,
    report::{Category, Log},
};
use channel::Route;
use choice::{Asking, Known};
use sockets::Sockets;

/// With these a host that is not there, or says nothing for three times so many seconds, is away.
const KEEP_ALIVE: [&str; 2] = ["ServerAliveInterval=15", "ConnectTimeout=30"];

/// The connections of this process. They end when it is dropped.
#[derive(Debug)]
pub struct Connections {
    /// Whether the programs that go to one host share one.
    shared: bool,
    /// Where the sockets are, made with the first sync that needs it. `None` if it can't be.
    directory: OnceLock<Option<Sockets>>,
    /// Whether the user's own configuration shares connections of its own on a route, as far as that was
    /// asked. Each answer has a lock of its own, so that nobody waits for another host.
    users_own: Mutex<BTreeMap<Route, Arc<Known>>>,
    asking: Asking,
    /// What was answered in an earlier round is asked again.
    round: AtomicU64,
    /// Those that somebody uses, and the number of the next one, which is the name of its socket.
    masters: Mutex<(Vec<Arc<Master>>, u64)>,
    /// The shells that somebody uses.
    shells: Mutex<BTreeMap<Route, Weak<Shell>>>,
}

impl Connections {
    /// No connection yet.
    #[must_use]
    pub const fn new(shared: bool) -> Self {
        Self {
            shared,
            directory: OnceLock::new(),
            users_own: Mutex::new(BTreeMap::new()),
            asking: Asking::STANDARD,
            round: AtomicU64::new(0),
            masters: Mutex::new((Vec::new(), 0)),
            shells: Mutex::new(BTreeMap::new()),
        }
    }

    /// The connection to `host` for `command`: ssh with its words. `None` if it is not to be shared,
    /// if the user's words share one, or if there is no place for sockets. Whether the user's
    /// configuration shares one is not asked: see [`Choice`].
    #[must_use]
    pub fn master(&self, command: &[Vec<u8>], host: &[u8], log: &Log) -> Option<Arc<Master>> {
        if !self.shared || command.iter().any(|word| is_about_sharing(word)) {
            return None;
        }
        let route = Route::new(command.to_vec(), host)?;
        let directory = self.directory.get_or_init(|| sockets(log)).as_ref()?.path();
        let mut guard = lock(&self.masters);
        let (masters, next) = &mut *guard;
        if let Some(master) = masters.iter().find(|master| *master.route() == route) {
            return Some(Arc::clone(master));
        }
        let unused = masters.extract_if(.., |master| Arc::strong_count(master) == 1);
        unused.for_each(|master| master.end());
        let socket = directory.join(next.to_string());
        *next += 1;
        let master = Arc::new(Master::new(route, socket, log.clone()));
        masters.push(Arc::clone(&master));
        drop(guard);
        Some(master)
    }

    /// Whether programs that go to one host are to share a connection.
    #[must_use]
    pub const fn are_shared(&self) -> bool {
        self.shared
    }

    /// Whether the user's configuration of ssh shares connections of its own where `master` goes. `None`
    /// if the job was stopped.
    fn are_shared_by_user(&self, master: &Master, stop: &Stop, log: &Log) -> Option<bool> {
        let route = master.route();
        let round = self.round.load(Ordering::Relaxed);
        let known = Arc::clone(lock(&self.users_own).entry(route.clone()).or_default());
        known.is_users((route, round), self.asking, stop, log)
    }

    /// Hosts that were away are tried again at once, and ssh is asked again how it is set up.
    pub fn try_again(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
        lock(&self.masters).0.iter().for_each(|master| master.forget_failures());
    }

    /// The shell at `host`, reached by `command`: ssh with all its words. `None` if no ssh takes
    /// that for a host.
    #[must_use]
    pub fn shell(&self, command: &[Vec<u8>], host: &[u8], log: &Log) -> Option<Arc<Shell>> {
        let mut command = command.to_vec();
        if is_ssh(&command) {
            // Nobody is there to be asked for a password in the middle of a night, no screen, and
            // no terminal.
            command.extend([&b"-o"[..], b"BatchMode=yes", b"-x", b"-T"].map(<[u8]>::to_vec));
        }
        let route = Route::new(command, host)?;
        let mut shells = lock(&self.shells);
        if let Some(shell) = shells.get(&route).and_then(Weak::upgrade) {
            return Some(shell);
        }
        let shell = Arc::new(Shell::new(route.clone(), log.clone()));
        shells.retain(|_, shell| shell.strong_count() > 0);
        shells.insert(route, Arc::downgrade(&shell));
        drop(shells);
        Some(shell)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        lock(&self.masters).0.iter().for_each(|master| master.end());
    }
}

/// Whether a program with its words is plainly ssh.
#[must_use]
pub fn is_ssh(command: &[Vec<u8>]) -> bool {
    let program = command.first().map(|program| Path::new(OsStr::from_bytes(program)));
    program.and_then(Path::file_name) == Some(OsStr::new("ssh"))
}

/// The words behind those of the user with which an ssh notices that its host is away.
pub fn keep_alive() -> impl Iterator<Item = Vec<u8>> {
    KEEP_ALIVE.iter().flat_map(|option| [b"-o".to_vec(), option.as_bytes().to_vec()])
}

/// Whether a word for ssh says how connections are shared: such as `-S`, or `-o ControlPath=..`.
fn is_about_sharing(word: &[u8]) -> bool {
    let word = word.to_ascii_lowercase();
    let word = word.strip_prefix(b"-o").unwrap_or(&word).trim_ascii_start();
    word.starts_with(b"-s") || word.starts_with(b"-m") || word.starts_with(b"control")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for sockets. If there is none, that is told.
fn sockets(log: &Log) -> Option<Sockets> {
    let sockets = Sockets::new();
    if let Err(error) = &sockets {
        let text =
            format!("connections of ssh can't be shared: no place for their sockets: {error}");
        log.say(Category::Warn, text);
    }
    sockets.ok()
}
