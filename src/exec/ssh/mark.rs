//! Mark of a target on another machine, read and written by a shell there: see
//! [`target_mark`](crate::exec::target_mark).
//!
//! A path may lead to another directory than before, and nobody notices. So a directory is marked
//! only if it has a mark of this run: the first one is written before a full transfer, or after it
//! if the directory was missing.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mirror_core::{
    path::Escaped,
    plan::{command::CommandLine, shell::quoted},
};
use rustix::process::Signal;

use super::{ControlMaster, SshConnections, channel::SshRoute, unattended};
use crate::{
    exec::{
        lock,
        process::{
            cancel::CancelToken,
            child::{ChildOutput, ChildProgram},
            end::{ChildLimit, ProcessExit},
            remedy::is_login_refusal,
        },
    },
    hex, random_bytes,
    report::{Category, Log, StdStream},
};

/// Script that defines the requests, sent first.
const PROLOGUE: &str = include_str!("mark.sh");

/// Timeout of a request, including the login.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of marks that a directory may have, since it is unknown which were written.
const MAX_PRESENT: usize = 16;

/// Number in each request. Its sum with the process id is in the reply.
const NUMBER: u32 = 1_000_003;

/// Remedy for a target that can't have a mark.
const TRUST: &str = "set trustTarget = true if nothing but this sync changes the target";

/// Facts about the mark of a target on another machine. They outlive a reload.
#[derive(Debug)]
pub(crate) struct MarkState {
    /// True if the present mark must be replaced before the target is changed. Locked meanwhile.
    is_outdated: Mutex<bool>,
    chain: Mutex<MarkChain>,
    /// True if the target can't have a mark.
    is_refused: AtomicBool,
}

/// Marks of this run.
#[derive(Debug, Default)]
struct MarkChain {
    /// Beginning of the marks that belong to no snapshot, once there is one.
    base: Option<String>,
    /// Number of such marks so far.
    count: u32,
    /// Marks of which the directory has one, unless it was replaced. Empty if it is not known as
    /// the one that has received everything.
    present: Vec<String>,
}

impl Default for MarkState {
    fn default() -> Self {
        let (is_outdated, chain) = (Mutex::new(true), Mutex::default());
        Self { is_outdated, chain, is_refused: AtomicBool::new(false) }
    }
}

impl MarkState {
    /// Returns a new mark that belongs to no snapshot, and forgets the present ones.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    fn next_mark(&self) -> io::Result<String> {
        let mut chain = lock(&self.chain);
        chain.present.clear();
        let base = match chain.base.take() {
            Some(base) => base,
            None => hex(&random_bytes::<16>()?),
        };
        chain.count += 1;
        let mark = format!("{base}{:x}", chain.count);
        chain.base = Some(base);
        Ok(mark)
    }

    fn set_present(&self, mark: String) {
        lock(&self.chain).present = vec![mark];
    }
}

/// Mark of a target on another machine, reached in one way.
#[derive(Clone, Debug)]
pub(crate) struct RemoteMark {
    route: SshRoute,
    /// The target on that machine. A relative path counts from the shell's initial directory.
    directory: Vec<u8>,
    working_dir: PathBuf,
    state: Arc<MarkState>,
    /// Receives the note that the target can't be marked. `None`: nobody looks at the mark.
    log: Option<Log>,
}

/// Mark of a target on another machine, for threads that hold no connection to it.
#[derive(Debug)]
pub(crate) struct MarkRoutes {
    /// The connections of this process.
    pub connections: Weak<SshConnections>,
    /// The shared connection, if there is one.
    pub master: Option<Arc<ControlMaster>>,
    /// The mark by the shared connection.
    pub via_master: Arc<RemoteMark>,
    /// The mark by a connection that is left to ssh.
    pub via_user_config: Arc<RemoteMark>,
    /// Receives the notes about connections.
    pub log: Log,
}

/// Reason for which a mark can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::exec) enum MarkError {
    /// The host does not answer.
    Away(String),
    /// The host refuses a login without a user at a terminal.
    NoLogin(String),
    /// The target has no mark and can't have one.
    Refused(String),
}

/// Reply of the shell.
#[derive(Debug, PartialEq, Eq)]
enum MarkReply {
    /// The mark.
    Found(String),
    /// The directory has no mark.
    NotFound,
    /// The mark is written.
    Written,
    /// The directory has none of the expected marks.
    Other,
    /// There is no such directory.
    Missing,
    /// There is no program for it.
    NoTools,
    /// It failed, with this message.
    Refused(String),
}

impl RemoteMark {
    /// Creates the mark of a directory at `host`, reached by `command`: ssh with all its arguments.
    /// `None` if ssh would not take it for a host, or if `command` is not ssh.
    #[must_use]
    pub(crate) fn new(
        command: &[Vec<u8>],
        host: &[u8],
        directory: Vec<u8>,
        working_dir: PathBuf,
    ) -> Option<Self> {
        if !super::is_ssh(command) {
            return None;
        }
        let route = SshRoute::new(unattended(command), host)?;
        Some(Self { route, directory, working_dir, state: Arc::default(), log: None })
    }

    /// Returns the same mark with what is known of it. `log` receives the note that the target
    /// can't be marked, if that matters.
    #[must_use]
    pub(crate) fn with_state(&self, state: &Arc<MarkState>, log: Option<Log>) -> Self {
        // It may be reached in another way than before.
        state.is_refused.store(false, Ordering::Relaxed);
        Self { state: Arc::clone(state), log, ..self.clone() }
    }

    /// Replaces an outdated mark. Must be called before the target is changed.
    ///
    /// # Errors
    ///
    /// If the host is unreachable: then the target must not be changed yet.
    pub(in crate::exec) fn settle(&self, cancel: &CancelToken) -> Result<(), String> {
        let mut is_outdated = lock(&self.state.is_outdated);
        if !*is_outdated || self.is_refused() {
            return Ok(());
        }
        match self.begin(cancel) {
            Ok(()) => *is_outdated = false,
            Err(MarkError::Refused(why)) => self.note_refusal(&why),
            // rsync can ask the user.
            Err(MarkError::NoLogin(_)) => {}
            Err(MarkError::Away(why)) => return Err(why),
        }
        Ok(())
    }

    /// Marks the directory that has just received everything, unless that was done before. If it
    /// fails, the next start transfers everything.
    pub(in crate::exec) fn anchor(&self, cancel: &CancelToken) {
        let is_outdated = lock(&self.state.is_outdated);
        if *is_outdated || self.is_refused() || !lock(&self.state.chain).present.is_empty() {
            return;
        }
        if let Err(MarkError::Refused(why)) = self.begin(cancel) {
            self.note_refusal(&why);
        }
    }

    /// Notes that the directory may be another one until it has received everything.
    pub(in crate::exec) fn detach(&self) {
        lock(&self.state.chain).present.clear();
    }

    /// Writes the first mark of this run, whatever the present one is. A missing directory has
    /// none.
    fn begin(&self, cancel: &CancelToken) -> Result<(), MarkError> {
        let mark = self.state.next_mark().map_err(|error| MarkError::Away(error.to_string()))?;
        if self.write(&mark, &[], cancel, Instant::now() + TIMEOUT)? == MarkReply::Written {
            self.state.set_present(mark);
        }
        Ok(())
    }

    fn is_refused(&self) -> bool {
        self.state.is_refused.load(Ordering::Relaxed)
    }

    fn note_refusal(&self, why: &str) {
        if !self.state.is_refused.swap(true, Ordering::Relaxed) {
            self.report(why);
        }
    }

    fn report(&self, why: &str) {
        if let Some(log) = &self.log {
            log.say(Category::Normal, format!("the next start transfers everything: {why}"));
        }
    }

    fn read(&self, cancel: &CancelToken, until: Instant) -> Result<Option<String>, MarkError> {
        match self.request("read_mark", &[&self.directory], cancel, until)? {
            MarkReply::Found(mark) => Ok(Some(mark)),
            MarkReply::NotFound => Ok(None),
            MarkReply::Missing => {
                Err(MarkError::Away(format!("no directory there at {}", self.host())))
            }
            MarkReply::NoTools => Err(self.no_tools("getfattr")),
            MarkReply::Refused(why) => Err(self.refused(&why)),
            MarkReply::Written | MarkReply::Other => {
                Err(MarkError::Away("unexpected reply".into()))
            }
        }
    }

    /// Writes a mark in place of one of the `present` ones, or of any if there are none. Returns
    /// the reply: written, another mark, or no directory.
    fn write(
        &self,
        mark: &str,
        present: &[String],
        cancel: &CancelToken,
        until: Instant,
    ) -> Result<MarkReply, MarkError> {
        let mut args: Vec<&[u8]> = vec![&self.directory, mark.as_bytes()];
        args.extend(present.iter().map(String::as_bytes));
        match self.request("write_mark", &args, cancel, until)? {
            reply @ (MarkReply::Written | MarkReply::Missing | MarkReply::Other) => Ok(reply),
            MarkReply::NoTools => Err(self.no_tools("setfattr")),
            MarkReply::Refused(why) => Err(self.refused(&why)),
            MarkReply::Found(_) | MarkReply::NotFound => {
                Err(MarkError::Away("unexpected reply".into()))
            }
        }
    }

    fn no_tools(&self, program: &str) -> MarkError {
        MarkError::Refused(format!(
            "{} has neither {program} nor python3: install the package attr there, or {TRUST}",
            self.host()
        ))
    }

    fn refused(&self, why: &str) -> MarkError {
        MarkError::Refused(format!("no mark at {}: {why}: {TRUST}", self.host()))
    }

    fn request(
        &self,
        name: &str,
        args: &[&[u8]],
        cancel: &CancelToken,
        until: Instant,
    ) -> Result<MarkReply, MarkError> {
        let mut words = self.route.command.iter().cloned();
        let program = ChildProgram {
            binary: words.next().unwrap_or_default(),
            working_dir: self.working_dir.clone(),
            environment: Vec::new(),
            output: ChildOutput::Null,
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let words = words.chain([self.route.host.clone(), "exec sh".into()]);
        let pid = process::id();
        let call = CommandLine {
            args: words.map(OsString::into_vec).collect(),
            stdin: Some(script(name, pid, args)),
        };
        let (mut reply, mut last_line) = (None, None);
        let mut on_line = |stream, line: &[u8]| match stream {
            StdStream::Out => reply = reply.take().or_else(|| parse(line, pid)),
            StdStream::Err => last_line = Some(line.to_vec()),
        };
        let limit = ChildLimit::Deadline(until);
        let end = program.run_with_output(limit, &call, cancel, &mut on_line);
        reply.ok_or_else(|| self.failure(&end, last_line.as_deref(), until))
    }

    /// Returns the reason why there was no reply.
    fn failure(&self, end: &ProcessExit, last: Option<&[u8]>, until: Instant) -> MarkError {
        let program = self.route.command.first().map(|it| it.as_encoded_bytes());
        let text = last.map(|line| Escaped(line.trim_ascii()).to_string());
        let text =
            text.unwrap_or_else(|| end.describe(&Escaped(program.unwrap_or_default()).to_string()));
        match end {
            // `ssh(1)`: 255 is ssh's own code, any other is that of the remote command.
            ProcessExit::Exited(255) if last.is_some_and(is_login_refusal) => {
                MarkError::NoLogin(text)
            }
            ProcessExit::Exited(255) => MarkError::Away(text),
            ProcessExit::Exited(_) => {
                MarkError::Refused(format!("no shell at {} ({text}): {TRUST}", self.host()))
            }
            _ if Instant::now() >= until => MarkError::Away(no_answer()),
            ProcessExit::Killed(_)
            | ProcessExit::Stalled(_)
            | ProcessExit::Deadlocked
            | ProcessExit::NotStarted(_)
            | ProcessExit::WaitFailed(_) => MarkError::Away(text),
        }
    }

    fn host(&self) -> String {
        Escaped(self.route.host.as_encoded_bytes()).to_string()
    }
}

impl MarkRoutes {
    /// Reads the mark.
    ///
    /// # Errors
    ///
    /// A message if that is not possible.
    pub(crate) fn read(&self) -> Result<Option<String>, String> {
        self.with_route(RemoteMark::read).map_err(|error| match error {
            MarkError::Away(why) | MarkError::NoLogin(why) => why,
            MarkError::Refused(why) => {
                // The reason of the full transfer says so.
                self.state().is_refused.store(true, Ordering::Relaxed);
                why
            }
        })
    }

    /// Writes the mark of a snapshot, if the directory is the one that has received everything.
    /// Where that fails, the next start finds another one, and transfers everything. Returns true
    /// if the target has this mark now, and none of those before.
    pub(crate) fn write(&self, mark: &str) -> bool {
        let present = {
            let mut chain = lock(&self.state().chain);
            if chain.present.is_empty() || self.state().is_refused.load(Ordering::Relaxed) {
                return false;
            }
            chain.present.truncate(MAX_PRESENT);
            // It may be written even if no reply arrives.
            chain.present.push(mark.to_owned());
            chain.present.clone()
        };
        let written =
            self.with_route(|route, cancel, until| route.write(mark, &present, cancel, until));
        let route = &self.via_user_config;
        match written {
            Ok(reply) => {
                let mut chain = lock(&self.state().chain);
                // Otherwise, a full transfer has begun meanwhile.
                if chain.present.last().is_some_and(|last| last == mark) {
                    chain.present.clear();
                    if reply == MarkReply::Written {
                        chain.present.push(mark.to_owned());
                        return true;
                    }
                    drop(chain);
                    route.report(&format!("the target at {} was replaced", route.host()));
                }
            }
            Err(MarkError::Away(_) | MarkError::NoLogin(_)) => {}
            Err(MarkError::Refused(why)) => route.note_refusal(&why),
        }
        false
    }

    /// Notes that the mark must be replaced before the target is changed. That is so from the
    /// beginning.
    pub(crate) fn outdate(&self) {
        *lock(&self.state().is_outdated) = true;
        lock(&self.state().chain).present.clear();
    }

    /// Continues with this mark, which the target has.
    pub(crate) fn resume(&self, mark: &str) {
        *lock(&self.state().is_outdated) = false;
        self.state().set_present(mark.to_owned());
    }

    /// Returns the marks of which the target has one, unless it was replaced.
    pub(crate) fn present(&self) -> Vec<String> {
        lock(&self.state().chain).present.clone()
    }

    fn state(&self) -> &MarkState {
        &self.via_user_config.state
    }

    fn with_route<T>(
        &self,
        act: impl FnOnce(&RemoteMark, &CancelToken, Instant) -> Result<T, MarkError>,
    ) -> Result<T, MarkError> {
        let until = Instant::now() + TIMEOUT;
        let cancel = &CancelToken::until(until);
        let away = |why| MarkError::Away(if cancel.is_cancelled() { no_answer() } else { why });
        let Some(master) = &self.master else { return act(&self.via_user_config, cancel, until) };
        let connections = self.connections.upgrade();
        let shared = connections.map(|it| it.are_shared_by_user(master, cancel, &self.log));
        match shared.flatten() {
            Some(true) => act(&self.via_user_config, cancel, until),
            Some(false) => {
                let _slot = master.acquire_slot(cancel).map_err(away)?;
                act(&self.via_master, cancel, until)
            }
            None => Err(away(no_answer())),
        }
    }
}

fn no_answer() -> String {
    format!("it did not answer in {} s", TIMEOUT.as_secs())
}

/// Returns the input of the shell for a request.
fn script(name: &str, pid: u32, args: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("{PROLOGUE}\n{name} {NUMBER} {pid}").into_bytes();
    for (at, arg) in args.iter().enumerate() {
        text.push(b' ');
        // The directory may begin with a `-`.
        let is_relative = at == 0 && !arg.starts_with(b"/");
        let start: &[u8] = if is_relative { b"./" } else { b"" };
        text.extend(quoted(&[start, arg].concat()));
    }
    text.push(b'\n');
    text
}

/// Parses a line of the shell's output. `None` if it is not the reply to our request.
fn parse(line: &[u8], pid: u32) -> Option<MarkReply> {
    let start = format!("lsyncd {} ", u64::from(NUMBER) + u64::from(pid));
    let rest = line.strip_prefix(start.as_bytes())?.trim_ascii();
    let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
    let (state, value) = rest.split_at_checked(end)?;
    let value = || Escaped(value.trim_ascii()).to_string();
    match state {
        b"mark" => Some(MarkReply::Found(value())),
        b"none" => Some(MarkReply::NotFound),
        b"done" => Some(MarkReply::Written),
        b"other" => Some(MarkReply::Other),
        b"missing" => Some(MarkReply::Missing),
        b"tools" => Some(MarkReply::NoTools),
        b"refused" => Some(MarkReply::Refused(value())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
