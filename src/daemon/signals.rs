//! The signals that somebody sends to the daemon.

use std::{io, thread};

use mirror_core::input::Signal;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

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
        for signal in signals.forever().filter_map(meaning) {
            deliver(signal);
        }
    })?;
    Ok(())
}

const fn meaning(number: i32) -> Option<Signal> {
    match number {
        SIGHUP => Some(Signal::Hangup),
        SIGINT => Some(Signal::Interrupt),
        SIGTERM => Some(Signal::Terminate),
        _ => None,
    }
}
