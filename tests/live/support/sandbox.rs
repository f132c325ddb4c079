//! The directories of one test.

use std::{
    cell::Cell,
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{daemon::DaemonBuilder, needs};

/// A temporary directory with all files of one test.
///
/// **Invariants.** A daemon gets only sources and targets that [`Sandbox::check`] has verified: a
/// mirror deletes everything that its source lacks, so a wrong target could delete the whole
/// machine.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: TempDir,
    path_count: Cell<u32>,
}

impl Sandbox {
    /// Creates a sandbox in the default directory for temporary files.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Creates a sandbox on a file system that fanotify can watch.
    pub(crate) fn for_fanotify() -> Self {
        Self::below(&needs::fanotify_base().expect("the test asked for fanotify"))
    }

    fn below(base: &Path) -> Self {
        let base = fs::canonicalize(base).unwrap();
        let directory = tempfile::Builder::new().prefix("live-").tempdir_in(base).unwrap();
        // Some tests run the daemon as another user, who needs access.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self { directory, path_count: Cell::new(0) }
    }

    /// Returns the directory itself, which must be neither a source nor a target.
    pub(crate) fn top(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path `name` in the sandbox, whether it exists or not.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        self.check(&path);
        path
    }

    /// Creates a directory in the sandbox.
    pub(crate) fn create_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes the configuration file of this test. `@` stands for the sandbox; other absolute paths
    /// are rejected, because they could be targets.
    #[track_caller]
    pub(crate) fn write_config(&self, text: &str) -> PathBuf {
        assert!(!text.contains("\"/") && !text.contains("'/"), "paths begin with @: {text}");
        assert!(!text.contains("@/.."), "paths stay in the sandbox: {text}");
        let path = self.path("conf.lua");
        let text = text.replace('@', self.directory.path().to_str().unwrap());
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a program, a text that begins with `#!`.
    ///
    /// Written by another process: a child of another test could inherit a descriptor that is open
    /// for writing, and a program that is open for writing cannot be run.
    #[track_caller]
    pub(crate) fn write_program(&self, path: &Path, text: &[u8]) {
        self.check(path);
        let write = "cat > \"$1\" && chmod 755 \"$1\"";
        let shell =
            Command::new("sh").args(["-c", write, "sh"]).arg(path).stdin(Stdio::piped()).spawn();
        let mut shell = shell.unwrap();
        shell.stdin.take().unwrap().write_all(text).unwrap();
        let written = shell.wait().unwrap();
        assert!(written.success(), "{} can't be written", path.display());
    }

    /// Returns a path that was not returned before.
    pub(crate) fn fresh_path(&self, stem: &str) -> PathBuf {
        let number = self.path_count.get();
        self.path_count.set(number + 1);
        self.path(&format!("{stem}-{number}"))
    }

    /// Fails the test unless `path` is absolute, below the sandbox, and without `..`.
    #[track_caller]
    pub(crate) fn check(&self, path: &Path) {
        let inside = path.is_absolute()
            && path != self.directory.path()
            && path.starts_with(self.directory.path())
            && !path.components().any(|part| part == Component::ParentDir);
        assert!(inside, "{} is not inside of the sandbox", path.display());
    }

    /// Returns a builder of a daemon.
    pub(crate) fn daemon(&self) -> DaemonBuilder<'_> {
        DaemonBuilder::new(self)
    }
}
