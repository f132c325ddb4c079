//! A daemon that has finished its startup, with its source and target.

use std::{fs, path::PathBuf};

use super::{Sandbox, TestDaemon, TransferMode};

/// A live daemon with one sync.
#[derive(Debug)]
pub(crate) struct LiveMirror {
    pub(crate) mode: TransferMode,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    // Dropped in this order: the daemon exits before its directories are deleted.
    pub(crate) daemon: TestDaemon,
    pub(crate) sandbox: Sandbox,
}

impl LiveMirror {
    /// Starts a daemon with a small source and further arguments.
    #[track_caller]
    pub(crate) fn start_with(sandbox: Sandbox, mode: TransferMode, args: &[&str]) -> Self {
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        fs::create_dir_all(source.join("old/deep")).unwrap();
        fs::write(source.join("old/deep/file"), "old").unwrap();
        let daemon = sandbox.daemon().mirror(mode, &source, &target).args(args).start();
        daemon.wait_live();
        Self { mode, source, target, daemon, sandbox }
    }

    /// Starts a daemon with a small source.
    #[track_caller]
    pub(crate) fn start(mode: TransferMode) -> Self {
        Self::start_with(Sandbox::new(), mode, &[])
    }

    /// Waits until the target equals the source.
    #[track_caller]
    pub(crate) fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(self.mode, &self.source, &self.target);
    }

    /// Returns a path in the source.
    pub(crate) fn source_path(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
}
