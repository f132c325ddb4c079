//! Developer tasks: `cargo xtask test`, `torture`, `damage`, `soak`, `fuzz`, `mutants`, `tidy`,
//! `assets`, `bench`, `cross`, `deb` and `dist`.
//!
//! Each task is a module with a function `run`; this file only dispatches.
#![forbid(unsafe_code)]

mod apt;
mod arguments;
mod assets;
mod bench;
mod build;
mod cross;
mod damage;
mod deb;
mod dist;
mod fuzz;
mod machine;
mod mutants;
mod soak;
mod test;
mod tidy;
mod torture;

use std::{env, ffi::OsString, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--all] [ARGUMENT ..]
                      installs required programs, runs all tests and counts the skipped ones;
                      passes the arguments to `cargo test`. With CI=true a skipped test is a failure.
                      --all also tries the packages
  deb [--debug] [--try]
                      builds the Debian package in target/deb; --try installs, starts, upgrades and
                      purges it in a minimal system
  torture [--minutes N] [--seed S] [--rounds N] [--jobs N] [--keep-going] [--only TEXT]
          [--binary PROGRAM] [--directory DIRECTORY]
                      stress test: random changes while our daemon is stopped, killed and flooded,
                      then a comparison. --only selects rounds by their description;
                      --seed S --rounds 1 repeats the round of seed S
  damage [--kind KIND] [--fault FAULT] [--load LOAD] [--short] [--jobs N] [--seed S] [--write]
         [--binary PROGRAM] [--old-rsync PROGRAM] [--directory DIRECTORY]
                      lets each fault happen to each kind of sync under each load, and checks what
                      is left (docs/reliability.md). The filters can be repeated; --short runs each
                      fault once; --write writes the table
  soak [--minutes N] [--seed S] [--write] [--program PROGRAM] [--directory DIRECTORY]
                      lets faults of all kinds happen to one daemon with 50 targets, and checks that
                      they stay equal to their sources, and its memory and descriptors flat
                      (docs/reliability.md); --write writes the figures
  dist [--debug] [--try]
                      builds an archive with static programs in target/dist; --try runs the daemon
                      in an empty root
  cross [--target TARGET] [--package PACKAGE] [--require]
                      fetches compilers, builds the programs for macOS and as static programs for
                      Linux, on two architectures each, and runs live tests of the native ones. The
                      filter can be repeated; --require makes it a failure if that is impossible here
  fuzz [TARGET ..] [--minutes N] [--seed N]
                      runs mutated inputs through parsers that read foreign bytes (fuzz/README.md)
  mutants [ARGUMENT ..]
                      tests mutants of core's queue and guard with cargo-mutants, and passes it the
                      arguments (docs/mutants.md)
  tidy [--report]     checks licences, layers, names, prose, `unsafe`, the length of files and more;
                      --report prints the measures of the sources instead
  assets              writes manual pages and completions into target/assets
  bench [ROW ..] [--runs N] [--json FILE] [--directory DIRECTORY]
                      compares our daemon with the original, its competitors and the floor,
                      in temporary directories below DIRECTORY (default: /dev/shm)";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let task = args.next().unwrap_or_default().to_string_lossy().into_owned();
    let rest: Vec<OsString> = args.collect();
    if let Some(error) = bench::process::exec_tethered(&task, &rest) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let rest: Vec<String> = rest.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    if let Some(result) = bench::floor::run(&task, &rest) {
        return if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let result = match task.as_str() {
        "test" => test::run(&rest),
        "dist" => dist::run(&rest),
        "deb" => deb::run(&rest),
        "cross" => cross::run(&rest),
        "torture" => torture::run(&rest),
        "damage" => damage::run(&rest),
        "soak" => soak::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "mutants" => mutants::run(&rest),
        "tidy" => tidy::run(&rest),
        "assets" => assets::run(&rest),
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
