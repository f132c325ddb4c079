//! The file of a Unix socket: its group and its mode, `unix(4)`.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, openat},
    io::Errno,
};

use crate::{lookup::LOOKUP, metadata::FileRef, stat::Stat};

/// The file of a socket. No call opens it, so it is examined before each change: what replaces it
/// under its name is not changed, except in the moment between two system calls.
#[derive(Debug)]
pub struct SocketFile {
    dir: OwnedFd,
    name: OsString,
    inode: u64,
}

impl SocketFile {
    /// Finds the socket at a path. `None` if it is something else. Follows no symbolic link at the
    /// end of the path.
    ///
    /// # Errors
    ///
    /// As `open(2)` of the directory, and as `fstatat(2)`.
    pub fn find(path: &Path) -> io::Result<Option<Self>> {
        let name = path.file_name().ok_or(Errno::ISDIR)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        let found = Stat::at(dir.as_fd(), name.as_bytes())?;
        let is_socket = found.file_type() == FileType::Socket;
        Ok(is_socket.then_some(Self { dir, name, inode: found.inode }))
    }

    /// Gives the socket to a group, unless the group has it.
    ///
    /// # Errors
    ///
    /// As `chown(2)`.
    pub fn set_group(&self, group: u32) -> io::Result<()> {
        if self.examine()?.gid == group {
            return Ok(());
        }
        self.file().chown(None, Some(group))
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// As `chmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.examine()?;
        self.file().chmod(mode)
    }

    fn file(&self) -> FileRef<'_> {
        FileRef::Named(self.dir.as_fd(), self.name.as_bytes())
    }

    /// Fails if something else has the name.
    fn examine(&self) -> io::Result<Stat> {
        let found = Stat::at(self.dir.as_fd(), self.name.as_bytes())?;
        let is_it = found.file_type() == FileType::Socket && found.inode == self.inode;
        if is_it { Ok(found) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}
