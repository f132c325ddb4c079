//! `cargo xtask test`: runs all tests of the workspace and counts the skipped ones.

mod programs;
mod transcript;

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{ExitStatus, Stdio},
};

use crate::build::cargo;
use transcript::Transcript;

/// Installs missing programs, runs the tests, and reports the skipped ones.
///
/// # Errors
///
/// Returns the reasons for which the run does not count as passed: a failed test or, with
/// `CI=true`, a skipped one.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    for missing in programs::install_missing() {
        println!("cannot be tested here: {missing}");
    }
    let (status, transcript) = cargo_test(arguments)
        .map_err(|error| vec![format!("cargo test could not be run: {error}")])?;
    println!("\n{} passed, {} skipped", transcript.passed(), transcript.skipped().len());
    for skipped in transcript.skipped() {
        println!("  {skipped}");
    }
    verdict(status, transcript.skipped().len(), env::var_os("CI").is_some_and(|ci| ci == "true"))
}

fn verdict(status: ExitStatus, skipped: usize, strict: bool) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    if !status.success() {
        problems.push(format!("cargo test: {status}"));
    }
    if strict && skipped > 0 {
        problems.push(format!("{skipped} skipped tests count as failures, since CI=true"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Runs `cargo test` and prints its output, except that of tests that passed: of those only the
/// `skipped:` lines are printed.
fn cargo_test(arguments: &[String]) -> io::Result<(ExitStatus, Transcript)> {
    let mut child = cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .args(["--", "--show-output"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut transcript = Transcript::default();
    let mut screen = io::stdout().lock();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if transcript.push(&line) {
                writeln!(screen, "{line}")?;
            }
        }
    }
    Ok((child.wait()?, transcript))
}
