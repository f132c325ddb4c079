//! Reaping of orphans when this process is the init process of a container.
//!
//! All orphans of a container become children of its first process, and only that one can wait for
//! them. A process that both works and reaps could not distinguish orphans from the children that
//! it started itself. Therefore it forks: the child does the work, and this process reaps.

use std::{io, mem, ptr};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, child_subreaper, getpid, getppid,
        set_parent_process_death_signal, waitpid,
    },
};

use crate::fork::{ForkSide, fork};

/// Signals that are forwarded to the child that does the work.
const FORWARDED: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Returns `None` at once in the process that does the work: this process, or a child of it if
/// orphans are reparented to this process. In the latter case it also returns in this process, with
/// the exit code of the child, after the child has exited.
///
/// No thread may have been started before. The child inherits the signal handlers of this process.
///
/// # Errors
///
/// As `fork(2)`. Then this process can do the work itself, and orphans are not reaped.
pub fn reap_as_init() -> io::Result<Option<u8>> {
    if !getpid().is_init() && child_subreaper()?.is_none() {
        return Ok(None);
    }
    let awaited = signal_set(&[&FORWARDED[..], &[libc::SIGCHLD]].concat());
    let before = set_mask(&awaited)?;
    let parent = getpid();
    match fork() {
        Ok(ForkSide::Child) => {
            set_mask(&before)?;
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have exited before the signal was set.
            if getppid() == Some(parent) { Ok(None) } else { Ok(Some(u8::MAX)) }
        }
        Ok(ForkSide::Parent(child)) => Ok(Some(wait_for(child, &awaited))),
        Err(error) => {
            set_mask(&before)?;
            Err(error)
        }
    }
}

/// Waits for the child that does the work, and reaps all orphans.
fn wait_for(child: Pid, awaited: &libc::sigset_t) -> u8 {
    loop {
        let Some((signal, is_from_terminal)) = next_signal(awaited) else { continue };
        if signal == libc::SIGCHLD {
            if let Some(exit_code) = reap(child) {
                return exit_code;
            }
        } else if !is_from_terminal {
            // SAFETY: the call takes numbers. The child has not been waited for, so its id is not
            // reused.
            unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
        }
    }
}

/// Waits for the next signal. Returns it, and true if the terminal sent it: then the child has
/// received it as well.
fn next_signal(awaited: &libc::sigset_t) -> Option<(libc::c_int, bool)> {
    // SAFETY: `siginfo_t` is plain memory.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let signal = unsafe { libc::sigwaitinfo(ptr::from_ref(awaited), &raw mut info) };
    (signal > 0).then_some((signal, info.si_code > 0))
}

/// Reaps all children that have exited. Returns the exit code of the child that does the work, if
/// it is among them, in the form of a shell.
fn reap(child: Pid) -> Option<u8> {
    loop {
        match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Some(exit_code(status)),
            Err(Errno::INTR) | Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let killed = || status.terminating_signal().map(|signal| 128 + signal);
    let exit_code = status.exit_status().or_else(killed);
    exit_code.and_then(|exit_code| u8::try_from(exit_code).ok()).unwrap_or(u8::MAX)
}

fn signal_set(numbers: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: a signal set is plain memory.
    let mut set = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid, and the numbers are signal numbers.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for &number in numbers {
            libc::sigaddset(&raw mut set, number);
        }
    }
    set
}

/// Blocks exactly these signals. Returns the set that was blocked before.
fn set_mask(signals: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    // SAFETY: a signal set is plain memory.
    let mut before = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let done =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, ptr::from_ref(signals), &raw mut before) };
    if done == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}
