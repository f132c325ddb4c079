//! Tasks of the developers: `cargo xtask test`, `torture`, `tidy` and `bench`.
//!
//! Each task is a module with one `run`; this file only chooses.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod test;
mod tidy;
mod torture;

use std::{env, ffi::OsString, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [ARGUMENT ..]  installs what the tests need, runs all of them and counts the skipped ones;
                      the arguments go to `cargo test`. With CI=true a skipped test is a failure
  torture [--minutes N] [--seed S] [--rounds N] [--jobs N] [--keep-going] [--only TEXT]
          [--binary PROGRAM] [--directory DIRECTORY]
                      changes trees wildly while our daemon is stopped, killed and flooded, and
                      compares; rounds with TEXT in their description only. Seed S is played again
                      by --seed S --rounds 1
  tidy                checks licences, who knows whom, `unsafe`, the length of files and more
  bench [ROW ..] [--runs N] [--json FILE] [--directory DIRECTORY]
                      measures our daemon beside the original, its rivals and the floor,
                      in temporary directories below DIRECTORY (default: /dev/shm)";

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let task = words.next().unwrap_or_default().to_string_lossy().into_owned();
    let rest: Vec<OsString> = words.collect();
    if let Some(error) = bench::running::become_leashed(&task, &rest) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let rest: Vec<String> = rest.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    if let Some(played) = bench::floor::play(&task, &rest) {
        return if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let result = match task.as_str() {
        "test" => test::run(&rest),
        "torture" => torture::run(&rest),
        "tidy" => tidy::run(),
        "bench" => bench::run(&rest),
        _ => Err(vec![USAGE.to_owned()]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
    }
}
