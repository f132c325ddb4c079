//! Descriptors that somebody names by their number.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Another descriptor for what this number names, which stays even if that one is closed.
///
/// # Errors
///
/// `EBADF` if it names nothing; as `fcntl(2)` with `F_DUPFD_CLOEXEC`.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it reads nothing but the numbers; one that names nothing is refused.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows it.
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
    fn a_copy_is_the_same_pipe_and_stays_open() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let copy = duplicate(writer.as_raw_fd()).expect("a copy");
        drop(writer);
        std::fs::File::from(copy).write_all(b"x").expect("room in the pipe");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("an end");
        assert_eq!(text, "x");
    }

    #[test]
    fn a_number_that_names_nothing_is_refused() {
        let error = duplicate(-1).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
