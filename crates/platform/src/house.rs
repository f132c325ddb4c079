//! The first process of a container, to which the orphans of all others come.
//!
//! Nobody else waits for them when they end, and in one process with those that it has started itself
//! they can't be told apart. So it leaves the work to a child, and keeps house.

use std::{io, mem, ptr};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, child_subreaper, getpid, getppid,
        set_parent_process_death_signal, waitpid,
    },
};

use crate::fork::{Side, fork};

/// What is passed on to the child that does the work.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Returns `None` at once in the process that is to do the work: this one, or, if orphans come to this
/// one, a child of it. Then it returns here when that child has ended, with its exit code.
///
/// No thread may have been started before. The child has the handlers of signals that this process has.
///
/// # Errors
///
/// As `fork(2)`. Then this process can do the work itself, and nobody waits for orphans.
pub fn keep_house() -> io::Result<Option<u8>> {
    if !getpid().is_init() && child_subreaper()?.is_none() {
        return Ok(None);
    }
    let awaited = signals(&[&PASSED_ON[..], &[libc::SIGCHLD]].concat());
    let before = set_mask(&awaited)?;
    let parent = getpid();
    match fork() {
        Ok(Side::Child) => {
            set_mask(&before)?;
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // It ended before.
            if getppid() == Some(parent) { Ok(None) } else { Ok(Some(u8::MAX)) }
        }
        Ok(Side::Parent(child)) => Ok(Some(wait_for(child, &awaited))),
        Err(error) => {
            set_mask(&before)?;
            Err(error)
        }
    }
}

/// Waits for the child that does the work, and for all orphans.
fn wait_for(child: Pid, awaited: &libc::sigset_t) -> u8 {
    loop {
        let Some((signal, is_of_terminal)) = next(awaited) else { continue };
        if signal == libc::SIGCHLD {
            if let Some(code) = reap(child) {
                return code;
            }
        } else if !is_of_terminal {
            // SAFETY: it takes numbers. The child was not waited for yet, so it is no other process.
            unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
        }
    }
}

/// The next signal that has come, and whether the terminal has sent it, which the child has then got as
/// well.
fn next(awaited: &libc::sigset_t) -> Option<(libc::c_int, bool)> {
    // SAFETY: what is told of a signal is plain memory.
    let mut told: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: both have memory of their own.
    let signal = unsafe { libc::sigwaitinfo(ptr::from_ref(awaited), &raw mut told) };
    (signal > 0).then_some((signal, told.si_code > 0))
}

/// Waits for all that have ended. The exit code of the child that does the work, if it is among them, as
/// a shell would have it.
fn reap(child: Pid) -> Option<u8> {
    loop {
        match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Some(code(status)),
            Err(Errno::INTR) | Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let killed = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(killed);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn signals(numbers: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: a set of signals is plain memory.
    let mut set = unsafe { mem::zeroed() };
    // SAFETY: it has memory of its own, and the numbers are those of signals.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for &number in numbers {
            libc::sigaddset(&raw mut set, number);
        }
    }
    set
}

/// Holds back these signals and no others. Those that were held back before.
fn set_mask(signals: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    // SAFETY: a set of signals is plain memory.
    let mut before = unsafe { mem::zeroed() };
    // SAFETY: both have memory of their own.
    let done =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, ptr::from_ref(signals), &raw mut before) };
    if done == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}
