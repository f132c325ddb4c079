//! A program that records its arguments.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Sandbox;

/// The arguments of one call.
pub(crate) type CallArgs = Vec<Vec<u8>>;

/// A program that scripts call in place of one that may not be installed.
#[derive(Debug)]
pub(crate) struct ProgramRecorder {
    program: PathBuf,
    calls: PathBuf,
}

impl ProgramRecorder {
    /// Creates a program that records its arguments, and then runs `body` as a shell script.
    pub(crate) fn new(sandbox: &Sandbox, body: &str) -> Self {
        let (program, calls) = (sandbox.fresh_path("program"), sandbox.fresh_path("calls"));
        // The number of arguments comes first.
        let script = format!(
            "#!/bin/sh\nprintf '%s\\0' $# \"$@\" >> '{}'\ncd '{}' || exit\n{body}\n",
            calls.display(),
            sandbox.top().display(),
        );
        sandbox.write_program(&program, script.as_bytes());
        Self { program, calls }
    }

    /// Returns its path.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Returns all calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<CallArgs> {
        let bytes = fs::read(&self.calls).unwrap_or_default();
        let mut fields: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        // The text after the last NUL is incomplete.
        fields.pop();
        let mut calls = Vec::new();
        let mut rest = &*fields;
        while let Some((number, after)) = rest.split_first() {
            let number: usize = std::str::from_utf8(number).unwrap().parse().unwrap();
            let Some((call, after)) = after.split_at_checked(number) else { break };
            calls.push(call.iter().map(|arg| arg.to_vec()).collect());
            rest = after;
        }
        calls
    }

    /// Returns the calls as lines, for arguments without special characters.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |call: &CallArgs| String::from_utf8_lossy(&call.join(&b' ')).into_owned();
        self.calls().iter().map(line).collect()
    }
}
