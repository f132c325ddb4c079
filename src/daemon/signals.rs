//! The signals that somebody sends to the daemon.

use std::{io, thread, time::Duration};

use mirror_core::{
    fleet::{GRACE, LAST_GRACE},
    input::Signal,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::report::{Category, Log};

/// How long the daemon may take to end after it was asked to: as long as its jobs, and some more.
const LAST_RESORT: Duration = GRACE.saturating_add(LAST_GRACE).saturating_add(LAST_GRACE);

/// From now on each signal is given to `deliver`, on a thread of its own, which lasts as long as
/// the process. It belongs behind [`start`](super::start), since a thread does not survive a fork.
///
/// Signals of one kind that come before the thread gets to them are one.
///
/// If the process is still there some time after one of them has asked it to end, it is ended: a
/// script may wait for a program that does not end.
///
/// # Errors
///
/// If the handlers or the thread can't be had.
pub fn watch_signals(log: Log, mut deliver: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever().filter_map(meaning) {
            deliver(signal);
            if signal != Signal::Hangup {
                end_at_last(log.clone(), signal);
            }
        }
    })?;
    Ok(())
}

fn end_at_last(log: Log, signal: Signal) {
    let end = move || {
        thread::sleep(LAST_RESORT);
        let text = "a script does not return, as it seems: the daemon ends without it";
        log.say(Category::Error, text);
        // Not as usual: that could wait for what the script has open.
        low_level::exit((128 + signal.number()).into());
    };
    // Without a thread it has to be killed.
    let _ = thread::Builder::new().name("end".into()).spawn(end);
}

const fn meaning(number: i32) -> Option<Signal> {
    match number {
        SIGHUP => Some(Signal::Hangup),
        SIGINT => Some(Signal::Interrupt),
        SIGTERM => Some(Signal::Terminate),
        _ => None,
    }
}
