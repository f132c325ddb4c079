//! Looking names up without following a symbolic link: `openat2(2)`.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

/// Flags for a descriptor that only looks names up in a directory, and needs no read permission.
pub const LOOKUP: OFlags = OFlags::PATH;

/// Flag for reading a file without updating its access time.
pub const NO_ACCESS_TIME: OFlags = OFlags::NOATIME;

/// The longest path passed to the kernel at once. `PATH_MAX` is 4096 including the NUL.
const MAX_PIECE: usize = 4000;

/// Returns the absolute path of an open directory.
///
/// # Errors
///
/// As `readlink(2)`: `ENOENT` if `/proc` is not mounted.
pub fn path_of(directory: impl AsFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()))
}

/// Opens the entry at `path` below a directory. The empty path is the directory itself.
pub(crate) fn open_below(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let intermediate = LOOKUP | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut rest = path;
    let mut held: Option<OwnedFd> = None;
    loop {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        let (piece, left) = split(rest)?;
        let piece = OsStr::from_bytes(if piece.is_empty() { b"." } else { piece });
        if left.is_empty() {
            let flags = flags | OFlags::CLOEXEC;
            return Ok(retry(|| openat2(at, piece, flags, mode, resolve))?);
        }
        let fd = retry(|| openat2(at, piece, intermediate, Mode::empty(), resolve))?;
        rest = left;
        held = Some(fd);
    }
}

/// Opens the directory at an absolute path in which no component may be a symbolic link.
pub(crate) fn open_no_symlinks(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(retry(|| openat2(CWD, path, flags, Mode::empty(), resolve))?)
}

/// Repeats `call` on `EAGAIN`: `openat2(2)` returns it when a concurrent rename makes it uncertain
/// that the path stayed below the directory.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    call()
}

/// Splits a path into a piece short enough for the kernel, and the rest.
fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    if path.len() <= MAX_PIECE {
        return Ok((path, b""));
    }
    let start = path.get(..MAX_PIECE).unwrap_or(path);
    let end = start
        .iter()
        .rposition(|&b| b == b'/')
        .ok_or_else(|| io::Error::from(Errno::NAMETOOLONG))?;
    let (piece, rest) = path.split_at(end);
    Ok((piece, rest.strip_prefix(b"/").unwrap_or(rest)))
}
