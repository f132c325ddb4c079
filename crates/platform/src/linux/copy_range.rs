//! Copy of a range of bytes inside the kernel: `copy_file_range(2)`.

use std::{ops::Range, os::fd::BorrowedFd};

use rustix::{fs::copy_file_range, io::Errno};

/// Copies bytes of this range to the same offset of another file, and shares the blocks where that
/// is supported. Returns the number of bytes copied.
pub(crate) fn copy_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    range: Range<u64>,
) -> Result<usize, Errno> {
    let (mut input, mut output) = (range.start, range.start);
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    copy_file_range(from, Some(&mut input), to, Some(&mut output), length)
}
