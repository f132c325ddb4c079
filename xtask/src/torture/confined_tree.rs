//! Changes of a tree through directory handles: no symbolic link can lead out of it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

use mirror_platform::mapping;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps,
    Uid, chownat, fchmod, futimens, linkat, mkdirat, mknodat, openat, openat2, renameat,
    renameat_with, statat, symlinkat, unlinkat, utimensat,
};

/// A tree whose entries are resolved without following symbolic links.
#[derive(Debug)]
pub(crate) struct ConfinedTree {
    root: OwnedFd,
}

/// A name in a directory that was opened that way.
#[derive(Debug)]
pub(crate) struct ConfinedEntry {
    directory: OwnedFd,
    name: OsString,
}

impl ConfinedTree {
    /// Opens the tree below a directory.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// Resolves the path of an entry, which need not exist.
    pub(crate) fn entry(&self, path: &Path) -> io::Result<ConfinedEntry> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let directory = openat2(&self.root, parent, flags, Mode::empty(), resolve)?;
        Ok(ConfinedEntry { directory, name })
    }

    /// Creates a directory with its parents.
    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut current = PathBuf::new();
        for part in path {
            current.push(part);
            match self.entry(&current)?.create_dir() {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => created?,
            }
        }
        Ok(())
    }
}

impl ConfinedEntry {
    fn open(&self, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        Ok(File::from(openat(&self.directory, &self.name, flags, mode)?))
    }

    /// Opens a file for writing, and creates it if it is missing.
    pub(crate) fn open_for_writing(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY | OFlags::CREATE)
    }

    /// Opens an existing file for appending.
    pub(crate) fn open_for_appending(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY | OFlags::APPEND)
    }

    /// Replaces the content of a file.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all_at(bytes, 0)
    }

    /// Sets the length of a file.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        self.open(OFlags::WRONLY)?.set_len(length)
    }

    /// Writes to the beginning of a file through a memory mapping.
    pub(crate) fn write_mapped(&self, bytes: &[u8]) -> io::Result<()> {
        mapping::write(&self.open(OFlags::RDWR)?, bytes)
    }

    /// Replaces the content by one of the same length, and restores the times.
    pub(crate) fn write_unnoticed(&self, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(OFlags::RDWR)?;
        let status = rustix::fs::fstat(&file)?;
        let length = usize::try_from(status.st_size).unwrap_or(0).min(bytes.len());
        if length == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        file.write_all_at(bytes.get(..length).unwrap_or_default(), 0)?;
        let time = |seconds, nanoseconds: u64| Timespec {
            tv_sec: seconds,
            tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
        };
        let last_access = time(status.st_atime, status.st_atime_nsec);
        let last_modification = time(status.st_mtime, status.st_mtime_nsec);
        Ok(futimens(&file, &Timestamps { last_access, last_modification })?)
    }

    /// Creates a directory.
    pub(crate) fn create_dir(&self) -> io::Result<()> {
        Ok(mkdirat(&self.directory, &self.name, Mode::from_raw_mode(0o755))?)
    }

    pub(crate) fn create_fifo(&self) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o600);
        Ok(mknodat(&self.directory, &self.name, FileType::Fifo, mode, 0)?)
    }

    /// Creates a symbolic link.
    pub(crate) fn create_symlink(&self, to: &Path) -> io::Result<()> {
        Ok(symlinkat(to, &self.directory, &self.name)?)
    }

    /// Creates a hard link to a file, symbolic link or fifo.
    pub(crate) fn hard_link(&self, other: &Self) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(linkat(&self.directory, &self.name, &other.directory, &other.name, flags)?)
    }

    /// Renames, and replaces an existing entry.
    pub(crate) fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(renameat(&self.directory, &self.name, &to.directory, &to.name)?)
    }

    /// Renames, and fails if the new name exists.
    pub(crate) fn rename_no_replace(&self, to: &Self) -> io::Result<()> {
        self.rename_with(to, RenameFlags::NOREPLACE)
    }

    /// Exchanges two entries atomically.
    pub(crate) fn exchange(&self, other: &Self) -> io::Result<()> {
        self.rename_with(other, RenameFlags::EXCHANGE)
    }

    fn rename_with(&self, to: &Self, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat_with(&self.directory, &self.name, &to.directory, &to.name, flags)?)
    }

    /// The number of its inode.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
    }

    /// Deletes an entry that is not a directory.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// Deletes an empty directory.
    pub(crate) fn remove_dir(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::REMOVEDIR)?)
    }

    /// Deletes an entry, a directory with its content.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        let status = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
            return self.unlink();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, &self.name, flags, Mode::empty())?;
        let entries = Dir::read_from(&directory)?;
        for entry in entries {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                // An entry that another thread deletes meanwhile is gone, too.
                let _ = Self { directory: directory.try_clone()?, name }.remove_all();
            }
        }
        self.remove_dir()
    }

    /// Sets the permissions.
    pub(crate) fn chmod(&self, mode: u32) -> io::Result<()> {
        Ok(fchmod(self.open(OFlags::RDONLY)?, Mode::from_raw_mode(mode))?)
    }

    /// Sets the owner and the group.
    pub(crate) fn chown(&self, user: u32) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(&self.directory, &self.name, Some(user), Some(group), flags)?)
    }

    /// Sets the times of access and modification.
    pub(crate) fn set_times(&self, seconds: i64, nanoseconds: i64) -> io::Result<()> {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(&self.directory, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
