//! The tool as a process.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The end of a call.
#[derive(Debug)]
pub(crate) struct CtlResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CtlResult {
    /// Asserts the exit code and a part of stderr.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(part), "{part}: {self:?}");
    }
}

/// Returns the command of the tool, in an environment without a daemon.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncctl"));
    command.args(arguments).env_remove("LSYNCD_SOCKET").env_remove("XDG_RUNTIME_DIR");
    command.env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> CtlResult {
    let output = command.output().unwrap();
    CtlResult {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the tool with the daemon at `socket`.
pub(crate) fn run(socket: &Path, arguments: &[&str]) -> CtlResult {
    let mut command = command(arguments);
    command.arg("--socket").arg(socket);
    finish(command)
}
