//! Signals sent to the daemon.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use mirror_core::{
    fleet::{GRACE, STOP_GRACE},
    input::Signal,
};
use mirror_platform::{
    processes::descendants,
    signal::{ignore_sigxfsz, unblock_all_signals},
};
use rustix::process::{self, getpid, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    flag,
    iterator::Signals,
    low_level,
};

use crate::report::{Category, Log};

/// Delay until a forced exit after a termination signal: the grace period of the jobs, and some
/// more.
const FORCED_EXIT_DELAY: Duration = GRACE.saturating_add(STOP_GRACE).saturating_add(STOP_GRACE);

/// A signal that was caught, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaughtSignal {
    /// A signal that the fleet handles.
    Fleet(Signal),
    /// SIGUSR1: write the state into the log.
    LogState,
}

/// Signals that were caught and are not yet delivered.
#[derive(Debug)]
pub struct PendingSignals(Signals);

/// Installs the first signal handlers. It must be the first action of the process: afterwards no
/// signal kills it that is not meant to.
///
/// SIGHUP and SIGUSR1 are queued for [`watch_signals`]. Termination signals still kill the process
/// at once until [`catch_termination`](PendingSignals::catch_termination), since reading a
/// configuration may take forever.
///
/// # Errors
///
/// If a handler can't be installed.
pub fn hold_signals() -> io::Result<PendingSignals> {
    let signals = Signals::new([SIGHUP, SIGUSR1])?;
    // It has no meaning here, and its sender does not intend to kill the process.
    flag::register(SIGUSR2, Arc::<AtomicBool>::default())?;
    ignore_sigxfsz()?;
    unblock_all_signals()?;
    Ok(PendingSignals(signals))
}

impl PendingSignals {
    /// Queues the termination signals, too: from now on an exit needs cleanup.
    ///
    /// # Errors
    ///
    /// If a handler can't be installed.
    pub fn catch_termination(&self) -> io::Result<()> {
        let handle = self.0.handle();
        [SIGTERM, SIGINT].iter().try_for_each(|&signal| handle.add_signal(signal))
    }
}

/// Delivers each signal, including those already queued, to `deliver`, on a thread that lives as
/// long as the process. Call it after [`start`](super::start), since threads do not survive a fork.
///
/// Signals of one kind that arrive before the thread handles them are merged.
///
/// If the process still exists some time after a termination signal, it is forced to exit: a script
/// may wait for a program that never exits.
///
/// # Errors
///
/// If the thread can't be started.
pub fn watch_signals(
    PendingSignals(mut signals): PendingSignals,
    log: Log,
    mut deliver: impl FnMut(CaughtSignal) + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever().filter_map(signal_of) {
            deliver(signal);
            match signal {
                CaughtSignal::Fleet(Signal::Hangup) | CaughtSignal::LogState => {}
                CaughtSignal::Fleet(end @ (Signal::Terminate | Signal::Interrupt)) => {
                    force_exit_later(log.clone(), end);
                }
            }
        }
    })?;
    Ok(())
}

fn force_exit_later(log: Log, signal: Signal) {
    let force_exit = move || {
        thread::sleep(FORCED_EXIT_DELAY);
        let seconds = FORCED_EXIT_DELAY.as_secs();
        let text =
            format!("a script callback did not return within {seconds} s of the signal: exiting");
        log.say(Category::Error, text);
        for child in descendants(getpid()) {
            // Fails only for a process that has exited by itself.
            let _ = kill_process(child, process::Signal::TERM);
        }
        // A regular exit could wait for files and programs that the script has open.
        low_level::exit((128 + signal.number()).into());
    };
    // If the thread can't be started, the process has to be killed.
    let _ = thread::Builder::new().name("end".into()).spawn(force_exit);
}

const fn signal_of(number: i32) -> Option<CaughtSignal> {
    let of_fleet = match number {
        SIGHUP => Signal::Hangup,
        SIGINT => Signal::Interrupt,
        SIGTERM => Signal::Terminate,
        SIGUSR1 => return Some(CaughtSignal::LogState),
        _ => return None,
    };
    Some(CaughtSignal::Fleet(of_fleet))
}
