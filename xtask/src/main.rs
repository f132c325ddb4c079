//! Tasks of the developers: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`.
//!
//! Each task is a module with one `run`; this file only chooses.
#![forbid(unsafe_code)]

mod bench;
mod test;
mod tidy;

use std::{env, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [ARGUMENT ..]  installs what the tests need, runs all of them and counts the skipped ones;
                      the arguments go to `cargo test`. With CI=true a skipped test is a failure
  tidy                checks licences, who knows whom, `unsafe`, the length of files and more
  bench [ROW ..] [--runs N] [--json FILE] [--directory DIRECTORY]
                      measures our daemon beside the original, its rivals and the floor,
                      in temporary directories below DIRECTORY (default: /dev/shm)";

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    if let Some(played) = bench::floor::play(&task, &rest) {
        return if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let result = match task.as_str() {
        "test" => test::run(&rest),
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
