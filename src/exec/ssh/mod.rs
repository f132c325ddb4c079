//! One connection for all syncs to one host, and one shell there.
//!
//! A login takes half a second and a line in the logs of the other side, and a batch comes every
//! second. So the first ssh to a host stays as a master (`ControlMaster` in `ssh_config(5)`), and
//! the others go through it. ssh itself does all of it: if the master is gone, the next one becomes
//! it, and if there can't be one, each has a connection of its own.

mod channel;
mod shell;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

pub use channel::{Done, Step, StepKind};
pub use shell::{Shell, Unsettled};

use crate::report::Log;
use channel::Route;

/// How long a master stays without work, in seconds.
const PERSIST: u32 = 600;

/// A host that says nothing for three times so many seconds is away.
const ALIVE: u32 = 15;

/// The longest directory for sockets: the name of one has 40 letters, ssh adds 17 while it makes
/// it, and the kernel takes 107 (`unix(7)`).
const LONGEST: usize = 107 - 17 - 40 - 1;

/// The connections of this process. They end when it is dropped.
#[derive(Debug)]
pub struct Connections {
    /// Whether the programs that go to one host share one.
    shared: bool,
    /// Where the sockets are, made with the first sync that needs it. `None` if it can't be.
    directory: OnceLock<Option<PathBuf>>,
    /// The shells that somebody uses.
    shells: Mutex<BTreeMap<Route, Weak<Shell>>>,
}

impl Connections {
    /// No connection yet.
    #[must_use]
    pub const fn new(shared: bool) -> Self {
        Self { shared, directory: OnceLock::new(), shells: Mutex::new(BTreeMap::new()) }
    }

    /// The words behind those of the user with which an ssh shares its connection. None if it is
    /// not to be shared, or if there is no place for sockets.
    #[must_use]
    pub fn words(&self) -> Vec<Vec<u8>> {
        if !self.shared {
            return Vec::new();
        }
        let directory = self.directory.get_or_init(|| private_directory().ok());
        let Some(directory) = directory else { return Vec::new() };
        let options = [
            "ControlMaster=auto".to_owned(),
            format!("ControlPath={}/%C", directory.display()),
            format!("ControlPersist={PERSIST}"),
            format!("ServerAliveInterval={ALIVE}"),
        ];
        options.into_iter().flat_map(|option| [b"-o".to_vec(), option.into_bytes()]).collect()
    }

    /// The shell at `host`, reached by `command`: ssh with the user's words. `None` if no ssh takes
    /// that for a host.
    #[must_use]
    pub fn shell(&self, command: &[Vec<u8>], host: &[u8], log: &Log) -> Option<Arc<Shell>> {
        // rsync takes an address in brackets, ssh one without.
        let (user, name) = match host.iter().rposition(|&byte| byte == b'@') {
            Some(at) => host.split_at_checked(at + 1)?,
            None => (&b""[..], host),
        };
        let name = name.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")).unwrap_or(name);
        let host = [user, name].concat();
        if host.is_empty() || host.starts_with(b"-") {
            return None;
        }
        let mut command = command.to_vec();
        if command.first().is_some_and(|program| is_ssh(program)) {
            command.extend(self.words());
            // Nobody is there to be asked for a password in the middle of a night, no screen, and
            // no terminal.
            command.extend([&b"-o"[..], b"BatchMode=yes", b"-x", b"-T"].map(<[u8]>::to_vec));
        }
        let command = command.into_iter().map(OsString::from_vec).collect();
        let route = Route { command, host: OsString::from_vec(host) };
        let mut shells = self.shells.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Whether a program takes the words of ssh.
#[must_use]
pub fn is_ssh(program: &[u8]) -> bool {
    program.rsplit(|&byte| byte == b'/').next() == Some(b"ssh")
}

impl Drop for Connections {
    fn drop(&mut self) {
        let Some(Some(directory)) = self.directory.get() else { return };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            end_master(&entry.path());
        }
        // What is left is of no use to anybody.
        let _ = fs::remove_dir_all(directory);
    }
}

/// A directory that only we can enter, with a short name.
fn private_directory() -> io::Result<PathBuf> {
    let usual = env::temp_dir();
    let fits = usual.as_os_str().len() + "/lsyncd-4194304-99".len() <= LONGEST;
    let base = if fits { &usual } else { Path::new("/tmp") };
    // A name that is there already may be somebody else's.
    let names = (0..100).map(|number| base.join(format!("lsyncd-{}-{number}", process::id())));
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for name in names {
        match fs::DirBuilder::new().mode(0o700).create(&name) {
            Ok(()) => return Ok(name),
            Err(error) => last = error,
        }
        if last.kind() != io::ErrorKind::AlreadyExists {
            break;
        }
    }
    Err(last)
}

/// Asks the master behind a socket to end. One that is gone already can't be asked.
fn end_master(socket: &Path) {
    let mut path = std::ffi::OsString::from("ControlPath=");
    path.push(socket);
    // The name of the host is not looked at.
    let _ = Command::new("ssh")
        .args(["-F", "none", "-O", "exit", "-o"])
        .arg(path)
        .arg("host")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
