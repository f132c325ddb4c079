//! The shell on a machine that all syncs to it use.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;

use super::channel::{Broken, Channel, Done, NoChannel, Route, Step, Token};
use crate::{
    exec::process::cancel::Stop,
    report::{Category, Log},
};

/// How long it is not tried again to get to a machine that was away: rsync will tell why.
const AWAY: Duration = Duration::from_mins(1);

/// How long it is not tried again where nobody lets us have a shell.
const NO_SHELL: Duration = Duration::from_hours(1);

/// A shell on another machine, opened when it is needed first and again when it was lost.
#[derive(Debug)]
pub struct Shell {
    route: Route,
    state: Mutex<State>,
    log: Log,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Box<Channel>),
    /// It was lost while it had work. What was asked of it may still happen, as long as nobody
    /// took its token away.
    Lost(Token),
    /// There is none.
    Without {
        /// It is not tried before this.
        until: Instant,
        /// With what ssh ended, if it did.
        code: Option<i32>,
    },
}

/// The machine could not be told to forget what it was asked before.
#[derive(Debug)]
pub struct Unsettled(pub String);

impl Shell {
    pub(super) fn new(route: Route, log: Log) -> Self {
        Self { route, state: Mutex::new(State::Closed), log }
    }

    /// Makes sure that nothing that was asked for earlier can happen any more. To be called before
    /// anything else is done to a target that this has renamed in.
    ///
    /// # Errors
    ///
    /// If the machine can't be reached: then nothing may be done yet.
    pub fn settle(&self, stop: &Stop) -> Result<(), Unsettled> {
        let mut state = self.lock();
        let State::Lost(token) = &*state else { return Ok(()) };
        match Channel::open(&self.route, Some(token), stop) {
            Ok(channel) => *state = State::Open(Box::new(channel)),
            Err(NoChannel::Away { why, .. }) => return Err(Unsettled(why)),
            // Whoever takes the shell away from us has ended the one that we had.
            Err(NoChannel::NoShell { why, code }) => *state = self.do_without(&why, code),
        }
        Ok(())
    }

    /// Renames below `directory`, one after the other. `None` if there is no shell at the moment.
    ///
    /// # Errors
    ///
    /// If it is not known what was done, and what still will be.
    pub fn rename(
        &self,
        directory: &[u8],
        steps: &[Step],
        stop: &Stop,
    ) -> Result<Option<Vec<Done>>, Unsettled> {
        let mut state = self.lock();
        let Some(channel) = self.channel(&mut state, stop) else { return Ok(None) };
        match channel.carry_out(directory, steps, stop) {
            Ok(done) => Ok(Some(done)),
            Err(Broken::Fenced) => {
                *state = State::Closed;
                Ok(None)
            }
            Err(Broken::Lost(why)) => {
                *state = State::Lost(channel.token().clone());
                let host = Escaped(self.route.host.as_encoded_bytes());
                Err(Unsettled(format!("lost the shell at {host}: {why}")))
            }
        }
    }

    /// The channel, opened if there is none.
    fn channel<'a>(&self, state: &'a mut State, stop: &Stop) -> Option<&'a mut Channel> {
        let wanted = match state {
            State::Open(channel) => channel.has_ended(),
            State::Without { until, .. } => *until <= Instant::now(),
            State::Closed => true,
            // Somebody has to settle that first.
            State::Lost(_) => false,
        };
        if wanted {
            match Channel::open(&self.route, None, stop) {
                Ok(channel) => *state = State::Open(Box::new(channel)),
                Err(NoChannel::Away { why, code }) => {
                    self.say_at_debug(&why);
                    *state = State::Without { until: Instant::now() + AWAY, code };
                }
                Err(NoChannel::NoShell { why, code }) => *state = self.do_without(&why, code),
            }
        }
        match state {
            State::Open(channel) => Some(channel),
            State::Closed | State::Lost(_) | State::Without { .. } => None,
        }
    }

    /// With what ssh ended, if there is no shell because of that.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        if let State::Without { code, .. } = *self.lock() { code } else { None }
    }

    fn do_without(&self, why: &str, code: i32) -> State {
        let host = Escaped(self.route.host.as_encoded_bytes());
        let text = format!(
            "no shell at {host} ({why}): what is renamed here is sent and deleted there instead"
        );
        self.log.say(Category::Normal, text);
        State::Without { until: Instant::now() + NO_SHELL, code: Some(code) }
    }

    fn say_at_debug(&self, why: &str) {
        let host = Escaped(self.route.host.as_encoded_bytes());
        self.log.say(Category::Debug("Exec"), format!("no shell at {host}: {why}"));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
