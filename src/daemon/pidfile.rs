//! The pidfile, which prevents a second daemon from starting.

use std::{
    error::Error,
    fmt,
    fs::{self, File, Metadata},
    io::{self, Write},
    mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use mirror_platform::{lock::lock_whole_file, own_files};
use rustix::fs::OFlags;

use super::display_path;
use crate::report::OwnFileFailure;

/// Locked pidfile with the PID of this process. It is removed on drop, unless another file has
/// taken over its path.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    file: File,
}

/// Error of creating or writing the pidfile. The texts begin as those of the original, which give
/// no reason.
#[derive(Debug)]
pub struct PidfileError {
    path: PathBuf,
    step: PidfileStep,
    source: io::Error,
}

/// Step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PidfileStep {
    Create,
    Lock,
    Write,
}

impl Pidfile {
    /// Creates the file at an absolute path, or takes over one that no process has locked.
    ///
    /// # Errors
    ///
    /// If it can't be opened, or another daemon holds the lock.
    pub fn create(path: &Path) -> Result<Self, PidfileError> {
        let failed = |step| move |source| PidfileError { path: path.to_owned(), step, source };
        let file = loop {
            let file = own_files::open(path, OFlags::RDWR).map_err(failed(PidfileStep::Create))?;
            lock_whole_file(&file).map_err(failed(PidfileStep::Lock))?;
            // The previous owner may have removed the file between the two steps.
            if is_at_path(&file, path) {
                break file;
            }
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the PID of this process, which holds the lock even if its parent created the file.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&mut self) -> Result<(), PidfileError> {
        let number = format!("{}\n", process::id());
        let emptied = if self.is_regular() { self.file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| self.file.write_all(number.as_bytes()));
        written.map_err(|source| PidfileError {
            path: self.path.clone(),
            step: PidfileStep::Write,
            source,
        })
    }

    /// Returns false for a device such as `/dev/null`, which must not be truncated or removed.
    fn is_regular(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.is_file())
    }

    /// Leaves the file to the child process, which shares its descriptor.
    pub fn leave_to_child(self) {
        mem::forget(self);
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // RACE: a file that is moved to the path between the two steps is removed, and the process
        // that locked it continues without a pidfile.
        if self.is_regular() && is_at_path(&self.file, &self.path) {
            // A file that can't be removed is no longer locked, and the next daemon takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns true if `path` still refers to `file`.
fn is_at_path(file: &File, path: &Path) -> bool {
    let identity = |found: Metadata| (found.dev(), found.ino());
    match (file.metadata().map(identity), fs::metadata(path).map(identity)) {
        (Ok(held), Ok(named)) => held == named,
        _ => false,
    }
}

impl fmt::Display for PidfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            PidfileStep::Create => "create",
            PidfileStep::Lock => "lock",
            PidfileStep::Write => "write",
        };
        write!(f, "Cannot {step} pidfile; '{}'", display_path(&self.path))?;
        if self.step == PidfileStep::Lock && self.source.kind() == io::ErrorKind::WouldBlock {
            return write!(f, ", another daemon holds it: stop that, or set another pidfile");
        }
        write!(f, ", {}", OwnFileFailure(&self.source))
    }
}

impl Error for PidfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::os::unix::fs::PermissionsExt;

    fn written(path: &Path) -> Pidfile {
        let mut pidfile = Pidfile::create(path).unwrap();
        pidfile.write().unwrap();
        pidfile
    }

    fn own_line() -> String {
        format!("{}\n", process::id())
    }

    #[test]
    fn a_non_regular_pidfile_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        drop(written(&path));
        assert!(path.exists());
    }

    #[test]
    fn pidfile_holds_the_pid_and_is_removed_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let pidfile = written(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o666, 0);
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_daemon_cannot_lock_the_pidfile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let first = written(&path);
        let error = Pidfile::create(&path).unwrap_err();
        let text = format!(
            "Cannot lock pidfile; '{}', another daemon holds it: stop that, or set another pidfile",
            path.display()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
        drop(first);
        Pidfile::create(&path).unwrap();
    }

    #[test]
    fn a_stale_pidfile_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "12345678901234567890\nmore\n").unwrap();
        let _pidfile = written(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
    }

    #[test]
    fn a_replaced_pidfile_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let pidfile = Pidfile::create(&path).unwrap();
        fs::rename(&path, dir.path().join("away")).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_missing_pidfile_directory_is_reported() {
        let error = Pidfile::create(Path::new("/nonexistent/pid")).unwrap_err();
        let text = "Cannot create pidfile; '/nonexistent/pid', No such file or directory: create \
                    its directory";
        assert_eq!(error.to_string(), text);
    }
}
