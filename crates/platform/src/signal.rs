//! Signal dispositions and the signal mask at startup.

use std::{io, mem, ptr};

/// Ignores `SIGXFSZ`, in this process and in all programs that it starts: a write beyond the file
/// size limit (`RLIMIT_FSIZE`) fails with `EFBIG` and kills no process.
///
/// # Errors
///
/// As `sigaction(2)`.
pub fn ignore_sigxfsz() -> io::Result<()> {
    // SAFETY: the call installs no function.
    match unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Unblocks all signals that the parent process had blocked.
///
/// # Errors
///
/// As `sigprocmask(2)`.
pub fn unblock_all_signals() -> io::Result<()> {
    // SAFETY: a signal set is plain memory, which the second call fills in.
    let mut none = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid or null, and the old mask is not requested.
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
    fn unblock_all_signals_clears_the_mask() {
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        // SAFETY: a signal set is plain memory, and only this thread blocks the signal.
        unsafe {
            let mut hangup = mem::zeroed();
            libc::sigemptyset(&raw mut hangup);
            libc::sigaddset(&raw mut hangup, libc::SIGHUP);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const hangup, ptr::null_mut());
        }
        assert_eq!(mask(), 1);
        unblock_all_signals().unwrap();
        assert_eq!(mask(), 0);
    }
}
