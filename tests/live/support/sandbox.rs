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

use super::{daemon::Start, needs};

/// A temporary directory with everything that one test touches.
///
/// **Invariants.** A daemon is only given sources and targets that [`Sandbox::check`] has seen:
/// a mirror deletes what its source does not have, so a wrong target would cost the machine.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: TempDir,
    files_made: Cell<u32>,
}

impl Sandbox {
    /// A sandbox in the usual place for temporary files.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// A sandbox on a file system that fanotify can watch.
    pub(crate) fn for_fanotify() -> Self {
        Self::below(&needs::fanotify_base().expect("the test asked for fanotify"))
    }

    fn below(base: &Path) -> Self {
        let base = fs::canonicalize(base).unwrap();
        let directory = tempfile::Builder::new().prefix("live-").tempdir_in(base).unwrap();
        // Some tests run the daemon as another user, who has to get in.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self { directory, files_made: Cell::new(0) }
    }

    /// The directory itself, which is neither a source nor a target.
    pub(crate) fn top(&self) -> &Path {
        self.directory.path()
    }

    /// The path `name` in the sandbox, whatever is there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        self.check(&path);
        path
    }

    /// A new directory in the sandbox.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes the configuration file of this test. In it `@` stands for the sandbox; other absolute
    /// paths are not allowed, since they could be targets.
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
    /// By another process: what this one has open for writing, a child that some other test starts
    /// meanwhile keeps open for a moment, and nobody can run it.
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

    /// A path that was not given out before.
    pub(crate) fn fresh_path(&self, stem: &str) -> PathBuf {
        let number = self.files_made.get();
        self.files_made.set(number + 1);
        self.path(&format!("{stem}-{number}"))
    }

    /// Fails the test unless `path` is safely inside: absolute, below the sandbox, without `..`.
    #[track_caller]
    pub(crate) fn check(&self, path: &Path) {
        let inside = path.is_absolute()
            && path != self.directory.path()
            && path.starts_with(self.directory.path())
            && !path.components().any(|part| part == Component::ParentDir);
        assert!(inside, "{} is not inside of the sandbox", path.display());
    }

    /// A daemon to be started.
    pub(crate) fn daemon(&self) -> Start<'_> {
        Start::new(self)
    }
}
