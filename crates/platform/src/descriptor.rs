//! File descriptors given by number, and the one of nothing.

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Opens `/dev/null`, which is empty and discards what is written.
///
/// # Errors
///
/// As `open(2)`.
pub fn null_device() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Duplicates the descriptor with this number. The duplicate stays open if the original is closed.
///
/// # Errors
///
/// `EBADF` if no descriptor has this number; otherwise as `fcntl(2)` with `F_DUPFD_CLOEXEC`.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call reads only the numbers, and rejects one that is no open descriptor.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::fd::AsRawFd,
    };

    #[test]
    fn a_duplicate_outlives_the_original() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let copy = duplicate(writer.as_raw_fd()).expect("a copy");
        drop(writer);
        std::fs::File::from(copy).write_all(b"x").expect("room in the pipe");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("an end");
        assert_eq!(text, "x");
    }

    #[test]
    fn an_unused_number_is_an_error() {
        let error = duplicate(-1).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
