//! Leaving the terminal.

use std::{env, fs::File, io};

use mirror_linux::fork::{self, Side};
use rustix::{
    process::setsid,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::report::Log;

/// Which of the two processes this is.
#[derive(Debug)]
pub(super) enum Detached {
    /// The one that was started. It ends.
    Parent,
    /// The one that goes on. It still has the terminal, and can tell there what goes wrong.
    Child(Child),
}

/// A child that has the terminal of its parent.
#[must_use = "a daemon leaves its session"]
#[derive(Debug)]
pub(super) struct Child(());

pub(super) fn fork() -> io::Result<Detached> {
    Ok(match fork::fork()? {
        Side::Parent => Detached::Parent,
        Side::Child => Detached::Child(Child(())),
    })
}

impl Child {
    /// Gets a session of its own, works in `/`, so that no file system is kept from being
    /// unmounted, and lets go of the terminal.
    ///
    /// The standard streams are always there, so that no file can get one of their numbers: the
    /// runtime opens those that were closed at the start.
    pub(super) fn leave_session(self, log: &Log) -> io::Result<()> {
        setsid()?;
        env::set_current_dir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        log.leave_terminal();
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        Ok(())
    }
}
