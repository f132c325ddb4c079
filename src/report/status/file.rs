//! Status file.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::fchown},
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mirror_platform::own_files::{self, NameInDir};
use nix::errno::Errno;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, renameat, statat, unlinkat,
};

/// File that is replaced atomically, so that no reader sees a partial status.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    is_failing: bool,
}

impl StatusFile {
    /// Creates a handle for an absolute path. Nothing is written yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, is_failing: false }
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the temporary file that a status is written to before it is renamed.
    #[must_use]
    pub fn temp_path(&self) -> PathBuf {
        self.path.with_file_name(temp_name(self.path.file_name().unwrap_or_default()))
    }

    /// Writes a status.
    ///
    /// # Errors
    ///
    /// If it can't be written. The error has a message only the first time, until a write succeeds
    /// again.
    pub fn write(&mut self, text: &[u8]) -> Result<(), Option<String>> {
        let written = self.replace(text);
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        written.map_err(|error| (!was_failing).then(|| self.open_error(&error)))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let NameInDir { dir, name } = NameInDir::resolve(&self.path)?;
        let present = match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(present) if is_file(&present) => Some(present),
            // A link keeps its destination, and a device or a pipe is not replaced.
            Ok(_) => return self.overwrite(text),
            Err(_) => None,
        };
        let temp = temp_name(&name);
        let remove_temp = || {
            let _ = unlinkat(&dir, &temp, AtFlags::empty());
        };
        // Left behind by a process that was killed. In a directory where others may write, there
        // may be a link at the name.
        remove_temp();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let Ok(file) = openat(&dir, &temp, flags, Mode::from_raw_mode(0o666)) else {
            return self.overwrite(text);
        };
        if let Err(error) = write_new_file(file.into(), text, present.as_ref()) {
            // The previous status is better than half of a new one.
            remove_temp();
            return Err(error);
        }
        renameat(&dir, &temp, &dir, &name).or_else(|_| {
            // A file system may be mounted at the path.
            remove_temp();
            self.overwrite(text)
        })
    }

    /// Writes the status in place, where a temporary file can't be used.
    fn overwrite(&self, text: &[u8]) -> io::Result<()> {
        let mut file = own_files::open(&self.path, OFlags::WRONLY)?;
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        file.write_all(text)
    }

    /// Formats an error as the original does.
    fn open_error(&self, error: &io::Error) -> String {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let why = match error.raw_os_error() {
            Some(number) => Errno::from_raw(number).desc().to_owned(),
            None => error.to_string(),
        };
        format!("Cannot open status file \"{path}\" :{path}: {why}")
    }
}

/// Returns the name of the temporary file for a status of this name.
fn temp_name(name: &OsStr) -> OsString {
    OsStr::from_bytes(&[b".".as_slice(), name.as_bytes(), b".new"].concat()).to_owned()
}

fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Writes the text, and gives the new file the group and mode of the previous one where possible,
/// so that the same users can read it.
fn write_new_file(mut file: File, text: &[u8], before: Option<&Stat>) -> io::Result<()> {
    file.write_all(text)?;
    let new = fstat(&file)?;
    let Some(before) = before.filter(|before| before.st_uid == new.st_uid) else { return Ok(()) };
    if before.st_gid != new.st_gid && fchown(&file, None, Some(before.st_gid)).is_err() {
        return Ok(());
    }
    if before.st_mode & 0o777 != new.st_mode & 0o777 {
        fchmod(&file, Mode::from_raw_mode(before.st_mode & 0o777))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn readers_never_see_a_partial_status() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut status = StatusFile::new(path.clone());
        status.write(b"one").unwrap();
        let mut reader = File::open(&path).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "one");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["status"]);
    }

    #[test]
    fn the_mode_of_the_status_file_is_preserved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut status = StatusFile::new(path.clone());
        status.write(b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_link_at_the_status_path_is_followed_and_one_at_the_temp_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [real, link, victim] = ["real", "link", "victim"].map(|name| dir.path().join(name));
        symlink(&real, &link).unwrap();
        fs::write(&victim, "precious").unwrap();
        let mut status = StatusFile::new(link.clone());
        status.write(b"one").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"one");
        let mut status = StatusFile::new(real.clone());
        symlink(&victim, status.temp_path()).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"two");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_device_is_not_replaced_by_the_status() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // No process reads the pipe: that must not block.
        let told = StatusFile::new(path.clone()).write(b"one").unwrap_err().unwrap();
        assert!(told.starts_with("Cannot open status file \""), "{told}");
        assert!(!fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_status_error_is_reported_once_until_recovery() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/status");
        let mut status = StatusFile::new(path.clone());
        let shown = path.display();
        let why =
            format!("Cannot open status file \"{shown}\" :{shown}: No such file or directory");
        assert_eq!(status.write(b"one"), Err(Some(why.clone())));
        assert_eq!(status.write(b"one"), Err(None));
        fs::create_dir(dir.path().join("none")).unwrap();
        assert_eq!(status.write(b"one"), Ok(()));
        fs::remove_dir_all(dir.path().join("none")).unwrap();
        assert_eq!(status.write(b"one"), Err(Some(why)));
    }
}
