//! The file of a Unix socket: its group and its mode, `unix(7)`.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, chownat, fstat, open};

/// The file of a socket. What replaces it under its name is never changed.
#[derive(Debug)]
pub struct SocketFile {
    /// Opened for the path only: `open(2)` cannot open a socket.
    file: OwnedFd,
}

impl SocketFile {
    /// Finds the socket at a path. `None` if it is something else. Follows no symbolic link at the
    /// end of the path.
    ///
    /// # Errors
    ///
    /// As `open(2)`.
    pub fn find(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        let is_socket = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Socket;
        Ok(is_socket.then_some(Self { file }))
    }

    /// Gives the socket to a group, unless the group has it.
    ///
    /// # Errors
    ///
    /// As `chown(2)`.
    pub fn set_group(&self, group: u32) -> io::Result<()> {
        if fstat(&self.file)?.st_gid == group {
            return Ok(());
        }
        Ok(chownat(&self.file, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?)
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// As `chmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
}
