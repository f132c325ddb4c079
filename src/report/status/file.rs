//! The file that holds the last status.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mirror_platform::own::{self, Spot};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, renameat, statat, unlinkat};

/// A file that is replaced as a whole, so that no reader sees half of it.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    fails: bool,
}

impl StatusFile {
    /// The file at an absolute path. Nothing is written yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, fails: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next status is before it gets its name.
    #[must_use]
    pub fn draft(&self) -> PathBuf {
        self.path.with_file_name(draft(self.path.file_name().unwrap_or_default()))
    }

    /// Writes a status.
    ///
    /// # Errors
    ///
    /// If it can't be written. What is to be told comes only the first time, until it can again.
    pub fn write(&mut self, text: &[u8]) -> Result<(), Option<String>> {
        let written = self.replace(text);
        let was_failing = std::mem::replace(&mut self.fails, written.is_err());
        written.map_err(|error| (!was_failing).then(|| self.cannot_open(&error)))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let Spot { dir, name } = Spot::of(&self.path)?;
        let present = match statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(present) if is_file(&present) => Some(present),
            // What a link leads to keeps its place, and so does a device or a pipe.
            Ok(_) => return self.overwrite(text),
            Err(_) => None,
        };
        let draft = draft(&name);
        let remove_draft = || {
            let _ = unlinkat(&dir, &draft, AtFlags::empty());
        };
        // What a process left behind that was killed. In a directory where others may write, somebody
        // may have put a link at the name.
        remove_draft();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let Ok(file) = openat(&dir, &draft, flags, Mode::from_raw_mode(0o666)) else {
            return self.overwrite(text);
        };
        if let Err(error) = fill(file.into(), text, present.as_ref()) {
            // The one before is better than half of a new one.
            remove_draft();
            return Err(error);
        }
        renameat(&dir, &draft, &dir, &name).or_else(|_| {
            // Another file system may be mounted at its name.
            remove_draft();
            self.overwrite(text)
        })
    }

    /// Writes it in place, where there can be no draft.
    fn overwrite(&self, text: &[u8]) -> io::Result<()> {
        let mut file = own::open(&self.path, OFlags::WRONLY)?;
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        file.write_all(text)
    }

    /// In the words of the original.
    fn cannot_open(&self, error: &io::Error) -> String {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let why = match error.raw_os_error() {
            Some(number) => Errno::from_raw(number).desc().to_owned(),
            None => error.to_string(),
        };
        format!("Cannot open status file \"{path}\" :{path}: {why}")
    }
}

/// The name of the next status before it gets this one.
fn draft(name: &OsStr) -> OsString {
    OsStr::from_bytes(&[b".".as_slice(), name.as_bytes(), b".new"].concat()).to_owned()
}

fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Writes the text. Who may read the file before it may read the new one.
fn fill(mut file: File, text: &[u8], before: Option<&Stat>) -> io::Result<()> {
    file.write_all(text)?;
    let new = file.metadata()?;
    let Some(before) = before.filter(|before| before.st_uid == new.uid()) else { return Ok(()) };
    let mode = before.st_mode & 0o777;
    if before.st_gid != new.gid() && fchown(&file, None, Some(before.st_gid)).is_err() {
        return Ok(());
    }
    if mode != new.mode() & 0o777 {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_reader_sees_the_whole_of_the_one_or_the_other() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("status");
        let mut status = StatusFile::new(path.clone());
        status.write(b"one").unwrap();
        let mut reader = File::open(&path).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "one");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(place.path()), ["status"]);
    }

    #[test]
    fn a_mode_that_was_given_to_it_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("status");
        let mut status = StatusFile::new(path.clone());
        status.write(b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_link_at_the_name_is_followed_and_one_at_the_draft_is_not() {
        let place = tempfile::tempdir().unwrap();
        let [real, link, victim] = ["real", "link", "victim"].map(|name| place.path().join(name));
        symlink(&real, &link).unwrap();
        fs::write(&victim, "precious").unwrap();
        let mut status = StatusFile::new(link.clone());
        status.write(b"one").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"one");
        let mut status = StatusFile::new(real.clone());
        symlink(&victim, status.draft()).unwrap();
        status.write(b"two").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"two");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_device_stays_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        // Nobody reads: that must not block.
        let told = StatusFile::new(path.clone()).write(b"one").unwrap_err().unwrap();
        assert!(told.starts_with("Cannot open status file \""), "{told}");
        assert!(!fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn trouble_is_told_once_until_it_is_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("none/status");
        let mut status = StatusFile::new(path.clone());
        let shown = path.display();
        let why =
            format!("Cannot open status file \"{shown}\" :{shown}: No such file or directory");
        assert_eq!(status.write(b"one"), Err(Some(why.clone())));
        assert_eq!(status.write(b"one"), Err(None));
        fs::create_dir(place.path().join("none")).unwrap();
        assert_eq!(status.write(b"one"), Ok(()));
        fs::remove_dir_all(place.path().join("none")).unwrap();
        assert_eq!(status.write(b"one"), Err(Some(why)));
    }
}
