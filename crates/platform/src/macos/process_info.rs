//! Other processes: `libproc`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::process::Pid;

use crate::processes::ProcessCounters;

/// The most child processes that are looked for.
const MAX_CHILDREN: usize = 1024;

impl ProcessCounters {
    /// Fails: this kernel does not count what a process reads from and writes to sockets and pipes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`], always.
    pub fn of(_: Pid) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns the file name of the program of a process: `proc_pidpath`.
///
/// # Errors
///
/// `ESRCH` if there is no such process, `EPERM` if it has other privileges.
pub fn program_name(pid: Pid) -> io::Result<OsString> {
    let mut path = [0_u8; libc::PROC_PIDPATHINFO_MAXSIZE as usize];
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: the buffer is as long as told.
    let length = unsafe {
        let size = libc::PROC_PIDPATHINFO_MAXSIZE.cast_unsigned();
        libc::proc_pidpath(pid, path.as_mut_ptr().cast(), size)
    };
    let length = usize::try_from(length).ok().filter(|&length| length > 0);
    let path = length.and_then(|length| path.get(..length)).ok_or_else(io::Error::last_os_error)?;
    Ok(Path::new(OsStr::from_bytes(path)).file_name().unwrap_or_default().to_owned())
}

/// Returns the child processes of a process: `proc_listchildpids`.
#[must_use]
pub fn children(of: Pid) -> Vec<Pid> {
    let mut pids = [0; MAX_CHILDREN];
    let size = i32::try_from(size_of_val(&pids)).unwrap_or_default();
    // SAFETY: the buffer is as long as told.
    let count = unsafe {
        libc::proc_listchildpids(of.as_raw_nonzero().get(), pids.as_mut_ptr().cast(), size)
    };
    let count = usize::try_from(count).unwrap_or_default();
    pids.iter().take(count).copied().filter_map(Pid::from_raw).collect()
}

/// Returns nothing: the kernel lists the child processes of a process, not those of a thread.
#[must_use]
pub const fn children_of_this_thread() -> Vec<Pid> {
    Vec::new()
}

/// Returns false: the kernel does not tell where a process waits.
#[must_use]
pub const fn is_opening_fifo(_: Pid) -> bool {
    false
}
