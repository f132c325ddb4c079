//! Stands in the place of rsync, ssh and others: writes down how it was called, and does nothing.
//!
//! A look at what times another machine keeps, which ours takes before all of the source goes there,
//! is not written down: `known-differences.md` has it, and no case is about it.

use std::{env, path::Path, process::ExitCode};

use compat::call::{Calls, PLACE};

/// A word of no other call than such a look.
const LOOK: &str = "--out-format=same? %i";

fn main() -> ExitCode {
    if env::args_os().any(|word| word == LOOK) {
        return ExitCode::SUCCESS;
    }
    let Some(place) = env::var_os(PLACE) else {
        eprintln!("{PLACE} does not say where to write");
        return ExitCode::from(99);
    };
    match Calls::below(Path::new(&place)).record() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cannot record a call: {error}");
            ExitCode::from(99)
        }
    }
}
