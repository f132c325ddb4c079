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
}

impl LogFile {
    /// The file at an absolute path. It is opened with the first line.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a whole line in one piece.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let written = self.current().and_then(|mut file| file.write_all(line.as_bytes()));
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// An own descriptor of the file, for a program that appends to it.
    pub(super) fn duplicate(&mut self) -> io::Result<File> {
        self.current().and_then(File::try_clone)
    }

    /// The file that has the name now; it is made if there is none.
    fn current(&mut self) -> io::Result<&File> {
        let now = fs::metadata(&self.path).map(|found| (found.dev(), found.ino())).ok();
        let open = match self.open.take() {
            Some(open) if now == Some(open.inode) => open,
            _ => Open::at(&self.path)?,
        };
        Ok(&self.open.insert(open).file)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        // The mode of a new file is 0666 less the umask, as the original's.
        let file = File::options().append(true).create(true).open(path)?;
        let found = file.metadata()?;
        Ok(Self { file, inode: (found.dev(), found.ino()) })
    }
}

/// The logfile can't be opened. Its text is the original's.
#[derive(Debug)]
pub struct CannotOpen {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cannot open logfile [{}]!", Escaped(self.path.as_os_str().as_bytes()))
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
        log.append("one\n").unwrap();
        log.append("two\n").unwrap();
        fs::rename(&path, &renamed).unwrap();
        log.append("three\n").unwrap();
        assert_eq!(fs::read_to_string(&renamed).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_file(&path).unwrap();
        log.append("four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        // What `copytruncate` does.
        File::options().write(true).truncate(true).open(&path).unwrap();
        log.append("five\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "five\n");
    }

    #[test]
    fn a_file_that_is_there_is_appended_to() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        fs::write(&path, "before\n").unwrap();
        LogFile::new(path.clone()).append("after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }

    #[test]
    fn a_directory_is_no_logfile() {
        let place = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(place.path().to_owned());
        assert!(log.append("line\n").is_err());
        assert!(log.duplicate().is_err());
    }
}
