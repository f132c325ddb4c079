//! The shared connection (`ControlMaster`) to one host, used by the programs of all its syncs.
//!
//! An ssh of its own opens it before the first program starts. Syncs that start at once therefore
//! cause one login, and one attempt if the host is unreachable.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    fs,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use mirror_core::path::Escaped;
use mirror_platform::process_handle::ProcessHandle;
use rustix::process::Signal;

use super::{
    channel::SshRoute,
    login::SshLogin,
    mux::{MuxStatus, check},
    socket_dir::is_private,
};
use crate::{
    exec::{lock, process::cancel::CancelToken},
    report::{Category, Log},
};

/// Limit on jobs that use one connection: sshd allows ten sessions by default, and the shell for
/// renames is one of them. Where the fleet knows the connection in advance, it starts no more;
/// through a tunnel it does not know it.
const MAX_SESSIONS: usize = 8;

/// Longest wait for a slot. After that, ssh finds its own way to the host, so that long transfers
/// do not delay others for ever.
const MAX_SLOT_WAIT: Duration = Duration::from_secs(30);

/// Timeout of a master's reply. It has a single thread, which also transfers data.
const MUX_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a login: sshd allows two minutes for a typed password.
const LOGIN_TIMEOUT: Duration = Duration::from_mins(2);

/// Interval of the check for a completed login.
const LOGIN_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Backoff after the first failed login; doubled after each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Interval of the check for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The shared connection to one host.
#[derive(Debug)]
pub(crate) struct ControlMaster {
    route: SshRoute,
    socket: PathBuf,
    /// Base of relative paths in the user's arguments.
    working_dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    log: Log,
}

#[derive(Debug, Default)]
struct State {
    /// A job is checking or opening the connection.
    opening: bool,
    /// Number of jobs that use the connection.
    sessions: usize,
    failed: Option<LoginFailure>,
    /// The ssh process that holds the connection, if known.
    process: Option<ProcessHandle>,
    /// Time of the last successful login, unless one has failed since then.
    connected: Option<SystemTime>,
}

/// State of a shared connection, as far as it is known without asking ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionStatus {
    /// No job has needed it so far.
    Unused,
    /// A job logs in.
    Connecting,
    /// Open since this time.
    Open(SystemTime),
    /// It has ended; the next job opens it again.
    Ended,
    /// The last login failed for this reason.
    Failed(String),
    /// The user's ssh configuration shares connections of its own.
    SharedByUser,
}

/// The last login failed.
#[derive(Clone, Debug)]
struct LoginFailure {
    at: Instant,
    backoff: Duration,
    why: String,
}

/// True if the connection was opened by a new login.
#[derive(Clone, Copy, Debug)]
struct NewLogin(bool);

/// Slot of a job in a shared connection, released on drop.
#[derive(Debug)]
pub(in crate::exec) struct MasterSlot<'a> {
    master: &'a ControlMaster,
}

impl ControlMaster {
    /// Creates a connection that is not open yet. Its socket will be at `socket`.
    pub(super) fn new(route: SshRoute, socket: PathBuf, log: Log) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let working_dir = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { route, socket, working_dir, state, changed, log }
    }

    /// Opens the connection if needed, and takes a slot in it.
    ///
    /// # Errors
    ///
    /// The reason for which the host is unreachable.
    pub(in crate::exec) fn acquire_slot(
        &self,
        cancel: &CancelToken,
    ) -> Result<MasterSlot<'_>, String> {
        let asked = Instant::now();
        let mut state = self.lock();
        while state.opening || (state.sessions >= MAX_SESSIONS && asked.elapsed() < MAX_SLOT_WAIT) {
            if cancel.is_cancelled_while_waiting(asked) {
                return Err("the job was stopped".into());
            }
            let waited = self.changed.wait_timeout(state, POLL_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(failed) = &state.failed
            && (failed.at >= asked || failed.at.elapsed() < failed.backoff)
        {
            return Err(failed.why.clone());
        }
        state.opening = true;
        let mut process = state.process.take();
        drop(state);
        let opened = self.open_if_needed(&mut process, cancel);
        state = self.lock();
        state.opening = false;
        state.connected = match (&opened, &process) {
            (Ok(NewLogin(false)), Some(_)) => state.connected.or_else(|| Some(SystemTime::now())),
            (Ok(NewLogin(true)), Some(_)) => Some(SystemTime::now()),
            (_, None) | (Err(_), _) => None,
        };
        state.process = process;
        let before = state.failed.take();
        match &opened {
            Ok(_) => state.sessions += 1,
            // A cancelled login says nothing about the host.
            Err(_) if cancel.is_cancelled_while_waiting(asked) => {}
            Err(why) => {
                let backoff =
                    before.map_or(FIRST_BACKOFF, |before| MAX_BACKOFF.min(before.backoff * 2));
                state.failed = Some(LoginFailure { at: Instant::now(), backoff, why: why.clone() });
            }
        }
        drop(state);
        self.changed.notify_all();
        opened.map(|_| MasterSlot { master: self })
    }

    /// Returns the command and host of the connection.
    pub(super) const fn route(&self) -> &SshRoute {
        &self.route
    }

    /// Returns the state of the connection. Does not block.
    pub(super) fn status(&self) -> ConnectionStatus {
        let state = self.lock();
        match (&state.failed, state.connected) {
            (Some(failed), _) => ConnectionStatus::Failed(failed.why.clone()),
            // The open connection may be in the middle of a check.
            (None, Some(_)) if state.process.as_ref().is_some_and(ProcessHandle::has_exited) => {
                ConnectionStatus::Ended
            }
            (None, Some(since)) => ConnectionStatus::Open(since),
            (None, None) if state.opening => ConnectionStatus::Connecting,
            (None, None) => ConnectionStatus::Unused,
        }
    }

    /// Clears the backoff: the next job tries at once.
    pub(super) fn forget_failures(&self) {
        self.lock().failed = None;
    }

    fn open_if_needed(
        &self,
        process: &mut Option<ProcessHandle>,
        cancel: &CancelToken,
    ) -> Result<NewLogin, String> {
        match check(&self.socket, MUX_TIMEOUT) {
            MuxStatus::Alive(_) if process.is_some() => return Ok(NewLogin(false)),
            MuxStatus::Alive(pid) => {
                *process = ProcessHandle::open(pid).ok();
                return Ok(NewLogin(false));
            }
            MuxStatus::Unresponsive => {
                let text =
                    format!("ssh control connection to {} unresponsive: reconnecting", self.host());
                self.log.say(Category::Warn, text);
                if let Some(process) = process {
                    signal(process, Signal::KILL);
                }
            }
            MuxStatus::Gone => {}
        }
        *process = None;
        // A stale socket would prevent the next master from listening there.
        let _ = fs::remove_file(&self.socket);
        // The directory may have been cleaned up; usually it exists.
        let directory = self.socket.parent();
        let _ = directory.map(|it| fs::DirBuilder::new().mode(0o700).create(it));
        if !directory.is_some_and(is_private) {
            // Without a master, each ssh opens a connection of its own.
            return Ok(NewLogin(false));
        }
        self.open(cancel)?;
        if let MuxStatus::Alive(pid) = check(&self.socket, MUX_TIMEOUT) {
            *process = ProcessHandle::open(pid).ok();
        }
        Ok(NewLogin(true))
    }

    /// Logs in, and returns once the connection is open.
    fn open(&self, cancel: &CancelToken) -> Result<(), String> {
        // `-N`: the remote side need not offer a shell. Not in the background, where ssh would
        // survive if the daemon were killed.
        let args = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-N", "-T", "-x", "-o"];
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        args.push(control_path(&self.socket));
        let login = SshLogin::start(&self.route, &args, self.working_dir.clone(), self.log.clone());
        let login = login.map_err(|error| format!("cannot log in: {error}"))?;
        let began = Instant::now();
        loop {
            if let Some(why) = login.exit_reason() {
                return Err(why.to_owned());
            }
            if check(&self.socket, MUX_TIMEOUT) != MuxStatus::Gone {
                return Ok(());
            }
            let is_over = began.elapsed() >= LOGIN_TIMEOUT;
            if is_over || cancel.is_cancelled_while_waiting(began) {
                login.cancel();
                let why = if is_over { "the login timed out" } else { "the job was stopped" };
                return Err(why.into());
            }
            thread::sleep(LOGIN_POLL_INTERVAL);
        }
    }

    /// Terminates the connection.
    pub(super) fn terminate(&self) {
        if let Some(process) = &self.lock().process {
            signal(process, Signal::TERM);
        }
    }

    /// Returns the arguments, placed behind the user's, with which ssh uses this connection.
    #[must_use]
    pub(crate) fn args(&self) -> [Vec<u8>; 4] {
        let path = control_path(&self.socket).into_encoded_bytes();
        [b"-o".to_vec(), b"ControlMaster=no".to_vec(), b"-o".to_vec(), path]
    }

    /// Returns the host, for messages.
    pub(crate) fn host(&self) -> impl Display {
        Escaped(self.route.host.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for MasterSlot<'_> {
    fn drop(&mut self) {
        self.master.lock().sessions -= 1;
        self.master.changed.notify_all();
    }
}

fn signal(process: &ProcessHandle, signal: Signal) {
    // Fails only if the process has exited by itself.
    let _ = process.signal(signal);
}

fn control_path(socket: &Path) -> OsString {
    [OsStr::new("ControlPath="), socket.as_os_str()].into_iter().collect()
}
