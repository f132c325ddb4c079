//! Number of threads: `proc_pidinfo`, declared in `libproc.h`.

use std::{io, mem};

/// Returns the number of threads of this process.
///
/// # Errors
///
/// As `proc_pidinfo`.
pub(crate) fn count_threads() -> io::Result<usize> {
    const SIZE: usize = size_of::<libc::proc_taskinfo>();
    // SAFETY: `proc_taskinfo` is plain memory.
    let mut info: libc::proc_taskinfo = unsafe { mem::zeroed() };
    let process = rustix::process::getpid().as_raw_nonzero().get();
    let size = libc::c_int::try_from(SIZE).map_err(io::Error::other)?;
    // SAFETY: the buffer is as large as stated, and outlives the call.
    let filled = unsafe {
        libc::proc_pidinfo(process, libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size)
    };
    if filled <= 0 {
        return Err(io::Error::last_os_error());
    }
    if filled != size {
        return Err(io::ErrorKind::InvalidData.into());
    }
    usize::try_from(info.pti_threadnum).map_err(io::Error::other)
}
