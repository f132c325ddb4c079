//! Copies file content between two descriptors, inside the kernel where possible.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    fs::{self, SeekFrom},
    io::{Errno, pread, pwrite},
};

use crate::copy_range::copy_range;

/// Number of bytes copied between two calls of `go_on`.
const DEFAULT_CHUNK: u64 = 16 << 20;
/// Size of a read or write where the kernel can't copy by itself.
const BUFFER_SIZE: usize = 256 << 10;

/// Reason why a copy ended early.
#[derive(Debug)]
pub enum FileCopyError {
    /// The source can't be read.
    Read(io::Error),
    /// The target can't be written.
    Write(io::Error),
    /// The source is shorter than `size`.
    Short,
    /// `go_on` returned false.
    Stopped,
}

/// A single copy of the content of a file.
#[derive(Clone, Copy)]
pub struct FileCopy<'a> {
    /// Source, open for reading.
    pub from: BorrowedFd<'a>,
    /// Target, open for writing and empty.
    pub to: BorrowedFd<'a>,
    /// Number of bytes to copy.
    pub size: u64,
    /// If true, the source may have holes, and they are preserved.
    pub sparse: bool,
    /// Number of bytes copied between two calls of `go_on`; `None` for the most efficient number.
    pub chunk_size: Option<u64>,
}

impl FileCopy<'_> {
    /// Copies the content. Shares the blocks (reflink) where both files lie on a file system that
    /// supports it. Calls `go_on` with the number of bytes of each chunk before it is copied.
    /// Returns true if the file has holes: then its size may reach the disk before its content
    /// does.
    ///
    /// # Errors
    ///
    /// See [`FileCopyError`]. The content of the target is undefined then.
    pub fn run(self, go_on: &dyn Fn(u64) -> bool) -> Result<bool, FileCopyError> {
        if !self.sparse {
            self.copy_range(0, self.size, go_on)?;
            return Ok(false);
        }
        let (mut at, mut holes) = (0, false);
        while at < self.size {
            let Some(data) = self.seek(SeekFrom::Data(at))? else { break };
            let data = data.min(self.size);
            holes |= data > at;
            // Data appended since the size was read is ignored.
            let hole = self.seek(SeekFrom::Hole(data))?.unwrap_or(self.size).min(self.size);
            self.copy_range(data, hole, go_on)?;
            at = hole;
        }
        if at < self.size {
            holes = true;
            fs::ftruncate(self.to, self.size).map_err(write_error)?;
        }
        Ok(holes)
    }

    /// Returns the offset of the next data or hole; `None` if there is none.
    fn seek(self, to: SeekFrom) -> Result<Option<u64>, FileCopyError> {
        match fs::seek(self.from, to) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that does not report holes may still have compressed the file: all of
            // it is data.
            Err(Errno::INVAL | Errno::NOTTY | Errno::NOTSUP) => {
                Ok(if let SeekFrom::Data(at) = to { Some(at) } else { None })
            }
            Err(error) => Err(FileCopyError::Read(error.into())),
        }
    }

    /// Copies the bytes from `start` up to, but not including, `end`.
    fn copy_range(
        self,
        start: u64,
        end: u64,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<(), FileCopyError> {
        let mut at = start;
        while at < end {
            let length = self.chunk_size.unwrap_or(DEFAULT_CHUNK).min(end - at);
            if !go_on(length) {
                return Err(FileCopyError::Stopped);
            }
            match copy_range(self.from, self.to, at..at + length) {
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::ROFS)) => {
                    return Err(write_error(error));
                }
                // EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: not supported between these two files. For all
                // other errors, reading and writing shows on which side the error is. Some file
                // systems return 0 for files that have content.
                Err(_) | Ok(0) => return self.copy_through_buffer(at, end, go_on),
                Ok(copied) => at += copied as u64,
            }
        }
        Ok(())
    }

    /// Copies the bytes from `at` up to, but not including, `end` through a buffer of this process.
    fn copy_through_buffer(
        self,
        mut at: u64,
        end: u64,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<(), FileCopyError> {
        let wanted = usize::try_from(end - at).unwrap_or(BUFFER_SIZE).min(BUFFER_SIZE);
        let mut buffer = vec![0; wanted];
        while at < end {
            let piece = self.chunk_size.unwrap_or(u64::MAX).min(end - at);
            let wanted = usize::try_from(piece).unwrap_or(BUFFER_SIZE).min(BUFFER_SIZE);
            if !go_on(wanted as u64) {
                return Err(FileCopyError::Stopped);
            }
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            let read = match pread(self.from, chunk, at) {
                Ok(0) => return Err(FileCopyError::Short),
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(FileCopyError::Read(error.into())),
            };
            let mut rest = buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                match pwrite(self.to, rest, at) {
                    Ok(written) => {
                        at += written as u64;
                        rest = rest.get(written..).unwrap_or_default();
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(write_error(error)),
                }
            }
        }
        Ok(())
    }
}

/// Returns true if the first `size` bytes of two files are equal. Calls `go_on` at regular
/// intervals.
///
/// # Errors
///
/// [`FileCopyError::Read`] for the first file, [`FileCopyError::Write`] for the second one, or
/// [`FileCopyError::Stopped`].
pub fn same_content(
    one: BorrowedFd<'_>,
    other: BorrowedFd<'_>,
    size: u64,
    go_on: &dyn Fn() -> bool,
) -> Result<bool, FileCopyError> {
    let wanted = usize::try_from(size).unwrap_or(BUFFER_SIZE).min(BUFFER_SIZE);
    let (mut left, mut right) = (vec![0; wanted], vec![0; wanted]);
    let mut at = 0;
    while at < size {
        if !go_on() {
            return Err(FileCopyError::Stopped);
        }
        let length = usize::try_from(size - at).unwrap_or(BUFFER_SIZE).min(BUFFER_SIZE);
        let left = left.get_mut(..length).unwrap_or_default();
        let right = right.get_mut(..length).unwrap_or_default();
        let filled = fill_at(one, left, at).map_err(|error| FileCopyError::Read(error.into()))?;
        let also = fill_at(other, right, at).map_err(write_error)?;
        if !filled || !also || left != right {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

/// Fills `buffer` from offset `at` of a file. Returns false if the file ends before the buffer is
/// full.
fn fill_at(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<bool, Errno> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, at + read as u64) {
            Ok(0) => return Ok(false),
            Ok(more) => read += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write_error(error: Errno) -> FileCopyError {
    FileCopyError::Write(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read as _, Seek as _, Write as _},
        os::{fd::AsFd, unix::fs::MetadataExt},
        path::Path,
    };

    const GO: &dyn Fn(u64) -> bool = &|_| true;

    fn copy(from: &File, to: &File, sparse: bool) -> Result<bool, FileCopyError> {
        let size = from.metadata().unwrap().len();
        FileCopy { from: from.as_fd(), to: to.as_fd(), size, sparse, chunk_size: None }.run(GO)
    }

    fn content(file: &mut File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn content_is_copied_within_and_between_file_systems() {
        let here = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut from = tempfile::tempfile_in(here.path()).unwrap();
        from.write_all(&bytes).unwrap();
        // If this is another file system, `copy_file_range` returns EXDEV.
        let elsewhere = Path::new("/dev/shm");
        for place in [here.path(), elsewhere].into_iter().filter(|place| place.is_dir()) {
            let mut to = tempfile::tempfile_in(place).unwrap();
            copy(&from, &to, false).unwrap();
            assert_eq!(content(&mut to), bytes);
        }
    }

    #[test]
    fn copying_through_a_buffer_preserves_content() {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(&bytes).unwrap();
        let size = bytes.len() as u64;
        let copy =
            FileCopy { from: from.as_fd(), to: to.as_fd(), size, sparse: false, chunk_size: None };
        copy.copy_through_buffer(0, size, GO).unwrap();
        assert!(matches!(copy.copy_through_buffer(0, size + 1, GO), Err(FileCopyError::Short)));
        assert_eq!(content(&mut to), bytes);
    }

    #[test]
    fn holes_are_kept_at_the_start_in_the_middle_and_at_the_end() {
        let mut from = tempfile::tempfile().unwrap();
        from.seek(io::SeekFrom::Start(20 << 20)).unwrap();
        from.write_all(b"in the middle").unwrap();
        from.set_len(50 << 20).unwrap();
        let mut to = tempfile::tempfile().unwrap();
        assert!(copy(&from, &to, true).unwrap());
        assert_eq!(content(&mut to), content(&mut from));
        assert!(to.metadata().unwrap().blocks() < 100, "{}", to.metadata().unwrap().blocks());
    }

    #[test]
    fn a_file_without_holes_reports_none() {
        let (mut from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(b"content").unwrap();
        assert!(!copy(&from, &to, true).unwrap() && !copy(&from, &to, false).unwrap());
    }

    #[test]
    fn files_are_compared_to_the_last_byte() {
        let (mut one, mut other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        one.write_all(&vec![7; 600_000]).unwrap();
        other.write_all(&vec![7; 600_000]).unwrap();
        let is_same =
            |other: &File, size| same_content(one.as_fd(), other.as_fd(), size, &|| true).unwrap();
        assert!(is_same(&other, 600_000) && is_same(&other, 0) && !is_same(&other, 600_001));
        other.seek(io::SeekFrom::End(-1)).unwrap();
        other.write_all(&[8]).unwrap();
        assert!(!is_same(&other, 600_000) && is_same(&other, 599_999));
    }

    #[test]
    fn a_copy_stops_when_go_on_returns_false() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(10).unwrap();
        let copy = FileCopy {
            from: from.as_fd(),
            to: to.as_fd(),
            size: 10,
            sparse: false,
            chunk_size: None,
        };
        assert!(matches!(copy.run(&|_| false), Err(FileCopyError::Stopped)));
    }

    #[test]
    fn a_truncated_source_is_an_error() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(10).unwrap();
        let copy = FileCopy {
            from: from.as_fd(),
            to: to.as_fd(),
            size: 11,
            sparse: false,
            chunk_size: None,
        };
        assert!(matches!(copy.run(GO), Err(FileCopyError::Short)));
    }
}
