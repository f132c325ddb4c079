//! The pidfile, which keeps a second daemon out.

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

use mirror_platform::{lock::lock_whole_file, own};
use rustix::fs::OFlags;

use super::shown;

/// A locked file, to hold the number of this process. It is removed when dropped, unless another file
/// has its name by then.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    file: File,
}

/// Why there is no pidfile. The texts are the original's, which has no reason; ours has it where the
/// system has none.
#[derive(Debug)]
pub struct PidfileError {
    path: PathBuf,
    step: Step,
    source: io::Error,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Lock,
    Write,
}

impl Pidfile {
    /// Makes the file at an absolute path, or takes over one that nobody holds.
    ///
    /// # Errors
    ///
    /// If it can't be opened, or another daemon holds it.
    pub fn create(path: &Path) -> Result<Self, PidfileError> {
        let failed = |step| move |source| PidfileError { path: path.to_owned(), step, source };
        let file = loop {
            let file = own::open(path, OFlags::RDWR).map_err(failed(Step::Create))?;
            lock_whole_file(&file).map_err(failed(Step::Lock))?;
            // Who held it may have removed it between the two steps.
            if has_name(&file, path) {
                break file;
            }
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the number of this process, which holds the lock also if the one that made the file was
    /// its parent.
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
            step: Step::Write,
            source,
        })
    }

    /// Returns false for a device such as `/dev/null`, which is not ours to empty or to remove.
    fn is_regular(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.is_file())
    }

    /// Leaves it to a child of this process, which has it, too.
    pub fn leave(self) {
        mem::forget(self);
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // RACE: a file that gets the name between the two steps is removed. Whoever locked it
        // would run on without a pidfile.
        if self.is_regular() && has_name(&self.file, &self.path) {
            // What can't be removed is not locked any more, and will be taken over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `file` is what stands at `path`.
fn has_name(file: &File, path: &Path) -> bool {
    let identity = |found: Metadata| (found.dev(), found.ino());
    match (file.metadata().map(identity), fs::metadata(path).map(identity)) {
        (Ok(held), Ok(named)) => held == named,
        _ => false,
    }
}

impl fmt::Display for PidfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Create => "create",
            Step::Lock => "lock",
            Step::Write => "write",
        };
        write!(f, "Cannot {step} pidfile; '{}'", shown(&self.path))?;
        match self.source.raw_os_error() {
            Some(_) => Ok(()),
            None => write!(f, ", {}", self.source),
        }
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
    fn what_is_no_regular_file_is_not_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        drop(written(&path));
        assert!(path.exists());
    }

    #[test]
    fn it_holds_the_number_and_goes_with_its_owner() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        let pidfile = written(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o666, 0);
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_owner_is_kept_out_and_breaks_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        let first = written(&path);
        let error = Pidfile::create(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("Cannot lock pidfile; '{}'", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
        drop(first);
        Pidfile::create(&path).unwrap();
    }

    #[test]
    fn a_file_that_was_left_behind_is_taken_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        fs::write(&path, "12345678901234567890\nmore\n").unwrap();
        let _pidfile = written(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), own_line());
    }

    #[test]
    fn the_file_of_another_is_not_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        let pidfile = Pidfile::create(&path).unwrap();
        fs::rename(&path, place.path().join("away")).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_place_that_is_not_there_is_told() {
        let error = Pidfile::create(Path::new("/nonexistent/pid")).unwrap_err();
        assert_eq!(error.to_string(), "Cannot create pidfile; '/nonexistent/pid'");
    }
}
