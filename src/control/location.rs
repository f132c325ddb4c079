//! Paths of the sockets: those that a daemon creates, and those that a client looks for.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Suffix of a control socket.
const SUFFIX: &str = "sock";

/// Suffix of a read-only socket.
const READ_ONLY_SUFFIX: &str = "status.sock";

/// Environment variable with the socket of the daemon that a client talks to.
pub const SOCKET_VARIABLE: &str = "LSYNCD_SOCKET";

/// Directories in which a client looks for sockets if it has no runtime directory of its own.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/run", "/run/lsyncd"];

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

/// The directories in which [`find_sockets`] looks.
#[must_use]
pub fn search_directories(user_directory: Option<&Path>) -> Vec<PathBuf> {
    let user = user_directory.filter(|it| it.is_absolute()).map(|it| it.join("lsyncd"));
    SYSTEM_DIRECTORIES.iter().map(PathBuf::from).chain(user).collect()
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

fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_control = |name: String| name.ends_with(SUFFIX) && !name.ends_with(READ_ONLY_SUFFIX);
        // In a directory that is not ours, only what bears our name.
        let is_named = directory.ends_with("lsyncd")
            || path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("lsyncd"));
        is_named && name.is_some_and(is_control)
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if is_ours(&path) {
            paths.push(path);
        } else if directory.ends_with("lsyncd") && path.is_dir() {
            // The instances of a template unit have a directory each.
            paths.extend(sockets_in_instance(&path));
        }
    }
    Ok(paths)
}

fn sockets_in_instance(directory: &Path) -> Option<PathBuf> {
    let socket = directory.join("lsyncd").with_extension(SUFFIX);
    socket.exists().then_some(socket)
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
        assert_eq!(read_only_socket(&control), Path::new("/run/x/lsyncd.status.sock"));
        let relative = SocketHints { user_directory: Some("run".into()), ..hints };
        assert_eq!(relative.control_socket(), None);
    }

    #[test]
    fn sockets_of_a_user_and_of_instances_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("lsyncd");
        fs::create_dir_all(ours.join("web")).unwrap();
        for name in ["7.sock", "7.status.sock", "other", "web/lsyncd.sock"] {
            fs::write(ours.join(name), "").unwrap();
        }
        let found = find_sockets(Some(dir.path()));
        let found: Vec<_> = found.iter().filter_map(|it| it.strip_prefix(&ours).ok()).collect();
        assert_eq!(found, [Path::new("7.sock"), Path::new("web/lsyncd.sock")]);
    }
}
