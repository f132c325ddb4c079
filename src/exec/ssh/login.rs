//! One ssh that logs in and stays.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
};

use mirror_core::{path::Escaped, plan::rsync::Call};

use rustix::process::Signal;

use super::channel::Route;
use crate::{
    exec::process::{
        cancel::Stop,
        child::{ChildOutput, End, Limit, Program, Stream},
        remedy::remedy,
    },
    report::Log,
};

/// An ssh that runs, on a thread of its own, until it is ended or this process is.
#[derive(Clone, Debug)]
pub(super) struct Login {
    stop: Stop,
    /// Why it has ended.
    end: Arc<OnceLock<String>>,
}

impl Login {
    /// Starts one by this route and with these further words. Relative paths count from `directory`.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub(super) fn start(
        route: &Route,
        words: &[OsString],
        directory: PathBuf,
        log: Log,
    ) -> io::Result<Self> {
        let login = Self { stop: Stop::default(), end: Arc::default() };
        let mut command = route.command.iter().chain(words).cloned();
        let binary = command.next().unwrap_or_default();
        let args = command.chain([route.host.clone()]).map(OsString::into_vec).collect();
        let program = Program {
            binary,
            directory,
            environment: Vec::new(),
            output: ChildOutput::Log(log),
            at_our_end: Signal::TERM,
        };
        let told = login.clone();
        let stay = move || {
            let why = run(&program, &Call { args, stdin: None }, &told.stop);
            // Nobody else sets it.
            let _ = told.end.set(why);
        };
        thread::Builder::new().name("ssh".into()).spawn(stay)?;
        Ok(login)
    }

    /// Why it has ended; `None` if it runs.
    pub(super) fn end(&self) -> Option<&str> {
        self.end.get().map(String::as_str)
    }

    /// Asks it to end.
    pub(super) fn stop(&self) {
        self.stop.ask();
    }
}

/// Runs it to its end: why that came.
fn run(program: &Program, call: &Call, stop: &Stop) -> String {
    let name = Escaped(program.binary.as_encoded_bytes()).to_string();
    let mut said = None;
    let mut hear = |stream, line: &[u8]| {
        if stream == Stream::Err {
            let text = Escaped(line).to_string();
            let remedy = remedy(line).map(|remedy| format!("{text}: {remedy}"));
            said = Some(remedy.unwrap_or(text));
        }
    };
    match program.listen(Limit::Endless, call, stop, &mut hear) {
        end @ End::Exited(_) => said.unwrap_or_else(|| end.of(&name)),
        end => end.of(&name),
    }
}
