//! Paths of the sockets: those that a daemon creates, and those that a client looks for.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use mirror_platform::places::RUNTIME_DIRECTORY;

/// Suffix of a control socket.
const SUFFIX: &str = "sock";

/// Suffix of a read-only socket.
const READ_ONLY_SUFFIX: &str = "status.sock";

/// Environment variable with the socket of the daemon that a client talks to.
pub const SOCKET_VARIABLE: &str = "LSYNCD_SOCKET";

/// Paths and environment that determine the default socket of a daemon.
#[derive(Clone, Debug, Default)]
pub struct SocketHints {
    /// `$RUNTIME_DIRECTORY`, by systemd: the first of its directories is used.
    pub runtime_directory: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`: the runtime directory of a user.
    pub user_directory: Option<OsString>,
    /// The pidfile.
    pub pidfile: Option<PathBuf>,
    /// Process id.
    pub pid: u32,
}

impl SocketHints {
    /// The default path of the control socket: in the runtime directory of the service, beside the
    /// pidfile, or in the runtime directory of the user. `None` if there is none of these.
    #[must_use]
    pub fn control_socket(&self) -> Option<PathBuf> {
        if let Some(directories) = self.runtime_directory.as_ref().and_then(|it| it.to_str()) {
            let first = directories.split(':').next().filter(|first| first.starts_with('/'));
            if let Some(first) = first {
                return Some(Path::new(first).join("lsyncd").with_extension(SUFFIX));
            }
        }
        if let Some(pidfile) = &self.pidfile {
            return Some(pidfile.with_extension(SUFFIX));
        }
        let user = self.user_directory.as_ref().map(Path::new).filter(|it| it.is_absolute())?;
        Some(user.join("lsyncd").join(format!("{}.{SUFFIX}", self.pid)))
    }
}

/// The read-only socket that belongs to a control socket.
#[must_use]
pub fn read_only_socket(control: &Path) -> PathBuf {
    control.with_extension(READ_ONLY_SUFFIX)
}

/// The control socket that belongs to a read-only one. `None`: it is none by its name.
#[must_use]
pub fn control_socket_of(read_only: &Path) -> Option<PathBuf> {
    let name = read_only.file_name()?.to_str()?.strip_suffix(READ_ONLY_SUFFIX)?;
    Some(read_only.with_file_name(format!("{name}{SUFFIX}")))
}

/// The runtime directories in which [`find_sockets`] looks for sockets and directories of ours.
#[must_use]
pub fn search_directories(user_directory: Option<&Path>) -> Vec<PathBuf> {
    let user = user_directory.filter(|it| it.is_absolute()).map(Path::to_owned);
    [PathBuf::from(RUNTIME_DIRECTORY)].into_iter().chain(user).collect()
}

/// Finds the sockets at the default places, for a client without `--socket`. Some may be left over
/// from daemons that died.
#[must_use]
pub fn find_sockets(user_directory: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in search_directories(user_directory) {
        // A directory that is missing or private has no socket for us.
        found.extend(sockets_in(&directory).unwrap_or_default());
    }
    found.sort();
    found
}

/// Returns our sockets in a runtime directory, and in our directories there: each instance of a
/// template unit has one.
fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(directory)?.into_iter().filter(|path| name_of(path).starts_with("lsyncd")) {
        if path.is_dir() {
            let sockets = entries(&path).unwrap_or_default();
            found.extend(sockets.into_iter().filter(|path| is_control_socket(path)));
        } else if is_control_socket(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

fn is_control_socket(path: &Path) -> bool {
    let name = name_of(path);
    name.ends_with(&format!(".{SUFFIX}")) && !name.ends_with(READ_ONLY_SUFFIX)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_socket_is_in_the_nearest_runtime_directory() {
        let hints = SocketHints { pid: 7, ..SocketHints::default() };
        assert_eq!(hints.control_socket(), None);
        let user = SocketHints { user_directory: Some("/run/user/1".into()), ..hints.clone() };
        assert_eq!(user.control_socket().unwrap(), Path::new("/run/user/1/lsyncd/7.sock"));
        let pidfile = SocketHints { pidfile: Some("/run/a.pid".into()), ..user.clone() };
        assert_eq!(pidfile.control_socket().unwrap(), Path::new("/run/a.sock"));
        let service = SocketHints { runtime_directory: Some("/run/x:/run/y".into()), ..pidfile };
        let control = service.control_socket().unwrap();
        assert_eq!(control, Path::new("/run/x/lsyncd.sock"));
        let read_only = read_only_socket(&control);
        assert_eq!(read_only, Path::new("/run/x/lsyncd.status.sock"));
        assert_eq!(control_socket_of(&read_only).unwrap(), control);
        assert_eq!(control_socket_of(&control), None);
        let relative = SocketHints { user_directory: Some("run".into()), ..hints };
        assert_eq!(relative.control_socket(), None);
    }

    #[test]
    fn sockets_of_a_user_and_of_instances_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let ours = ["lsyncd", "lsyncd-web", "other"];
        for name in ours {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in [
            "lsyncd/7.sock",
            "lsyncd/7.status.sock",
            "lsyncd/other",
            "lsyncd-web/lsyncd.sock",
            "other/lsyncd.sock",
            "lsyncd.sock",
            "sshd.sock",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = sockets_in(dir.path()).unwrap();
        let mut found: Vec<_> =
            found.iter().filter_map(|it| it.strip_prefix(dir.path()).ok()?.to_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["lsyncd-web/lsyncd.sock", "lsyncd.sock", "lsyncd/7.sock"]);
    }
}
