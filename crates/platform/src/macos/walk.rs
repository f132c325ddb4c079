//! Walking of paths without following a symbolic link, component by component.
//!
//! `O_NOFOLLOW_ANY` of `open(2)` would need one system call for a whole path, but a kernel before
//! macOS 11 ignores it and follows the links.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::lookup::LOOKUP;

/// Opens the entry at `path` below a directory. The empty path is the directory itself.
///
/// Fails with `EXDEV` if the path is absolute or contains `..`, and with `ELOOP` if a component is
/// a symbolic link.
pub(crate) fn open_below(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    if path.starts_with(b"/") || path.split(|&byte| byte == b'/').any(|name| name == b"..") {
        return Err(Errno::XDEV.into());
    }
    walk(dir, path, flags, mode)
}

/// Opens the directory at a path in which no component may be a symbolic link.
pub(crate) fn open_no_symlinks(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let start = if path.is_absolute() { c"/" } else { c"." };
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = fs::openat(CWD, start, LOOKUP | directory, Mode::empty())?;
    walk(start.as_fd(), path.as_os_str().as_bytes(), flags | directory, Mode::empty())
}

fn walk(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let names = path.split(|&byte| byte == b'/');
    let mut names = names.filter(|name| !name.is_empty() && *name != b".").peekable();
    let mut held: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        let next = match names.peek() {
            Some(_) => enter(at, name, LOOKUP | OFlags::DIRECTORY, Mode::empty()),
            None => enter(at, name, flags, mode),
        };
        held = Some(next?);
    }
    match held {
        Some(found) => Ok(found),
        None => Ok(retry(|| fs::openat(dir, c".", flags | OFlags::CLOEXEC, mode))?),
    }
}

/// Opens an entry that may not be a symbolic link.
fn enter(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let name = OsStr::from_bytes(name);
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match retry(|| fs::openat(dir, name, flags, mode)) {
        // Some systems return it for a link, too, if a directory is requested.
        Err(Errno::NOTDIR) if is_link(dir, name) => Err(Errno::LOOP.into()),
        opened => Ok(opened?),
    }
}

fn is_link(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    let found = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
}

/// Repeats `call` if a signal interrupted it.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    use crate::{dir::Dir, stat::Stat};

    const READ: OFlags = OFlags::RDONLY;

    #[track_caller]
    fn fails(opened: io::Result<OwnedFd>, with: Errno) {
        assert_eq!(Errno::from_io_error(&opened.unwrap_err()), Some(with));
    }

    #[test]
    fn entries_below_are_opened() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        std::fs::write(place.path().join("a/b/file"), "text").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for (path, found) in [
            (&b""[..], ""),
            (b".", ""),
            (b"a/b", "a/b"),
            (b"a//./b/", "a/b"),
            (b"a/b/file", "a/b/file"),
        ] {
            let opened = open_below(dir.as_fd(), path, READ, Mode::empty()).unwrap();
            let found = std::fs::metadata(place.path().join(found)).unwrap();
            assert_eq!(Stat::of(opened).unwrap().inode, found.ino(), "{path:?}");
        }
        fails(open_below(dir.as_fd(), b"a/none/c", READ, Mode::empty()), Errno::NOENT);
        fails(open_below(dir.as_fd(), b"a/b/file/c", READ, Mode::empty()), Errno::NOTDIR);
        let new = READ | OFlags::CREATE | OFlags::EXCL;
        open_below(dir.as_fd(), b"a/new", new, Mode::RUSR).unwrap();
        fails(open_below(dir.as_fd(), b"a/new", new, Mode::RUSR), Errno::EXIST);
    }

    #[test]
    fn links_and_parents_are_rejected() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        symlink("/etc", place.path().join("out")).unwrap();
        symlink("..", place.path().join("up")).unwrap();
        symlink("b", place.path().join("a/in")).unwrap();
        symlink("loop", place.path().join("loop")).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for link in [&b"out"[..], b"out/ssl", b"up", b"up/up", b"a/in", b"a/in/x", b"loop", b"out/"]
        {
            for flags in [READ, READ | OFlags::DIRECTORY, LOOKUP | OFlags::DIRECTORY] {
                fails(open_below(dir.as_fd(), link, flags, Mode::empty()), Errno::LOOP);
            }
        }
        for path in [&b".."[..], b"../x", b"a/..", b"a/../a", b"/etc", b"/"] {
            fails(open_below(dir.as_fd(), path, READ, Mode::empty()), Errno::XDEV);
        }
    }

    #[test]
    fn a_replaced_directory_is_never_left_by_a_link() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("tree/a/b")).unwrap();
        std::fs::create_dir_all(at("secret/b")).unwrap();
        std::fs::write(at("secret/b/file"), "").unwrap();
        symlink("../secret", at("tree/link")).unwrap();
        let dir = Dir::open(&at("tree")).unwrap();
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let [a, link, spare] = ["tree/a", "tree/link", "tree/spare"].map(at);
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    for (from, to) in [(&a, &spare), (&link, &a), (&a, &link), (&spare, &a)] {
                        std::fs::rename(from, to).unwrap();
                    }
                }
            });
            let found = (0..5000)
                .any(|_| open_below(dir.as_fd(), b"a/b/file", READ, Mode::empty()).is_ok());
            end.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(!found);
        });
    }

    #[test]
    fn no_component_of_a_path_may_be_a_link() {
        let place = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(place.path()).unwrap();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::fs::write(path.join("file"), "").unwrap();
        symlink("a", path.join("link")).unwrap();
        for flags in [READ, LOOKUP] {
            assert!(open_no_symlinks(&path.join("a/../a/b"), flags).is_ok());
            assert!(open_no_symlinks(Path::new("/"), flags).is_ok());
            fails(open_no_symlinks(&path.join("link"), flags), Errno::LOOP);
            fails(open_no_symlinks(&path.join("link/b"), flags), Errno::LOOP);
            fails(open_no_symlinks(&path.join("file"), flags), Errno::NOTDIR);
        }
    }

    #[test]
    fn a_path_may_be_longer_than_path_max() {
        let place = tempfile::tempdir().unwrap();
        let root = Dir::open(place.path()).unwrap();
        let mut path = Vec::new();
        for _ in 0..25 {
            let here = open_below(root.as_fd(), &path, READ, Mode::empty()).unwrap();
            let name = [b'n'; 200];
            fs::mkdirat(&here, OsStr::from_bytes(&name), Mode::RWXU).unwrap();
            path.extend_from_slice(&name);
            path.push(b'/');
        }
        assert!(path.len() > 5000);
        assert!(open_below(root.as_fd(), &path, READ, Mode::empty()).is_ok());
        fails(open_below(root.as_fd(), &[b'n'; 5000], READ, Mode::empty()), Errno::NAMETOOLONG);
    }
}
