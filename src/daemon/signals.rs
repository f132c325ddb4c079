//! The signals that somebody sends to the daemon.

use std::{io, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// A signal with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: end.
    Terminate,
    /// `SIGINT`: end.
    Interrupt,
    /// `SIGHUP`: begin anew.
    HangUp,
}

impl Signal {
    /// Its name in messages, without `SIG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::HangUp => "HUP",
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }

    const fn from_number(number: i32) -> Option<Self> {
        match number {
            SIGHUP => Some(Self::HangUp),
            SIGINT => Some(Self::Interrupt),
            SIGTERM => Some(Self::Terminate),
            _ => None,
        }
    }
}

/// From now on each signal is given to `deliver`, on a thread of its own, which lasts as long as
/// the process. It belongs behind [`start`](super::start), since a thread does not survive a fork.
///
/// Signals of one kind that come before the thread gets to them are one.
///
/// # Errors
///
/// If the handlers or the thread can't be had.
pub fn watch_signals(mut deliver: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever().filter_map(Signal::from_number) {
            deliver(signal);
        }
    })?;
    Ok(())
}
