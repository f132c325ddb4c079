//! Unix stream sockets, `unix(7)`.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::SocketAddr,
    },
};

use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with,
        sockopt::socket_peercred,
    },
    process::Pid,
};

/// Creates a socket whose calls do not block.
///
/// # Errors
///
/// As `socket(2)`.
pub fn create_nonblocking() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Creates a socket with this address, to which only the own user can connect after `listen(2)`.
///
/// # Errors
///
/// As `socket(2)` and `bind(2)`.
pub fn bind_private(address: &SocketAddrUnix) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of a socket becomes that of its file: socket(7), unix(7).
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, address)?;
    Ok(socket)
}

/// Returns the address with this name, which is in no file system.
///
/// # Errors
///
/// If the name is too long.
pub fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Returns the user of the process at the other end, when it connected or began to listen.
///
/// # Errors
///
/// As `getsockopt(2)` with `SO_PEERCRED`.
pub fn peer_user(socket: impl AsFd) -> io::Result<u32> {
    Ok(socket_peercred(socket)?.uid.as_raw())
}

/// Returns the process at the other end, when it connected or began to listen.
///
/// # Errors
///
/// As `getsockopt(2)` with `SO_PEERCRED`.
pub fn peer_process(socket: impl AsFd) -> io::Result<Pid> {
    Ok(socket_peercred(socket)?.pid)
}
