//! The daemon.

use std::{env, ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    lsyncd::run::run(&words)
}
