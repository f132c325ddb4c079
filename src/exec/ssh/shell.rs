//! The shell on another machine that all syncs to this machine share.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;

use super::channel::{
    ChannelBroken, ChannelOpenError, FenceToken, RemoteRename, RenameResult, ShellChannel, SshRoute,
};
use crate::{
    exec::{lock, process::cancel::CancelToken},
    report::{Category, Log},
};

/// Delay before the next attempt after a host was unreachable. rsync reports the reason.
const AWAY_RETRY: Duration = Duration::from_mins(1);

/// Delay before the next attempt where the remote side offers no shell.
const NO_SHELL_RETRY: Duration = Duration::from_hours(1);

/// A shell on another machine, opened on first use and reopened after it was lost.
#[derive(Debug)]
pub(crate) struct SshShell {
    route: SshRoute,
    state: Mutex<State>,
    log: Log,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Box<ShellChannel>),
    /// Lost with pending requests. They may still be carried out until the token is deleted.
    Lost(FenceToken),
    /// There is no shell.
    Unavailable {
        /// Time of the next attempt.
        retry_at: Instant,
        /// Exit code of ssh, if it exited.
        code: Option<i32>,
    },
}

/// Error: earlier renames on the remote machine could not be fenced off.
#[derive(Debug)]
pub(in crate::exec) struct UnsettledRenames(pub String);

impl SshShell {
    pub(super) fn new(route: SshRoute, log: Log) -> Self {
        Self { route, state: Mutex::new(State::Closed), log }
    }

    /// Ensures that no earlier request can still be carried out. Must be called before anything
    /// else changes a target in which this shell has renamed.
    ///
    /// # Errors
    ///
    /// If the host is unreachable: then the target must not be changed yet.
    pub(in crate::exec) fn settle(&self, cancel: &CancelToken) -> Result<(), UnsettledRenames> {
        let mut state = self.lock();
        let State::Lost(token) = &*state else { return Ok(()) };
        match ShellChannel::open(&self.route, Some(token), cancel) {
            Ok(channel) => *state = State::Open(Box::new(channel)),
            Err(ChannelOpenError::Away { why, .. }) => return Err(UnsettledRenames(why)),
            // If the remote side no longer offers a shell, it has also ended the previous one.
            Err(ChannelOpenError::NoShell { why, code }) => *state = self.unavailable(&why, code),
        }
        Ok(())
    }

    /// Makes renames below `directory`, one after the other. `None` if there is no shell at the
    /// moment.
    ///
    /// # Errors
    ///
    /// If it is unknown which renames were made, or are still to be made.
    pub(in crate::exec) fn rename(
        &self,
        directory: &[u8],
        renames: &[RemoteRename],
        cancel: &CancelToken,
    ) -> Result<Option<Vec<RenameResult>>, UnsettledRenames> {
        let mut state = self.lock();
        let Some(channel) = self.channel(&mut state, cancel) else { return Ok(None) };
        match channel.rename(directory, renames, cancel) {
            Ok(done) => Ok(Some(done)),
            Err(ChannelBroken::Fenced) => {
                *state = State::Closed;
                Ok(None)
            }
            Err(ChannelBroken::Lost(why)) => {
                *state = State::Lost(channel.token().clone());
                let host = Escaped(self.route.host.as_encoded_bytes());
                Err(UnsettledRenames(format!("lost the shell at {host}: {why}")))
            }
        }
    }

    /// Returns the channel, opened if needed.
    fn channel<'a>(
        &self,
        state: &'a mut State,
        cancel: &CancelToken,
    ) -> Option<&'a mut ShellChannel> {
        let wanted = match state {
            State::Open(channel) => channel.has_ended(),
            State::Unavailable { retry_at, .. } => *retry_at <= Instant::now(),
            State::Closed => true,
            // Must be settled first.
            State::Lost(_) => false,
        };
        if wanted {
            match ShellChannel::open(&self.route, None, cancel) {
                Ok(channel) => *state = State::Open(Box::new(channel)),
                Err(ChannelOpenError::Away { why, code }) => {
                    self.log_debug(&why);
                    *state = State::Unavailable { retry_at: Instant::now() + AWAY_RETRY, code };
                }
                Err(ChannelOpenError::NoShell { why, code }) => {
                    *state = self.unavailable(&why, code);
                }
            }
        }
        match state {
            State::Open(channel) => Some(channel),
            State::Closed | State::Lost(_) | State::Unavailable { .. } => None,
        }
    }

    /// Returns the exit code of ssh, if it is the reason for which there is no shell.
    #[must_use]
    pub(crate) fn exit_code(&self) -> Option<i32> {
        if let State::Unavailable { code, .. } = *self.lock() { code } else { None }
    }

    fn unavailable(&self, why: &str, code: i32) -> State {
        let host = Escaped(self.route.host.as_encoded_bytes());
        let text = format!(
            "no shell at {host} ({why}): renamed entries are transferred again and deleted under \
             their old names"
        );
        self.log.say(Category::Normal, text);
        State::Unavailable { retry_at: Instant::now() + NO_SHELL_RETRY, code: Some(code) }
    }

    fn log_debug(&self, why: &str) {
        let host = Escaped(self.route.host.as_encoded_bytes());
        self.log.say(Category::Debug("Exec"), format!("no shell at {host}: {why}"));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
