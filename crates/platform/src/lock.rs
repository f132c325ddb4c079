//! Record locks on whole files: `F_OFD_SETLK` of `fcntl(2)`. Linux has it since 3.15, and macOS
//! since 10.13, where only the header `sys/fcntl.h` describes it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Locks the whole file, from its start to wherever it will end, for this open file description.
///
/// The lock conflicts with POSIX record locks (`lockf`). Unlike those it is not released when
/// another part of the process opens and closes the same file.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] if the file is already locked; otherwise as `fcntl(2)`.
pub fn lock_whole_file(file: impl AsFd) -> io::Result<()> {
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::cast_possible_truncation, reason = "the constants are 0 and 1")
    )]
    // A length of 0 means to the end, however far the file grows. Start and process id are 0, too;
    // the latter is required here.
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the kernel only reads the struct.
    match unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const whole) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_lock_excludes_other_open_files_until_close() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let first = File::create(&path).unwrap();
        lock_whole_file(&first).unwrap();
        // This would release a POSIX lock.
        drop(File::open(&path).unwrap());
        let second = File::options().write(true).open(&path).unwrap();
        let refused = lock_whole_file(&second).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock_whole_file(&second).unwrap();
    }

    #[test]
    fn posix_locks_and_ours_exclude_each_other() {
        use rustix::fs::{FlockOperation, fcntl_lock};

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let ours = File::create(&path).unwrap();
        lock_whole_file(&ours).unwrap();
        let theirs = File::options().write(true).open(&path).unwrap();
        assert!(fcntl_lock(&theirs, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(ours);
        fcntl_lock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(lock_whole_file(File::options().write(true).open(&path).unwrap()).is_err());
    }
}
