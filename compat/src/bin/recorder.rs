//! Stands in the place of rsync, ssh and others: writes down how it was called, and does nothing.

use std::{env, path::Path, process::ExitCode};

use compat::call::{Calls, PLACE};

fn main() -> ExitCode {
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
