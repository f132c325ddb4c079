//! One connection for all syncs to one host.
//!
//! A login takes half a second and a line in the logs of the other side, and a batch comes every
//! second. So the first ssh to a host stays as a master (`ControlMaster` in `ssh_config(5)`), and
//! the others go through it. ssh itself does all of it: if the master is gone, the next one becomes
//! it, and if there can't be one, each has a connection of its own.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::OnceLock,
};

/// How long a master stays without work, in seconds.
const PERSIST: u32 = 600;

/// A host that says nothing for three times so many seconds is away.
const ALIVE: u32 = 15;

/// The longest directory for sockets: the name of one has 40 letters, ssh adds 17 while it makes
/// it, and the kernel takes 107 (`unix(7)`).
const LONGEST: usize = 107 - 17 - 40 - 1;

/// The connections of this process. They end when it is dropped.
#[derive(Debug, Default)]
pub struct Connections {
    /// Where the sockets are, made with the first sync that needs it. `None` if it can't be.
    directory: OnceLock<Option<PathBuf>>,
}

impl Connections {
    /// The words behind those of the user with which an ssh shares its connection. None if there
    /// is no place for sockets.
    #[must_use]
    pub fn words(&self) -> Vec<Vec<u8>> {
        let directory = self.directory.get_or_init(|| private_directory().ok());
        let Some(directory) = directory else { return Vec::new() };
        let options = [
            "ControlMaster=auto".to_owned(),
            format!("ControlPath={}/%C", directory.display()),
            format!("ControlPersist={PERSIST}"),
            format!("ServerAliveInterval={ALIVE}"),
        ];
        options.into_iter().flat_map(|option| [b"-o".to_vec(), option.into_bytes()]).collect()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let Some(Some(directory)) = self.directory.get() else { return };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            end_master(&entry.path());
        }
        // What is left is of no use to anybody.
        let _ = fs::remove_dir_all(directory);
    }
}

/// A directory that only we can enter, with a short name.
fn private_directory() -> io::Result<PathBuf> {
    let usual = env::temp_dir();
    let fits = usual.as_os_str().len() + "/lsyncd-4194304-99".len() <= LONGEST;
    let base = if fits { &usual } else { Path::new("/tmp") };
    // A name that is there already may be somebody else's.
    let names = (0..100).map(|number| base.join(format!("lsyncd-{}-{number}", process::id())));
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for name in names {
        match fs::DirBuilder::new().mode(0o700).create(&name) {
            Ok(()) => return Ok(name),
            Err(error) => last = error,
        }
        if last.kind() != io::ErrorKind::AlreadyExists {
            break;
        }
    }
    Err(last)
}

/// Asks the master behind a socket to end. One that is gone already can't be asked.
fn end_master(socket: &Path) {
    let mut path = std::ffi::OsString::from("ControlPath=");
    path.push(socket);
    // The name of the host is not looked at.
    let _ = Command::new("ssh")
        .args(["-F", "none", "-O", "exit", "-o"])
        .arg(path)
        .arg("host")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_sockets_are_in_a_directory_of_our_own_that_goes_with_us() {
        let connections = Connections::default();
        let words = connections.words();
        assert_eq!(connections.words(), words);
        let path = words.iter().find_map(|word| word.strip_prefix(b"ControlPath=")).unwrap();
        let directory = PathBuf::from(str::from_utf8(path).unwrap().strip_suffix("/%C").unwrap());
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(directory.as_os_str().len() <= LONGEST);
        let other = Connections::default();
        assert_ne!(other.words(), words);
        drop(connections);
        assert!(!directory.exists());
    }
}
