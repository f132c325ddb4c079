//! A daemon that has finished its startup, with its two trees.

use std::{fs, path::PathBuf};

use super::{Daemon, Mode, Sandbox};

/// A daemon that is live, and what it mirrors.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) mode: Mode,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    // Dropped in this order: the daemon ends before its directories go.
    pub(crate) daemon: Daemon,
    pub(crate) sandbox: Sandbox,
}

impl Live {
    /// Starts a daemon on a small tree, with `words` on its command line.
    #[track_caller]
    pub(crate) fn start_with(sandbox: Sandbox, mode: Mode, words: &[&str]) -> Self {
        let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
        fs::create_dir_all(source.join("old/deep")).unwrap();
        fs::write(source.join("old/deep/file"), "old").unwrap();
        let daemon = sandbox.daemon().mirror(mode, &source, &target).with(words).start();
        daemon.wait_live();
        Self { mode, source, target, daemon, sandbox }
    }

    /// Starts a daemon on a small tree.
    #[track_caller]
    pub(crate) fn start(mode: Mode) -> Self {
        Self::start_with(Sandbox::new(), mode, &[])
    }

    /// Waits until the target equals the source.
    #[track_caller]
    pub(crate) fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(self.mode, &self.source, &self.target);
    }

    /// A path in the source.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
}
