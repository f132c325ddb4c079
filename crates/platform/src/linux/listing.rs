//! Listing of directories: `getdents64(2)`.

use std::{ffi::CStr, io, mem::MaybeUninit, os::fd::BorrowedFd};

use rustix::{
    fs::{self, FileType, RawDir, SeekFrom},
    io::Errno,
};

/// Size of a [`ListBuffer`] in bytes: some hundred names per system call.
const BUFFER_SIZE: usize = 32 * 1024;

/// Memory for a listing.
#[derive(Debug)]
pub(crate) struct ListBuffer(Box<[MaybeUninit<u8>]>);

impl ListBuffer {
    pub(crate) fn new() -> Self {
        Self(Box::new_uninit_slice(BUFFER_SIZE))
    }
}

/// Calls `each` with the name, the type and the inode number of each entry, `.` and `..` included.
pub(crate) fn list(
    dir: BorrowedFd<'_>,
    buffer: &mut ListBuffer,
    mut each: impl FnMut(&[u8], FileType, u64) -> io::Result<()>,
) -> io::Result<()> {
    fs::seek(dir, SeekFrom::Start(0))?;
    let mut raw = RawDir::new(dir, &mut buffer.0);
    while let Some(listed) = raw.next() {
        let listed = match listed {
            // The directory itself was removed: it has no entries. libc treats this error the
            // same way.
            Err(Errno::NOENT) => break,
            listed => listed?,
        };
        each(CStr::to_bytes(listed.file_name()), listed.file_type(), listed.ino())?;
    }
    Ok(())
}
