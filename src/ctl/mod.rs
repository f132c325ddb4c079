//! `lsyncctl`: shows and controls a running daemon.
//!
//! [`args`] has the command line, `commands` carries it out. `status` renders the state, `watch`
//! shows it live, [`serve`] does so over HTTP; `output`, `table` and `text` make lines that are
//! safe for a terminal.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub mod args;
mod commands;
mod connection;
pub mod failure;
mod output;
mod records;
mod selection;
pub mod serve;
mod serving;
mod status;
mod stop;
mod table;
mod text;
mod watch;

use args::{CtlArgs, CtlCommand};
use failure::{CtlFailure, Severity};

/// Runs the tool with all arguments, the program name included.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match CtlArgs::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // A closed stdout is the caller's choice.
            let _ = error.print();
            let severity = if error.use_stderr() { Severity::Unknown } else { Severity::Ok };
            return severity.exit_code();
        }
    };
    commands::run(&args).unwrap_or_else(|failure| report(&args, &failure)).exit_code()
}

/// Reports a failure: to a person on stderr, to monitoring on stdout.
fn report(args: &CtlArgs, failure: &CtlFailure) -> Severity {
    if matches!(&args.command, CtlCommand::Status(status) if status.nagios) {
        output::print(&status::plugin_failure(failure));
    } else {
        print_failure(failure);
    }
    failure.severity()
}

/// Prints a failure to stderr.
fn print_failure(failure: &CtlFailure) {
    let lines: Vec<String> = text::clean_lines(&failure.to_string()).collect();
    eprintln!("lsyncctl: {}", lines.join("\n"));
}
