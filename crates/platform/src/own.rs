//! Files that this process makes for itself: a log, a pidfile, a status.
//!
//! Their names are often in a directory where others may write, too. What somebody else may have put
//! there is not opened: a link that leads to a file of more value, another name of such a file, a
//! pipe that holds up who opens it.

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

/// The most links on the way, as in the kernel.
const MOST_LINKS: usize = 40;

/// How often a name is looked at again that somebody makes and removes all the time.
const MOST_TRIES: usize = 100;

/// `PROC_SUPER_MAGIC`: links in there lead to what they say only by the kernel's own knowledge.
const PROC: i128 = 0x9fa0;

/// Opens a file of ours for writing, and makes it if it is not there, with a mode of 0666 less the
/// umask. It never waits, neither here nor in a write to what is no regular file.
///
/// # Errors
///
/// As `open(2)`; and, without a number, if the file or a link on the way to it may be somebody
/// else's doing.
pub fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let (mut path, mut from, mut links) = (path.to_owned(), None, MOST_LINKS);
    for _ in 0..MOST_TRIES {
        let Spot { dir, name } = Spot::within(from.take(), &path, &mut links)?;
        match open_at(&dir, &name, flags) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => path = name.into(),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                path = follow(&dir, &name, &mut links)?;
            }
            Err(error) => return Err(error),
        }
        from = Some(dir);
    }
    Err(Errno::LOOP.into())
}

/// Opens what the directory lists under this name, or makes it. `None` if somebody has exchanged it
/// meanwhile, and `ELOOP` if it is a link.
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
    let holder = fs::fstat(dir)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        if !is_of_proc(dir)? {
            return Err(Errno::LOOP.into());
        }
        let file = fs::openat(dir, name, flags - OFlags::NOFOLLOW, Mode::empty())?;
        return Ok(Some(file.into()));
    }
    check(&found, &holder)?;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => {
            check(&fs::fstat(&file)?, &holder)?;
            Ok(Some(file.into()))
        }
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A name in a directory that is held open, to which no link of somebody else has led.
#[derive(Debug)]
pub struct Spot {
    /// The directory.
    pub dir: OwnedFd,
    /// The last component of the path. What is there may be a link.
    pub name: OsString,
}

impl Spot {
    /// The place at the end of this path.
    ///
    /// # Errors
    ///
    /// As `open(2)` of its directory; and, without a number, if a link on the way to it may be
    /// somebody else's doing.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::within(None, path, &mut { MOST_LINKS })
    }

    fn within(from: Option<OwnedFd>, path: &Path, links: &mut usize) -> io::Result<Self> {
        let mut dir = start(from, path)?;
        let mut rest = components(path);
        let name = rest.pop_back().ok_or(Errno::ISDIR)?;
        while let Some(part) = rest.pop_front() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = fs::openat(&dir, &part, flags | OFlags::NOFOLLOW, Mode::empty());
            dir = match opened {
                Ok(next) => next,
                Err(Errno::NOTDIR | Errno::LOOP) if is_of_proc(&dir)? => {
                    fs::openat(&dir, &part, flags, Mode::empty())?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let to = follow(&dir, &part, links)?;
                    let mut parts = components(&to);
                    parts.append(&mut rest);
                    rest = parts;
                    start(Some(dir), &to)?
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Self { dir, name })
    }
}

/// Where the way along this path begins, if it is no absolute one at `from` or where we work.
fn start(from: Option<OwnedFd>, path: &Path) -> io::Result<OwnedFd> {
    if let Some(from) = from.filter(|_| !path.is_absolute()) {
        return Ok(from);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(if path.is_absolute() { "/" } else { "." }, flags, Mode::empty())?)
}

/// The names of a path, and the `..` among them.
fn components(path: &Path) -> VecDeque<OsString> {
    let parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

/// Where a link leads to; if that is no absolute path, it counts from the directory of the link.
fn follow(dir: &OwnedFd, name: &OsStr, links: &mut usize) -> io::Result<PathBuf> {
    *links = links.checked_sub(1).ok_or(Errno::LOOP)?;
    let link = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
        return Err(Errno::NOTDIR.into());
    }
    let holder = fs::fstat(dir)?;
    // The sticky bit keeps others from giving a link of ours another name. Who is in the group of a
    // directory can do that, too, but nobody gets a link of ours for nothing.
    let is_open = holder.st_mode & 0o002 != 0 && holder.st_mode & 0o1000 == 0;
    if !is_trusted(link.st_uid) || !is_trusted(holder.st_uid) || is_open {
        return Err(planted(&format!("{} is a link", name.display())));
    }
    let to = fs::readlinkat(dir, name, Vec::new())?.into_bytes();
    Ok(OsString::from_vec(to).into())
}

/// Whether this file may be written to, which lies in the directory `holder`.
fn check(file: &Stat, holder: &Stat) -> io::Result<()> {
    let others_write = !is_trusted(holder.st_uid) || holder.st_mode & 0o022 != 0;
    let is_foreign = !is_trusted(file.st_uid);
    let what = match FileType::from_raw_mode(file.st_mode) {
        FileType::RegularFile if others_write && file.st_nlink > 1 => "it has another name",
        FileType::RegularFile if is_foreign && holder.st_mode & 0o002 != 0 => "it is not ours",
        FileType::RegularFile => return Ok(()),
        _ if others_write && is_foreign => "it is no regular file",
        _ => return Ok(()),
    };
    Err(planted(what))
}

/// Whether this user can do all that we can.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn is_of_proc(dir: impl AsFd) -> io::Result<bool> {
    Ok(i128::from(fs::fstatfs(dir)?.f_type) == PROC)
}

fn planted(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{what}, and others may have put it there: use a directory of your own"),
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

    /// Nobody in particular.
    const STRANGER: u32 = 65_534;

    fn append(path: &Path) -> io::Result<()> {
        open(path, OFlags::WRONLY | OFlags::APPEND)?.write_all(b"x")
    }

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |found| found.size())
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_is_made_and_found_again_behind_links_of_our_own() {
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
    fn what_a_descriptor_is_can_be_named() {
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        append(Path::new(&path)).unwrap();
        drop((reader, writer));
    }

    #[test]
    fn what_everybody_can_rename_is_not_followed() {
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
        let said = append(&all[2]).unwrap_err().to_string();
        assert!(said.starts_with("it has another name, and others may"), "{said}");
    }

    #[test]
    fn what_a_stranger_has_put_there_is_not_opened() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        if chown(at("dir"), Some(STRANGER), None).is_err() {
            println!("skipped: this needs the rights of root");
            return;
        }
        set_mode(place.path(), 0o755);
        std::fs::write(at("victim"), "").unwrap();
        let (link, way, pipe) = (at("dir/link"), at("dir/way"), at("dir/pipe"));
        symlink(at("victim"), &link).unwrap();
        symlink(place.path(), &way).unwrap();
        fs::mknodat(fs::CWD, &pipe, FileType::Fifo, 0o666.into(), 0).unwrap();
        for path in [&link, &way, &pipe] {
            lchown(path, Some(STRANGER), None).unwrap();
        }
        // Its own directory, and one where everybody may make something.
        for (owner, mode) in [(STRANGER, 0o755), (0, 0o1777)] {
            chown(at("dir"), Some(owner), None).unwrap();
            set_mode(&at("dir"), mode);
            let Err(error) = append(&pipe) else { panic!("a pipe") };
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert!(append(&link).is_err() && append(&way.join("victim")).is_err());
            assert!(Spot::of(&way.join("victim")).is_err());
        }
        let file = at("dir/file");
        std::fs::write(&file, "").unwrap();
        chown(&file, Some(STRANGER), None).unwrap();
        assert!(append(&file).is_err());
        set_mode(&at("dir"), 0o755);
        assert!(append(&file).is_ok(), "root has let it have that");
        assert_eq!(length(&at("victim")), 0);
    }

    #[test]
    fn a_pipe_of_our_own_without_a_reader_holds_up_nobody() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        fs::mknodat(fs::CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = append(&pipe).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NXIO.raw_os_error()));
    }
}
