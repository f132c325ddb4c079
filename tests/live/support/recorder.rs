//! A program that notes what it is given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Sandbox;

/// The words of one call.
pub(crate) type Call = Vec<Vec<u8>>;

/// A program for scripts to call, in the place of one that may not be installed.
#[derive(Debug)]
pub(crate) struct Recorder {
    program: PathBuf,
    calls: PathBuf,
}

impl Recorder {
    /// A program that notes its words, and then does what `body` says, in the language of `sh`.
    pub(crate) fn new(sandbox: &Sandbox, body: &str) -> Self {
        let (program, calls) = (sandbox.fresh_path("program"), sandbox.fresh_path("calls"));
        // How many words there are comes first.
        let script = format!(
            "#!/bin/sh\nprintf '%s\\0' $# \"$@\" >> '{}'\ncd '{}' || exit\n{body}\n",
            calls.display(),
            sandbox.top().display(),
        );
        sandbox.write_program(&program, script.as_bytes());
        Self { program, calls }
    }

    /// Where it is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// All calls so far, in their order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let bytes = fs::read(&self.calls).unwrap_or_default();
        let mut words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        // What is behind the last NUL is not finished yet.
        words.pop();
        let mut calls = Vec::new();
        let mut rest = &*words;
        while let Some((number, after)) = rest.split_first() {
            let number: usize = std::str::from_utf8(number).unwrap().parse().unwrap();
            let Some((call, after)) = after.split_at_checked(number) else { break };
            calls.push(call.iter().map(|word| word.to_vec()).collect());
            rest = after;
        }
        calls
    }

    /// The calls as text, for what has simple words.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |call: &Call| String::from_utf8_lossy(&call.join(&b' ')).into_owned();
        self.calls().iter().map(line).collect()
    }
}
