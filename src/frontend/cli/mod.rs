//! The command line: the original's options and some of our own.
//!
//! [`args`] parses it, [`resolve`] resolves it to a configuration, and this module prints help and
//! errors. Nothing is started here.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::report::{Category, Log};

pub mod args;
pub mod help;
mod lua_number;
pub mod resolve;

pub use args::{CheckMode, EarlyExit, Invocation};
pub use resolve::ResolvedArgs;

/// Exit code of all failures: `exit(-1)`.
const FAILURE: u8 = 255;

/// Parses the arguments after the program name, and prints help or errors. The returned log has its
/// categories, and still writes to stderr.
///
/// # Errors
///
/// The exit code, if there is nothing to run. Everything is printed by then.
pub fn read(args: &[OsString]) -> Result<(Invocation, Log), ExitCode> {
    let failure = args::find_config_exit_code(args).unwrap_or(FAILURE);
    let invocation = Invocation::parse(args).map_err(|exit| print_exit(&exit, failure))?;
    let log = Log::new(invocation.filter.clone());
    log.set_format(invocation.log_format.unwrap_or_default());
    Ok((invocation, log))
}

/// Prints the reason for an early exit, and returns the exit code. `failure` is that of an error.
fn print_exit(exit: &EarlyExit, failure: u8) -> ExitCode {
    match exit {
        EarlyExit::Help => {
            print(&help::text());
            return ExitCode::SUCCESS;
        }
        EarlyExit::NoSync => print(&help::text()),
        EarlyExit::Version => {
            print(&format!("Version: {}\n", help::VERSION));
            return ExitCode::SUCCESS;
        }
        EarlyExit::Monitors => print(help::MONITORS),
        EarlyExit::Invalid(reasons) | EarlyExit::MissingSource(reasons) => {
            let log = Log::default();
            for reason in reasons {
                log.say(Category::Error, reason);
            }
        }
    }
    ExitCode::from(failure)
}

fn print(text: &str) {
    // A closed stdout is the caller's choice.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
