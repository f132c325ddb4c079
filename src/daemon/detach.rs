//! Leaving the terminal.

use std::{env, fs::File, io};

use rustix::{
    process::setsid,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::report::Log;

/// Gets a session of its own, works in `/`, so that no file system is kept from being unmounted,
/// and lets go of the terminal.
///
/// The standard streams are always there, so that no file can get one of their numbers: the
/// runtime opens those that were closed at the start.
pub(super) fn leave_session(log: &Log) -> io::Result<()> {
    setsid()?;
    env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    log.leave_terminal();
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
