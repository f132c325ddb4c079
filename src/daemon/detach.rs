//! Detaching from the controlling terminal.

use std::{env, io};

use mirror_platform::descriptor::null_device;
use rustix::{
    process::setsid,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::report::Log;

/// Starts a new session, changes to `/` so that no file system is kept from being unmounted, and
/// redirects the standard streams to `/dev/null`.
///
/// The standard streams are always open, so no other file can get one of their numbers: the Rust
/// runtime opens those that were closed at startup.
pub(super) fn leave_session(log: &Log) -> io::Result<()> {
    setsid()?;
    env::set_current_dir("/")?;
    let null = null_device()?;
    log.leave_terminal();
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
