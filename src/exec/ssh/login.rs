//! An ssh that logs in and stays connected.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
};

use mirror_core::{path::Escaped, plan::command::CommandLine};

use rustix::process::Signal;

use super::channel::SshRoute;
use crate::{
    exec::process::{
        cancel::CancelToken,
        child::{ChildOutput, ChildProgram},
        end::{ChildLimit, ProcessExit},
        remedy::remedy,
    },
    report::{Log, StdStream},
};

/// An ssh process supervised by a thread of its own, until it is cancelled or this process ends.
#[derive(Clone, Debug)]
pub(super) struct SshLogin {
    cancel: CancelToken,
    exit_reason: Arc<OnceLock<String>>,
}

impl SshLogin {
    /// Starts ssh on this route with additional arguments. Relative paths count from `directory`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn start(
        route: &SshRoute,
        args: &[OsString],
        working_dir: PathBuf,
        log: Log,
    ) -> io::Result<Self> {
        let login = Self { cancel: CancelToken::default(), exit_reason: Arc::default() };
        let mut command = route.command.iter().chain(args).cloned();
        let binary = command.next().unwrap_or_default();
        let args = command.chain([route.host.clone()]).map(OsString::into_vec).collect();
        let program = ChildProgram {
            binary,
            working_dir,
            environment: Vec::new(),
            output: ChildOutput::Log(log),
            parent_death_signal: Signal::TERM,
            inherited: None,
        };
        let supervised = login.clone();
        let supervise = move || {
            let why = run(&program, &CommandLine { args, stdin: None }, &supervised.cancel);
            // Nothing else sets it.
            let _ = supervised.exit_reason.set(why);
        };
        thread::Builder::new().name("ssh".into()).spawn(supervise)?;
        Ok(login)
    }

    /// Returns the reason of its exit; `None` while it runs.
    pub(super) fn exit_reason(&self) -> Option<&str> {
        self.exit_reason.get().map(String::as_str)
    }

    /// Terminates ssh.
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Runs ssh until it exits, and returns the reason.
fn run(program: &ChildProgram, call: &CommandLine, cancel: &CancelToken) -> String {
    let name = Escaped(program.binary.as_encoded_bytes()).to_string();
    let mut last_line = None;
    let mut on_line = |stream, line: &[u8]| {
        if stream == StdStream::Err {
            let text = Escaped(line).to_string();
            let remedy = remedy(line).map(|remedy| format!("{text}: {remedy}"));
            last_line = Some(remedy.unwrap_or(text));
        }
    };
    let end = program.run_with_output(ChildLimit::Unlimited, call, cancel, &mut on_line);
    let reason = last_line.filter(|_| matches!(end, ProcessExit::Exited(_)));
    reason.unwrap_or_else(|| end.describe(&name))
}
