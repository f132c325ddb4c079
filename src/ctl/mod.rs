//! `lsyncctl`: shows and controls a running daemon.
//!
//! [`args`] has the command line.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub mod args;

use args::CtlArgs;

/// Exit code of a wrong usage.
const USAGE: u8 = 3;

/// Runs the tool with all arguments, the program name included.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match CtlArgs::try_parse_from(args) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stdout is the caller's choice.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}
