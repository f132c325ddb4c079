//! Writing through a shared memory mapping, as databases do, for stress tests.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    ptr,
};

/// Largest number of bytes per write: the capacity of a pipe without a reader.
pub const MAX_WRITE: usize = 4096;

/// Writes up to [`MAX_WRITE`] bytes at the start of `file`, which must be open for reading and
/// writing, through a mapping.
///
/// The kernel copies into the mapping, so a file that is truncated meanwhile causes an error, not a
/// signal.
///
/// # Errors
///
/// As `mmap(2)`; `EFAULT` if the file is, or becomes, shorter; `EINVAL` if `bytes` is empty or too
/// long.
pub fn write(file: &File, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > MAX_WRITE {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    // SAFETY: a new mapping at an address chosen by the kernel affects no other memory.
    let mapping = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(ptr::null_mut(), MAX_WRITE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if mapping == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping has `MAX_WRITE` bytes, at least as many as are read, and there is no
    // reference to them.
    let read = unsafe { libc::read(reader.as_raw_fd(), mapping, bytes.len()) };
    let result = match usize::try_from(read) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    };
    // SAFETY: it is the mapping from above, and nothing else uses it.
    unsafe { libc::munmap(mapping, MAX_WRITE) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    #[test]
    fn written_bytes_are_in_the_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "old content").unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new content");
    }

    #[test]
    fn writing_to_an_empty_file_is_an_error_and_no_signal() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(write(&file, b"new").unwrap_err().raw_os_error(), Some(libc::EFAULT));
    }
}
