//! Unix stream sockets, `unix(4)`.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::SocketAddr},
    },
    path::Path,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket},
    process::Pid,
};

use crate::socket_file::SocketFile;

/// Creates a socket whose calls do not block.
///
/// # Errors
///
/// As `socket(2)`.
pub fn create_nonblocking() -> Result<OwnedFd, Errno> {
    let made = create()?;
    ioctl_fionbio(&made, true)?;
    Ok(made)
}

/// Creates a socket with this address, to which only the own user can connect after `listen(2)`.
///
/// # Errors
///
/// As `socket(2)`, `bind(2)` and `chmod(2)`.
pub fn bind_private(address: &SocketAddrUnix) -> io::Result<OwnedFd> {
    let made = create()?;
    bind(&made, address)?;
    // Nobody can connect yet, because it does not listen.
    let path = address.path_bytes().ok_or(io::ErrorKind::InvalidInput)?;
    let file = SocketFile::find(Path::new(OsStr::from_bytes(path)))?;
    file.ok_or(io::ErrorKind::NotFound)?.set_mode(0o600)?;
    Ok(made)
}

/// Fails always: each socket of macOS is in a file system.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`].
pub fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the user of the process at the other end.
///
/// # Errors
///
/// As `getpeereid(3)`.
pub fn peer_user(socket: impl AsFd) -> io::Result<u32> {
    let (mut user, mut group) = (0, 0);
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and both pointers are valid.
    match unsafe { libc::getpeereid(socket, &raw mut user, &raw mut group) } {
        0 => Ok(user),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the process at the other end.
///
/// # Errors
///
/// As `getsockopt(2)` with `LOCAL_PEERPID`.
pub fn peer_process(socket: impl AsFd) -> io::Result<Pid> {
    let mut process: libc::pid_t = 0;
    let mut size = libc::socklen_t::try_from(size_of::<libc::pid_t>()).unwrap_or_default();
    let (level, name) = (libc::SOL_LOCAL, libc::LOCAL_PEERPID);
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the buffer has the stated size.
    let done =
        unsafe { libc::getsockopt(socket, level, name, (&raw mut process).cast(), &raw mut size) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(process).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Creates a socket that children do not inherit, unless one is started at this moment: there is
/// no flag for it.
fn create() -> Result<OwnedFd, Errno> {
    let made = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&made, FdFlags::CLOEXEC)?;
    Ok(made)
}
