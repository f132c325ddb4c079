//! The signals that somebody sends to the daemon.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use mirror_core::{
    fleet::{GRACE, LAST_GRACE},
    input::Signal,
};
use mirror_platform::signal::{hold_back_none, survive_large_files};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    flag,
    iterator::Signals,
    low_level,
};

use crate::report::{Category, Log};

/// How long the daemon may take to end after it was asked to: as long as its jobs, and some more.
const LAST_RESORT: Duration = GRACE.saturating_add(LAST_GRACE).saturating_add(LAST_GRACE);

/// The signals that have come and nobody has taken yet.
#[derive(Debug)]
pub struct Pending(Signals);

/// The first thing that the process does: from now on no signal ends it that does not mean that.
///
/// SIGHUP waits for [`watch_signals`]; what asks the process to end does that at once until
/// [`listen`](Pending::listen), since a configuration may take for ever to be read.
///
/// # Errors
///
/// If a handler can't be had.
pub fn hold_signals() -> io::Result<Pending> {
    let signals = Signals::new([SIGHUP])?;
    // They mean nothing here, and whoever sends one does not mean to end it.
    for signal in [SIGUSR1, SIGUSR2] {
        flag::register(signal, Arc::<AtomicBool>::default())?;
    }
    survive_large_files()?;
    hold_back_none()?;
    Ok(Pending(signals))
}

impl Pending {
    /// From now on those wait, too, that ask the process to end: there is something to be tidied away
    /// before.
    ///
    /// # Errors
    ///
    /// If a handler can't be had.
    pub fn listen(&self) -> io::Result<()> {
        let handle = self.0.handle();
        [SIGTERM, SIGINT].iter().try_for_each(|&signal| handle.add_signal(signal))
    }
}

/// From now on each signal is given to `deliver`, also those that have come before, on a thread of its
/// own, which lasts as long as the process. It belongs behind [`start`](super::start), since a thread
/// does not survive a fork.
///
/// Signals of one kind that come before the thread gets to them are one.
///
/// If the process is still there some time after one of them has asked it to end, it is ended: a
/// script may wait for a program that does not end.
///
/// # Errors
///
/// If the thread can't be had.
pub fn watch_signals(
    Pending(mut signals): Pending,
    log: Log,
    mut deliver: impl FnMut(Signal) + Send + 'static,
) -> io::Result<()> {
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
        let text = "the daemon has not come to its end since the signal, as where a script does not \
                    return: it ends at once";
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
