//! The command line: the original's, and two options of our own.
//!
//! [`words`] reads what was said, [`plan`] looks up what it means, and here is what is printed and
//! how it ends. Starting anything is left to others.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::report::{Category, Log};

mod help;
mod number;
pub mod plan;
pub mod words;

pub use plan::Plan;
pub use words::{Check, Ending, Invocation};

/// The exit code of everything that is not a success: `exit(-1)`.
const FAILURE: u8 = 255;

/// Reads the words behind the name of the program, and prints what there is to say. The log has its
/// categories, and still writes to stderr.
///
/// # Errors
///
/// The exit code, if there is nothing to run. Everything was printed then.
pub fn read(words: &[OsString]) -> Result<(Invocation, Log), ExitCode> {
    let invocation = Invocation::parse(words).map_err(|ending| end(&ending))?;
    let log = Log::new(invocation.filter.clone());
    Ok((invocation, log))
}

/// Prints why there is nothing to run.
fn end(ending: &Ending) -> ExitCode {
    match ending {
        Ending::Help => {
            print(&help::text());
            return ExitCode::SUCCESS;
        }
        Ending::Nothing => print(&help::text()),
        Ending::Version => {
            print(&format!("Version: {}\n", help::VERSION));
            return ExitCode::SUCCESS;
        }
        Ending::Monitors => print(help::MONITORS),
        Ending::Refused(reasons) => {
            let log = Log::default();
            for reason in reasons {
                log.say(Category::Error, reason);
            }
        }
    }
    ExitCode::from(FAILURE)
}

fn print(text: &str) {
    // Whoever closed our stdout does not want to know.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
