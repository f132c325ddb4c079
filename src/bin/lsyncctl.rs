//! The administrator's tool for a running daemon.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    lsyncd::ctl::run(env::args_os())
}
