//! Changes of a tree through directory handles: no symbolic link leads out of it.

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

/// A tree whose entries are reached without following a link.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

/// A name in a directory that was reached so.
#[derive(Debug)]
pub(crate) struct Spot {
    directory: OwnedFd,
    name: OsString,
}

impl Tree {
    /// The tree below a directory.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// Where an entry is or may be.
    pub(crate) fn spot(&self, path: &Path) -> io::Result<Spot> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let directory = openat2(&self.root, parent, flags, Mode::empty(), resolve)?;
        Ok(Spot { directory, name })
    }

    /// Makes a directory and those above it.
    pub(crate) fn make_all(&self, path: &Path) -> io::Result<()> {
        let mut above = PathBuf::new();
        for part in path {
            above.push(part);
            match self.spot(&above)?.make_directory() {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        Ok(())
    }
}

impl Spot {
    fn open(&self, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        Ok(File::from(openat(&self.directory, &self.name, flags, mode)?))
    }

    /// Opens a file for writing, and makes it if need be.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY | OFlags::CREATE)
    }

    /// Opens a file that is there for writing at its end.
    pub(crate) fn appender(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY | OFlags::APPEND)
    }

    /// Writes a file from its beginning.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all_at(bytes, 0)
    }

    /// Gives a file another length.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        self.open(OFlags::WRONLY)?.set_len(length)
    }

    /// Writes the beginning of a file through a mapping.
    pub(crate) fn write_mapped(&self, bytes: &[u8]) -> io::Result<()> {
        mapping::write(&self.open(OFlags::RDWR)?, bytes)
    }

    /// Writes another content of the same length, and nobody can tell by the times.
    pub(crate) fn disguise(&self, bytes: &[u8]) -> io::Result<()> {
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

    /// Makes a directory.
    pub(crate) fn make_directory(&self) -> io::Result<()> {
        Ok(mkdirat(&self.directory, &self.name, Mode::from_raw_mode(0o755))?)
    }

    /// Makes a fifo.
    pub(crate) fn make_fifo(&self) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o600);
        Ok(mknodat(&self.directory, &self.name, FileType::Fifo, mode, 0)?)
    }

    /// Makes a symbolic link.
    pub(crate) fn make_link(&self, to: &Path) -> io::Result<()> {
        Ok(symlinkat(to, &self.directory, &self.name)?)
    }

    /// Gives a file, a link or a fifo a second name.
    pub(crate) fn link(&self, other: &Self) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(linkat(&self.directory, &self.name, &other.directory, &other.name, flags)?)
    }

    /// Renames, over what may be there.
    pub(crate) fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(renameat(&self.directory, &self.name, &to.directory, &to.name)?)
    }

    /// Renames to a name that is free.
    pub(crate) fn rename_to_free(&self, to: &Self) -> io::Result<()> {
        self.rename_with(to, RenameFlags::NOREPLACE)
    }

    /// Exchanges two entries.
    pub(crate) fn exchange(&self, other: &Self) -> io::Result<()> {
        self.rename_with(other, RenameFlags::EXCHANGE)
    }

    fn rename_with(&self, to: &Self, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat_with(&self.directory, &self.name, &to.directory, &to.name, flags)?)
    }

    /// Removes what is no directory.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a directory with all that is in it, or whatever else is there.
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
                // What somebody else removes meanwhile is gone, too.
                let _ = Self { directory: directory.try_clone()?, name }.remove_all();
            }
        }
        self.remove_directory()
    }

    /// Gives it other permissions.
    pub(crate) fn permit(&self, mode: u32) -> io::Result<()> {
        Ok(fchmod(self.open(OFlags::RDONLY)?, Mode::from_raw_mode(mode))?)
    }

    /// Gives it another owner.
    pub(crate) fn give_to(&self, user: u32) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(&self.directory, &self.name, Some(user), Some(group), flags)?)
    }

    /// Gives it another time of modification.
    pub(crate) fn date(&self, seconds: i64, nanoseconds: i64) -> io::Result<()> {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(&self.directory, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
