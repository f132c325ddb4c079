//! Writing through a shared mapping, as databases do, for trials.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    ptr,
};

/// The most that can be written at once: what a pipe takes without a reader.
pub const MOST: usize = 4096;

/// Writes up to [`MOST`] bytes at the beginning of `file`, which has to be open for reading and
/// writing, through a mapping.
///
/// The mapping is filled by the kernel, so that a file that becomes shorter meanwhile is an error
/// and no signal.
///
/// # Errors
///
/// As `mmap(2)`; with `EFAULT` if the file is, or becomes, shorter; with `EINVAL` if there is
/// nothing to write or too much.
pub fn write(file: &File, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    // SAFETY: a new mapping at a place that the kernel chooses touches no other memory.
    let mapping = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(ptr::null_mut(), MOST, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if mapping == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping has `MOST` bytes, which are at least as many as are read, and there is
    // no reference to them.
    let read = unsafe { libc::read(reader.as_raw_fd(), mapping, bytes.len()) };
    let result = match usize::try_from(read) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    };
    // SAFETY: it is the mapping from above, and nobody else knows of it.
    unsafe { libc::munmap(mapping, MOST) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    #[test]
    fn what_is_written_is_in_the_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "old content").unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new content");
    }

    #[test]
    fn a_file_without_content_is_an_error_and_no_signal() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(write(&file, b"new").unwrap_err().raw_os_error(), Some(libc::EFAULT));
    }
}
