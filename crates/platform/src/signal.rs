//! How this process takes signals before anybody listens to them.

use std::{io, mem, ptr};

/// A write beyond the limit for the size of files (`RLIMIT_FSIZE`) fails with `EFBIG` from now on, and
/// ends nobody, here and in all programs that are started: one file is too large, that is all.
///
/// # Errors
///
/// As `sigaction(2)`.
pub fn survive_large_files() -> io::Result<()> {
    // SAFETY: it installs no function.
    match unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets all signals come that whoever started this process held back.
///
/// # Errors
///
/// As `sigprocmask(2)`.
pub fn hold_back_none() -> io::Result<()> {
    // SAFETY: a set of signals is plain memory, which the second call fills.
    let mut none = unsafe { mem::zeroed() };
    // SAFETY: both have memory of their own, and the old mask is not asked for.
    let done = unsafe {
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_back_comes() {
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        // SAFETY: a set of signals is plain memory, and only this thread holds the signal back.
        unsafe {
            let mut hangup = mem::zeroed();
            libc::sigemptyset(&raw mut hangup);
            libc::sigaddset(&raw mut hangup, libc::SIGHUP);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const hangup, ptr::null_mut());
        }
        assert_eq!(mask(), 1);
        hold_back_none().unwrap();
        assert_eq!(mask(), 0);
    }
}
