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
use mirror_platform::own_files;
use rustix::{fs::OFlags, io::Errno};

use super::os_error_text;

/// File to which lines are appended.
///
/// Each line is written to the file that has the path at that moment, so that log rotation needs no
/// signal to the daemon. The original behaves the same, since it opens the file for every line.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    current: Option<OpenLogFile>,
}

#[derive(Debug)]
struct OpenLogFile {
    file: File,
    inode: (u64, u64),
    /// True for a regular file, false for a pipe or device.
    is_file: bool,
}

impl LogFile {
    /// Creates a log for an absolute path. The file is opened with the first line.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, current: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file can be opened. A pipe without a reader is accepted.
    pub(super) fn check_writable(&mut self) -> io::Result<()> {
        match self.open_current() {
            Err(error) if error.raw_os_error() != Some(Errno::NXIO.raw_os_error()) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Appends whole lines in one write. A pipe takes as much as fits.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.open_current().and_then(|open| (&open.file).write_all(lines));
        if written.is_err() {
            self.current = None;
        }
        written
    }

    /// Returns a separate descriptor of the file, for a program that appends to it. `None` for a
    /// pipe or device: its descriptor is non-blocking, which programs can't handle.
    pub(super) fn duplicate(&mut self) -> io::Result<Option<File>> {
        let open = self.open_current()?;
        if open.is_file { open.file.try_clone().map(Some) } else { Ok(None) }
    }

    /// Returns the file that has the path now, and creates it if necessary.
    fn open_current(&mut self) -> io::Result<&OpenLogFile> {
        let now = fs::metadata(&self.path).map(|found| (found.dev(), found.ino())).ok();
        let open = match self.current.take() {
            Some(open) if now == Some(open.inode) => open,
            _ => OpenLogFile::at(&self.path)?,
        };
        Ok(self.current.insert(open))
    }
}

impl OpenLogFile {
    fn at(path: &Path) -> io::Result<Self> {
        let file = own_files::open(path, OFlags::WRONLY | OFlags::APPEND)?;
        let found = file.metadata()?;
        Ok(Self { file, inode: (found.dev(), found.ino()), is_file: found.is_file() })
    }
}

/// Error of opening the logfile. The text is that of the original, whose users may look for it; the
/// [reason](Self::reason) is a line of its own.
#[derive(Debug)]
pub struct LogFileError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl fmt::Display for LogFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cannot open logfile [{}]!", Escaped(self.path.as_os_str().as_bytes()))
    }
}

impl LogFileError {
    /// Returns the reason, with the remedy.
    #[must_use]
    pub const fn reason(&self) -> OwnFileFailure<'_> {
        OwnFileFailure(&self.source)
    }
}

/// Describes why a file of the daemon can't be opened, and what to do.
#[derive(Debug)]
pub struct OwnFileFailure<'a>(pub &'a io::Error);

impl fmt::Display for OwnFileFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        let remedy = match Errno::from_io_error(error) {
            Some(Errno::NOENT) => ": create its directory",
            Some(Errno::ISDIR) => ": name a file",
            Some(Errno::ACCESS) => ": permit it to be written, or set another path",
            Some(Errno::ROFS) => ": remount it read-write, or set another path",
            _ => "",
        };
        write!(f, "{}{remedy}", os_error_text(error))
    }
}

impl Error for LogFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};

    #[test]
    fn each_line_is_written_to_the_file_at_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let renamed = dir.path().join("log.1");
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
        // As `copytruncate` of logrotate does.
        File::options().write(true).truncate(true).open(&path).unwrap();
        log.append(b"five\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "five\n");
    }

    #[test]
    fn an_existing_logfile_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "before\n").unwrap();
        LogFile::new(path.clone()).append(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }

    #[test]
    fn a_directory_is_refused_as_logfile() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(dir.path().to_owned());
        assert!(log.append(b"line\n").is_err());
        assert!(log.check_writable().is_err());
    }

    #[test]
    fn a_log_pipe_never_blocks_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let mut log = LogFile::new(path.clone());
        log.check_writable().unwrap();
        assert!(log.append(b"nobody\n").is_err());
        let reader = rustix::fs::open(&path, OFlags::NONBLOCK, 0.into()).unwrap();
        log.append(b"line\n").unwrap();
        assert!(log.duplicate().unwrap().is_none());
        let mut read = [0; 64];
        assert_eq!(rustix::io::read(&reader, &mut read).unwrap(), 5);
        // More than the pipe holds.
        let line = vec![b'x'; 1 << 16];
        assert!((0..100).any(|_| log.append(&line).is_err()));
    }

    #[test]
    fn an_untrusted_link_is_refused_as_logfile() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        symlink(dir.path().join("victim"), &path).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let source = LogFile::new(path.clone()).check_writable().unwrap_err();
        let text = LogFileError { path, source }.reason().to_string();
        let start = "log is a symbolic link, and another user could have created it";
        assert!(text.starts_with(start), "{text}");
        assert!(!dir.path().join("victim").exists());
    }
}
