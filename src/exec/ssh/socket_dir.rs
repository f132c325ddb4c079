//! Directory of the sockets of shared connections.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    process::{Pid, geteuid, test_kill_process},
};

use super::mux;

/// Longest path of the directory: a socket's name has up to 20 digits, ssh appends 17 letters while
/// it creates the socket, and the kernel accepts 107 bytes (`unix(7)`), that of macOS 103.
pub(super) const MAX_DIR_LEN: usize = 103 - 17 - 20 - 1;

/// Prefix of a directory's name; a process id and another number follow.
const PREFIX: &str = "lsyncd-";

/// Timeout of a reply from a connection that a dead process has left behind.
const MUX_TIMEOUT: Duration = Duration::from_millis(100);

/// A directory with mode 0700 and a short name. Dropping this removes it.
#[derive(Debug)]
pub(super) struct SocketDir {
    path: PathBuf,
    /// Locked during the life of this process. The lock tells other processes that it is alive,
    /// also across PID namespaces.
    _lock: OwnedFd,
}

impl SocketDir {
    /// Creates a directory in the first suitable location, and removes those that dead processes
    /// have left there.
    ///
    /// # Errors
    ///
    /// If no location is suitable: the error of the last one.
    pub(super) fn new() -> io::Result<Self> {
        let bases = candidate_dirs(|name| env::var_os(name).map(|value| value.as_bytes().to_vec()));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for base in bases {
            remove_stale(&base);
            match Self::below(&base) {
                Ok(sockets) => return Ok(sockets),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn below(base: &Path) -> io::Result<Self> {
        // An existing name may belong to another user.
        let names = (0..100).map(|number| base.join(format!("{PREFIX}{}-{number}", process::id())));
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for path in names {
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return lock(&path).map(|lock| Self { path, _lock: lock }),
                Err(error) => last = error,
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        Err(last)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        // Leftovers are useless to anybody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Returns true if `directory` is accessible to its owner only, and the owner is this user.
pub(super) fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o777 == 0o700
    })
}

/// Returns the candidate locations in order of preference: the runtime directory of a service, that
/// of a logged-in user, and the directories of temporary files.
fn candidate_dirs(variable: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<PathBuf> {
    let named = |name| {
        let value = variable(name).unwrap_or_default();
        let first = value.split(|&byte| byte == b':').next().unwrap_or_default();
        PathBuf::from(OsStr::from_bytes(first))
    };
    let all = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR"].map(named).into_iter();
    let fits = |base: &PathBuf| {
        base.is_absolute() && base.as_os_str().len() + "/lsyncd-4194304-99".len() <= MAX_DIR_LEN
    };
    let all = all.chain([PathBuf::from("/tmp")]).filter(fits).filter(|base| base.is_dir());
    let mut bases: Vec<PathBuf> = all.collect();
    bases.dedup();
    bases
}

fn lock(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty())?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Removes the directories of processes that were killed, and terminates the connections in them.
fn remove_stale(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_of_dead_process(&entry.file_name()) || !is_private(&path) {
            continue;
        }
        let Ok(_lock) = lock(&path) else { continue };
        for socket in fs::read_dir(&path).into_iter().flatten().flatten() {
            mux::terminate(&socket.path(), MUX_TIMEOUT);
        }
        let _ = fs::remove_dir_all(&path);
    }
}

/// Returns true if this is the name of a directory of a process that no longer exists.
fn is_of_dead_process(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
    numbers.is_some_and(|(process, number)| {
        let process = process.parse().ok().and_then(Pid::from_raw);
        process.filter(|_| number.parse::<u32>().is_ok()).is_some_and(|process| {
            // A process of another user can't be sent a signal, but exists.
            test_kill_process(process) == Err(Errno::SRCH)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    #[test]
    fn the_runtime_directory_is_preferred_if_its_path_is_short_enough() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (service, user, long) = (at("service"), at("user"), at(&"x".repeat(60)));
        let bases_of = |service: &Path, user: &Path| {
            let variable = |name: &str| match name {
                "RUNTIME_DIRECTORY" => Some([service.as_os_str().as_bytes(), b":/other"].concat()),
                "XDG_RUNTIME_DIR" => Some(user.as_os_str().as_bytes().to_vec()),
                _ => None,
            };
            candidate_dirs(variable)
        };
        let tmp = PathBuf::from("/tmp");
        assert_eq!(bases_of(&service, &user), [service.clone(), user.clone(), tmp.clone()]);
        assert_eq!(bases_of(&long, &user), [user.clone(), tmp.clone()]);
        assert_eq!(bases_of(Path::new("relative"), Path::new("/nonexistent")), [tmp]);
    }

    #[test]
    fn only_directories_of_dead_processes_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        // Greater than any process id.
        let names = [
            "lsyncd-99999999-0",
            "lsyncd-99999998-0",
            "lsyncd-99999997-1",
            "lsyncd-x-0",
            "lsyncd-1-0",
        ];
        for name in names {
            fs::DirBuilder::new().mode(0o700).create(at(name)).unwrap();
        }
        let _socket = UnixListener::bind(at(names[0]).join("0")).unwrap();
        let _alive_elsewhere = lock(&at(names[1])).unwrap();
        fs::set_permissions(at(names[2]), fs::Permissions::from_mode(0o755)).unwrap();
        remove_stale(place.path());
        assert_eq!(names.map(|name| at(name).exists()), [false, true, true, true, true]);
        let sockets = SocketDir::below(place.path()).unwrap();
        let path = sockets.path().to_owned();
        assert!(is_private(&path) && lock(&path).is_err());
        drop(sockets);
        assert!(!path.exists());
    }
}
