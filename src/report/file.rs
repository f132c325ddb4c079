//! The logfile.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mirror_platform::own;
use rustix::{fs::OFlags, io::Errno};

/// A file to which lines are appended.
///
/// Each line goes to the file that has the name at that moment, so that it can be renamed or
/// removed without telling the daemon, as with the original, which opens it for every line.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: (u64, u64),
    /// Whether it is a file, and no pipe or device.
    is_file: bool,
}

impl LogFile {
    /// The file at an absolute path. It is opened with the first line.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be used. A pipe can that nobody reads yet.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.current() {
            Err(error) if error.raw_os_error() != Some(Errno::NXIO.raw_os_error()) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Appends whole lines in one piece. A pipe takes what there is room for.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.current().and_then(|open| (&open.file).write_all(lines));
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// An own descriptor of the file, for a program that appends to it. `None` if it is no file: that
    /// does not wait for who reads it, and programs can't cope with that.
    pub(super) fn duplicate(&mut self) -> io::Result<Option<File>> {
        let open = self.current()?;
        if open.is_file { open.file.try_clone().map(Some) } else { Ok(None) }
    }

    /// The file that has the name now; it is made if there is none.
    fn current(&mut self) -> io::Result<&Open> {
        let now = fs::metadata(&self.path).map(|found| (found.dev(), found.ino())).ok();
        let open = match self.open.take() {
            Some(open) if now == Some(open.inode) => open,
            _ => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = own::open(path, OFlags::WRONLY | OFlags::APPEND)?;
        let found = file.metadata()?;
        Ok(Self { file, inode: (found.dev(), found.ino()), is_file: found.is_file() })
    }
}

/// The logfile can't be opened. Its text is the original's, which has no reason; ours has it where the
/// system has none.
#[derive(Debug)]
pub struct CannotOpen {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cannot open logfile [{}]!", Escaped(self.path.as_os_str().as_bytes()))?;
        match self.source.raw_os_error() {
            Some(_) => Ok(()),
            None => write!(f, " {}", self.source),
        }
    }
}

impl Error for CannotOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_the_file_that_has_the_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let renamed = place.path().join("log.1");
        let mut log = LogFile::new(path.clone());
        log.append(b"one\n").unwrap();
        log.append(b"two\n").unwrap();
        fs::rename(&path, &renamed).unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&renamed).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_file(&path).unwrap();
        log.append(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        // What `copytruncate` does.
        File::options().write(true).truncate(true).open(&path).unwrap();
        log.append(b"five\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "five\n");
    }

    #[test]
    fn a_file_that_is_there_is_appended_to() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        fs::write(&path, "before\n").unwrap();
        LogFile::new(path.clone()).append(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }

    #[test]
    fn a_directory_is_no_logfile() {
        let place = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(place.path().to_owned());
        assert!(log.append(b"line\n").is_err());
        assert!(log.check().is_err());
    }

    #[test]
    fn a_pipe_is_written_to_while_somebody_reads_it_and_waits_for_nobody() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let mut log = LogFile::new(path.clone());
        log.check().unwrap();
        assert!(log.append(b"nobody\n").is_err());
        let reader = rustix::fs::open(&path, OFlags::NONBLOCK, 0.into()).unwrap();
        log.append(b"line\n").unwrap();
        assert!(log.duplicate().unwrap().is_none());
        let mut read = [0; 64];
        assert_eq!(rustix::io::read(&reader, &mut read).unwrap(), 5);
        // More than it holds.
        let line = vec![b'x'; 1 << 16];
        assert!((0..100).any(|_| log.append(&line).is_err()));
    }

    #[test]
    fn a_link_that_others_may_have_put_there_is_told() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        symlink(place.path().join("victim"), &path).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let source = LogFile::new(path.clone()).check().unwrap_err();
        let said = CannotOpen { path, source }.to_string();
        assert!(said.contains("]! log is a link, and others may have put it there"), "{said}");
        assert!(!place.path().join("victim").exists());
    }
}
