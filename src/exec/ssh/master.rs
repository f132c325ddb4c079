//! The connection to one host through which the programs of all its syncs go.
//!
//! It is opened before the first of them starts, by an ssh of its own that stays: so many syncs that
//! begin at once are one login, and one try if the host is away.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    fs,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    channel::Route,
    login::Login,
    mux::{Answer, ask},
    sockets::is_private,
};
use crate::{
    exec::process::cancel::Stop,
    report::{Category, Log},
};

/// How many jobs go through one connection: sshd allows ten sessions by default, and the shell for
/// renames is one of them. The fleet starts no more where it knows the connection before; by way of a
/// tunnel it does not.
const MOST: usize = 8;

/// How long a job waits for a place. After that ssh sees for itself how it gets there, so that
/// long transfers hold back nobody for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a master may think before it answers. It has one thread, which also transfers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a login may take: sshd gives somebody who types a password two minutes.
const LOGIN: Duration = Duration::from_mins(2);

/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(10);

/// For so long nobody tries again after a first failure; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest of these times.
const LONGEST_REST: Duration = Duration::from_secs(15);

/// How often it is looked whether the job is to end.
const GLANCE: Duration = Duration::from_millis(100);

/// The connection to one host.
#[derive(Debug)]
pub struct Master {
    route: Route,
    socket: PathBuf,
    /// From here relative paths of the user count.
    directory: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    log: Log,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody looks after the connection.
    busy: bool,
    /// How many jobs go through it.
    inside: usize,
    failed: Option<Failed>,
    /// The process that holds the connection, as far as is known.
    process: Option<OwnedFd>,
}

/// The last try failed.
#[derive(Clone, Debug)]
struct Failed {
    at: Instant,
    rest: Duration,
    why: String,
}

/// A place among those that go through a connection, until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    master: &'a Master,
}

impl Master {
    /// One that is not open yet. Its socket will be at `socket`.
    pub(super) fn new(route: Route, socket: PathBuf, log: Log) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let directory = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { route, socket, directory, state, changed, log }
    }

    /// Sees to it that there is a connection, and takes a place in it.
    ///
    /// # Errors
    ///
    /// If the host can't be reached: why.
    pub fn enter(&self, stop: &Stop) -> Result<Place<'_>, String> {
        let asked = Instant::now();
        let mut state = self.lock();
        while state.busy || (state.inside >= MOST && asked.elapsed() < LONGEST_WAIT) {
            if stop.is_asked_of_who_waits(asked) {
                return Err("the job was stopped".into());
            }
            let waited = self.changed.wait_timeout(state, GLANCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(failed) = &state.failed
            && (failed.at >= asked || failed.at.elapsed() < failed.rest)
        {
            return Err(failed.why.clone());
        }
        state.busy = true;
        let mut process = state.process.take();
        drop(state);
        let opened = self.open_if_needed(&mut process, stop);
        state = self.lock();
        state.busy = false;
        state.process = process;
        let before = state.failed.take();
        match &opened {
            Ok(()) => state.inside += 1,
            // Nobody knows whether it would have been opened.
            Err(_) if stop.is_asked_of_who_waits(asked) => {}
            Err(why) => {
                let rest = before.map_or(FIRST_REST, |before| LONGEST_REST.min(before.rest * 2));
                state.failed = Some(Failed { at: Instant::now(), rest, why: why.clone() });
            }
        }
        drop(state);
        self.changed.notify_all();
        opened.map(|()| Place { master: self })
    }

    /// Which program reaches which machine.
    pub(super) const fn route(&self) -> &Route {
        &self.route
    }

    /// The next one tries at once, whatever failed before.
    pub(super) fn forget_failures(&self) {
        self.lock().failed = None;
    }

    fn open_if_needed(&self, process: &mut Option<OwnedFd>, stop: &Stop) -> Result<(), String> {
        match ask(&self.socket, PATIENCE) {
            Answer::Alive(_) if process.is_some() => return Ok(()),
            Answer::Alive(pid) => {
                *process = pidfd_open(pid, PidfdFlags::empty()).ok();
                return Ok(());
            }
            Answer::Silent => {
                let text = format!("the connection to {} hangs: it is made anew", self.host());
                self.log.say(Category::Warn, text);
                if let Some(process) = process {
                    signal(process, Signal::KILL);
                }
            }
            Answer::Gone => {}
        }
        *process = None;
        // What is left would keep the next one from listening there.
        let _ = fs::remove_file(&self.socket);
        // Somebody may have tidied it away; as a rule it is there.
        let directory = self.socket.parent();
        let _ = directory.map(|it| fs::DirBuilder::new().mode(0o700).create(it));
        if !directory.is_some_and(is_private) {
            // Without a master each ssh has a connection of its own.
            return Ok(());
        }
        self.open(stop)?;
        if let Answer::Alive(pid) = ask(&self.socket, PATIENCE) {
            *process = pidfd_open(pid, PidfdFlags::empty()).ok();
        }
        Ok(())
    }

    /// Logs in, and returns as soon as there is a connection.
    fn open(&self, stop: &Stop) -> Result<(), String> {
        // Nobody has to let us have a shell for it. It does not go into the background, since it would
        // stay there if we were killed.
        let words = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-N", "-T", "-x", "-o"];
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        words.push(control_path(&self.socket));
        let login = Login::start(&self.route, &words, self.directory.clone(), self.log.clone());
        let login = login.map_err(|error| format!("cannot log in: {error}"))?;
        let began = Instant::now();
        loop {
            if let Some(why) = login.end() {
                return Err(why.to_owned());
            }
            if ask(&self.socket, PATIENCE) != Answer::Gone {
                return Ok(());
            }
            let is_over = began.elapsed() >= LOGIN;
            if is_over || stop.is_asked_of_who_waits(began) {
                login.stop();
                let why = if is_over { "the login takes too long" } else { "the job was stopped" };
                return Err(why.into());
            }
            thread::sleep(LOOK);
        }
    }

    /// Has the connection end.
    pub(super) fn end(&self) {
        if let Some(process) = &self.lock().process {
            signal(process, Signal::TERM);
        }
    }

    /// The words behind those of the user with which an ssh goes through it.
    #[must_use]
    pub fn words(&self) -> [Vec<u8>; 4] {
        let path = control_path(&self.socket).into_encoded_bytes();
        [b"-o".to_vec(), b"ControlMaster=no".to_vec(), b"-o".to_vec(), path]
    }

    fn host(&self) -> impl Display {
        Escaped(self.route.host.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.master.lock().inside -= 1;
        self.master.changed.notify_all();
    }
}

fn signal(process: &OwnedFd, signal: Signal) {
    // It fails only when the process has ended by itself.
    let _ = pidfd_send_signal(process, signal);
}

fn control_path(socket: &Path) -> OsString {
    [OsStr::new("ControlPath="), socket.as_os_str()].into_iter().collect()
}
