//! Safe opening of files that this process creates for itself: log, pidfile, status file.
//!
//! They often lie in a directory that other users can write to. A file that another user may have
//! planted is never opened: a symbolic or hard link to a more valuable file, or a pipe that blocks
//! the process that opens it.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
    process::geteuid,
};

use crate::lookup::LOOKUP;

/// Maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Maximum number of retries if another process creates and removes the name again and again.
const MAX_TRIES: usize = 100;

/// `PROC_SUPER_MAGIC`. Links on this file system of Linux are resolved by the kernel and not by
/// their text. macOS numbers its few types from one.
const PROC_MAGIC: i128 = 0x9fa0;

/// Opens a file of this process for writing, and creates it with mode 0666 less the umask if it is
/// missing. Neither the call nor a later write to anything but a regular file blocks.
///
/// # Errors
///
/// As `open(2)`; and an error without a code if another user may have planted the file or a
/// symbolic link in its path.
pub fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let (mut path, mut from, mut links) = (path.to_owned(), None, MAX_LINKS);
    for _ in 0..MAX_TRIES {
        let NameInDir { dir, name } = NameInDir::resolve_from(from.take(), &path, &mut links)?;
        match open_at(&dir, &name, flags) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => path = name.into(),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                path = read_trusted_link(&dir, &name, &mut links)?;
            }
            Err(error) => return Err(error),
        }
        from = Some(dir);
    }
    Err(Errno::LOOP.into())
}

/// Opens or creates the entry `name`. `None` if it was replaced meanwhile, and `ELOOP` if it is a
/// symbolic link.
fn open_at(dir: &OwnedFd, name: &OsStr, flags: OFlags) -> io::Result<Option<File>> {
    let found = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => {
            let new = flags | OFlags::CREATE | OFlags::EXCL;
            return match fs::openat(dir, name, new, Mode::from_raw_mode(0o666)) {
                Ok(file) => Ok(Some(file.into())),
                Err(Errno::EXIST) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let parent = fs::fstat(dir)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        if !is_on_procfs(dir)? {
            return Err(Errno::LOOP.into());
        }
        let file = fs::openat(dir, name, flags - OFlags::NOFOLLOW, Mode::empty())?;
        return Ok(Some(file.into()));
    }
    check_trusted(&found, &parent)?;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => {
            check_trusted(&fs::fstat(&file)?, &parent)?;
            Ok(Some(file.into()))
        }
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A name in an open directory, resolved without following a symbolic link of another user.
#[derive(Debug)]
pub struct NameInDir {
    /// The directory.
    pub dir: OwnedFd,
    /// The last component of the path. It may be a symbolic link.
    pub name: OsString,
}

impl NameInDir {
    /// Resolves the directory of this path.
    ///
    /// # Errors
    ///
    /// As `open(2)` of the directory; and an error without a code if another user may have planted
    /// a symbolic link in the path.
    pub fn resolve(path: &Path) -> io::Result<Self> {
        Self::resolve_from(None, path, &mut { MAX_LINKS })
    }

    fn resolve_from(from: Option<OwnedFd>, path: &Path, links: &mut usize) -> io::Result<Self> {
        let mut dir = open_start(from, path)?;
        let mut rest = components(path);
        let name = rest.pop_back().ok_or(Errno::ISDIR)?;
        while let Some(part) = rest.pop_front() {
            let flags = LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = fs::openat(&dir, &part, flags | OFlags::NOFOLLOW, Mode::empty());
            dir = match opened {
                Ok(next) => next,
                Err(Errno::NOTDIR | Errno::LOOP) if is_on_procfs(&dir)? => {
                    fs::openat(&dir, &part, flags, Mode::empty())?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let to = read_trusted_link(&dir, &part, links)?;
                    let mut parts = components(&to);
                    parts.append(&mut rest);
                    rest = parts;
                    open_start(Some(dir), &to)?
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Self { dir, name })
    }
}

/// Opens the start of a path: the root directory if the path is absolute, else `from`, or the
/// working directory if that is `None`.
fn open_start(from: Option<OwnedFd>, path: &Path) -> io::Result<OwnedFd> {
    if let Some(from) = from.filter(|_| !path.is_absolute()) {
        return Ok(from);
    }
    let flags = LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(if path.is_absolute() { "/" } else { "." }, flags, Mode::empty())?)
}

/// Splits a path into its components, `..` included.
fn components(path: &Path) -> VecDeque<OsString> {
    let parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

/// Returns the target of a symbolic link. A relative one is relative to the directory of the link.
fn read_trusted_link(dir: &OwnedFd, name: &OsStr, links: &mut usize) -> io::Result<PathBuf> {
    *links = links.checked_sub(1).ok_or(Errno::LOOP)?;
    let link = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
        return Err(Errno::NOTDIR.into());
    }
    let parent = fs::fstat(dir)?;
    // The sticky bit keeps other users from renaming our links. Members of the directory's group
    // can rename them, too, but a link of ours is hard to obtain.
    let is_open = parent.st_mode & 0o002 != 0 && parent.st_mode & 0o1000 == 0;
    if !is_trusted(link.st_uid) || !is_trusted(parent.st_uid) || is_open {
        return Err(untrusted(&format!("{} is a symbolic link", name.display())));
    }
    let to = fs::readlinkat(dir, name, Vec::new())?.into_bytes();
    Ok(OsString::from_vec(to).into())
}

/// Returns an error if it is not safe to write to this file in the directory `parent`.
fn check_trusted(file: &Stat, parent: &Stat) -> io::Result<()> {
    let others_write = !is_trusted(parent.st_uid) || parent.st_mode & 0o022 != 0;
    let is_foreign = !is_trusted(file.st_uid);
    let is_regular = FileType::from_raw_mode(file.st_mode) == FileType::RegularFile;
    let reason = if is_regular && others_write && file.st_nlink > 1 {
        "it has several hard links"
    } else if is_regular && is_foreign && parent.st_mode & 0o002 != 0 {
        "it belongs to another user"
    } else if !is_regular && others_write && is_foreign {
        "it is not a regular file"
    } else {
        return Ok(());
    };
    Err(untrusted(reason))
}

/// Returns true if this user has at least the permissions of this process.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn is_on_procfs(dir: impl AsFd) -> io::Result<bool> {
    Ok(i128::from(fs::fstatfs(dir)?.f_type) == PROC_MAGIC)
}

fn untrusted(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{reason}, and another user could have created it: use a directory that only you \
                 can write to"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::Permissions,
        io::Write,
        os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    };

    /// An arbitrary other user.
    const OTHER_USER: u32 = 65_534;

    fn append(path: &Path) -> io::Result<()> {
        open(path, OFlags::WRONLY | OFlags::APPEND)?.write_all(b"x")
    }

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |found| found.size())
    }

    fn make_fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_behind_own_links_are_created_and_reopened() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        symlink("dir/../dir", at("way")).unwrap();
        symlink("../file", at("dir/link")).unwrap();
        symlink(at("file"), at("absolute")).unwrap();
        for name in ["file", "way/link", "absolute", "./dir/.././file"] {
            append(&at(name)).unwrap();
        }
        assert_eq!(length(&at("file")), 4);
        let new = at("way/new");
        append(&new).unwrap();
        assert_eq!(std::fs::metadata(&new).unwrap().mode() & !0o666 & 0o7777, 0);
        assert!(append(&at("none/file")).is_err() && append(&at("dir")).is_err());
        symlink("loop", at("loop")).unwrap();
        assert!(append(&at("loop")).is_err());
        assert!(append(Path::new("/dev/stdout/..")).is_err());
    }

    #[test]
    fn a_descriptor_path_can_be_opened() {
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        append(Path::new(&path)).unwrap();
        drop((reader, writer));
    }

    #[test]
    fn links_in_world_writable_directories_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("victim"), "").unwrap();
        symlink(place.path(), at("dir/up")).unwrap();
        symlink(at("victim"), at("dir/link")).unwrap();
        std::fs::hard_link(at("victim"), at("dir/name")).unwrap();
        let all = ["dir/link", "dir/up/victim", "dir/name"].map(at);
        for (mode, right) in
            [(0o755, [true; 3]), (0o777, [false; 3]), (0o1777, [true, true, false])]
        {
            set_mode(&at("dir"), mode);
            assert_eq!(all.each_ref().map(|path| append(path).is_ok()), right, "{mode:o}");
        }
        let message = append(&all[2]).unwrap_err().to_string();
        assert!(
            message.starts_with("it has several hard links, and another user could"),
            "{message}"
        );
    }

    #[test]
    fn files_planted_by_another_user_are_not_opened() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        if chown(at("dir"), Some(OTHER_USER), None).is_err() {
            println!("skipped: this needs the rights of root");
            return;
        }
        set_mode(place.path(), 0o755);
        std::fs::write(at("victim"), "").unwrap();
        let (link, way, pipe) = (at("dir/link"), at("dir/way"), at("dir/pipe"));
        symlink(at("victim"), &link).unwrap();
        symlink(place.path(), &way).unwrap();
        make_fifo(&pipe);
        for path in [&link, &way, &pipe] {
            lchown(path, Some(OTHER_USER), None).unwrap();
        }
        // A directory of the other user, and one in which every user can create files.
        for (owner, mode) in [(OTHER_USER, 0o755), (0, 0o1777)] {
            chown(at("dir"), Some(owner), None).unwrap();
            set_mode(&at("dir"), mode);
            let Err(error) = append(&pipe) else { panic!("a pipe") };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert!(append(&link).is_err() && append(&way.join("victim")).is_err());
            assert!(NameInDir::resolve(&way.join("victim")).is_err());
        }
        let file = at("dir/file");
        std::fs::write(&file, "").unwrap();
        chown(&file, Some(OTHER_USER), None).unwrap();
        assert!(append(&file).is_err());
        set_mode(&at("dir"), 0o755);
        assert!(append(&file).is_ok(), "root has let it have that");
        assert_eq!(length(&at("victim")), 0);
    }

    #[test]
    fn an_own_pipe_without_a_reader_does_not_block() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        make_fifo(&pipe);
        let error = append(&pipe).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NXIO.raw_os_error()));
    }
}
