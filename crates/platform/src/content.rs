//! The bytes of a file, from one descriptor to another, inside the kernel where it can.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    fs::{self, SeekFrom},
    io::{Errno, pread, pwrite},
};

/// How much is copied between two looks at whether to go on.
const CHUNK: u64 = 16 << 20;
/// How much is copied at once where the kernel can't do it by itself.
const BUFFER: usize = 256 << 10;

/// Why a copy ended early.
#[derive(Debug)]
pub enum CopyError {
    /// The source can't be read.
    Read(io::Error),
    /// The target can't be written.
    Write(io::Error),
    /// The source is shorter than it was said to be.
    Short,
    /// `go_on` said no.
    Stopped,
}

/// One copy of the content of a file.
#[derive(Clone, Copy)]
pub struct Copy<'a> {
    /// Open for reading.
    pub from: BorrowedFd<'a>,
    /// Open for writing, and empty.
    pub to: BorrowedFd<'a>,
    /// How many bytes to copy.
    pub size: u64,
    /// Whether there may be holes, which are kept.
    pub sparse: bool,
    /// How many bytes are copied between two looks at whether to go on, if not as many as is best.
    pub piece: Option<u64>,
}

impl Copy<'_> {
    /// Copies, by sharing the blocks (reflink) where both files lie on a file system that can.
    /// `go_on` is asked before so many bytes are copied each. Returns true if there are holes: then the size of the copy is
    /// on the disk before its content may be.
    ///
    /// # Errors
    ///
    /// See [`CopyError`]; how much is at the target then is not known.
    pub fn run(self, go_on: &dyn Fn(u64) -> bool) -> Result<bool, CopyError> {
        if !self.sparse {
            self.range(0, self.size, go_on)?;
            return Ok(false);
        }
        let (mut at, mut holes) = (0, false);
        while at < self.size {
            let Some(data) = self.seek(SeekFrom::Data(at))? else { break };
            let data = data.min(self.size);
            holes |= data > at;
            // What the file grew by since its size was asked does not count.
            let hole = self.seek(SeekFrom::Hole(data))?.unwrap_or(self.size).min(self.size);
            self.range(data, hole, go_on)?;
            at = hole;
        }
        if at < self.size {
            holes = true;
            fs::ftruncate(self.to, self.size).map_err(write_error)?;
        }
        Ok(holes)
    }

    /// Where the next data or hole is; `None` if there is none.
    fn seek(self, to: SeekFrom) -> Result<Option<u64>, CopyError> {
        match fs::seek(self.from, to) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(CopyError::Read(error.into())),
        }
    }

    /// Copies the bytes from `start` to before `end`.
    fn range(self, start: u64, end: u64, go_on: &dyn Fn(u64) -> bool) -> Result<(), CopyError> {
        let (mut input, mut output) = (start, start);
        while input < end {
            let length = self.piece.unwrap_or(CHUNK).min(end - input);
            if !go_on(length) {
                return Err(CopyError::Stopped);
            }
            let length = usize::try_from(length).unwrap_or(BUFFER);
            let copied = fs::copy_file_range(
                self.from,
                Some(&mut input),
                self.to,
                Some(&mut output),
                length,
            );
            match copied {
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::ROFS)) => {
                    return Err(write_error(error));
                }
                // EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: not between these two. Whatever else it is,
                // reading and writing tells which side it comes from. Some file systems answer 0
                // for files that have content.
                Err(_) | Ok(0) => return self.by_hand(input, end, go_on),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Copies the bytes from `at` to before `end` through this process.
    fn by_hand(self, mut at: u64, end: u64, go_on: &dyn Fn(u64) -> bool) -> Result<(), CopyError> {
        let wanted = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        let mut buffer = vec![0; wanted];
        while at < end {
            let piece = self.piece.unwrap_or(u64::MAX).min(end - at);
            let wanted = usize::try_from(piece).unwrap_or(BUFFER).min(BUFFER);
            if !go_on(wanted as u64) {
                return Err(CopyError::Stopped);
            }
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            let read = match pread(self.from, room, at) {
                Ok(0) => return Err(CopyError::Short),
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(CopyError::Read(error.into())),
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

/// Returns true if the first `size` bytes of two files are the same. `go_on` is asked now and then.
///
/// # Errors
///
/// [`CopyError::Read`] for the first file, [`CopyError::Write`] for the second one, or
/// [`CopyError::Stopped`].
pub fn same(
    one: BorrowedFd<'_>,
    other: BorrowedFd<'_>,
    size: u64,
    go_on: &dyn Fn() -> bool,
) -> Result<bool, CopyError> {
    let wanted = usize::try_from(size).unwrap_or(BUFFER).min(BUFFER);
    let (mut left, mut right) = (vec![0; wanted], vec![0; wanted]);
    let mut at = 0;
    while at < size {
        if !go_on() {
            return Err(CopyError::Stopped);
        }
        let length = usize::try_from(size - at).unwrap_or(BUFFER).min(BUFFER);
        let left = left.get_mut(..length).unwrap_or_default();
        let right = right.get_mut(..length).unwrap_or_default();
        let filled = fill(one, left, at).map_err(|error| CopyError::Read(error.into()))?;
        let also = fill(other, right, at).map_err(write_error)?;
        if !filled || !also || left != right {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

/// Fills `room` with what a file has at `at`. Returns false if it ends before that.
fn fill(file: BorrowedFd<'_>, room: &mut [u8], at: u64) -> Result<bool, Errno> {
    let mut read = 0;
    while let Some(rest) = room.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, at + read as u64) {
            Ok(0) => return Ok(false),
            Ok(more) => read += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write_error(error: Errno) -> CopyError {
    CopyError::Write(error.into())
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

    fn copy(from: &File, to: &File, sparse: bool) -> Result<bool, CopyError> {
        let size = from.metadata().unwrap().len();
        Copy { from: from.as_fd(), to: to.as_fd(), size, sparse, piece: None }.run(GO)
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
        // Where this is another file system, `copy_file_range` answers EXDEV.
        let elsewhere = Path::new("/dev/shm");
        for place in [here.path(), elsewhere].into_iter().filter(|place| place.is_dir()) {
            let mut to = tempfile::tempfile_in(place).unwrap();
            copy(&from, &to, false).unwrap();
            assert_eq!(content(&mut to), bytes);
        }
    }

    #[test]
    fn bytes_copied_by_hand_are_the_same() {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(&bytes).unwrap();
        let size = bytes.len() as u64;
        let copy = Copy { from: from.as_fd(), to: to.as_fd(), size, sparse: false, piece: None };
        copy.by_hand(0, size, GO).unwrap();
        assert!(matches!(copy.by_hand(0, size + 1, GO), Err(CopyError::Short)));
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
    fn a_file_without_holes_is_told_to_have_none() {
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
            |other: &File, size| same(one.as_fd(), other.as_fd(), size, &|| true).unwrap();
        assert!(is_same(&other, 600_000) && is_same(&other, 0) && !is_same(&other, 600_001));
        other.seek(io::SeekFrom::End(-1)).unwrap();
        other.write_all(&[8]).unwrap();
        assert!(!is_same(&other, 600_000) && is_same(&other, 599_999));
    }

    #[test]
    fn a_copy_stops_when_it_is_asked_to() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(10).unwrap();
        let copy =
            Copy { from: from.as_fd(), to: to.as_fd(), size: 10, sparse: false, piece: None };
        assert!(matches!(copy.run(&|_| false), Err(CopyError::Stopped)));
    }

    #[test]
    fn a_source_that_shrank_is_told() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(10).unwrap();
        let copy =
            Copy { from: from.as_fd(), to: to.as_fd(), size: 11, sparse: false, piece: None };
        assert!(matches!(copy.run(GO), Err(CopyError::Short)));
    }
}
