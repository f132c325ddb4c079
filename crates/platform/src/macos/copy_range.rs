//! Copy of a range of bytes inside the kernel, which macOS does not have: `fcopyfile(3)` reads and
//! writes through a buffer of its process as well, and only `clonefile(2)` shares blocks.

use std::{ops::Range, os::fd::BorrowedFd};

use rustix::io::Errno;

/// Fails always: the caller copies through a buffer.
pub(crate) fn copy_range(
    _from: BorrowedFd<'_>,
    _to: BorrowedFd<'_>,
    _range: Range<u64>,
) -> Result<usize, Errno> {
    Err(Errno::NOTSUP)
}
