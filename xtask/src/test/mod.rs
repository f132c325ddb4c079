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
    let (all, arguments): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| *argument == "--all");
    let (status, transcript) = cargo_test(&arguments)
        .map_err(|error| vec![format!("cargo test could not be run: {error}")])?;
    let mut skipped = transcript.skipped().to_vec();
    let mut problems = Vec::new();
    if !all.is_empty() {
        try_packages(&mut skipped, &mut problems);
    }
    println!("\n{} passed, {} skipped", transcript.passed(), skipped.len());
    for skipped in &skipped {
        println!("  {skipped}");
    }
    let strict = env::var_os("CI").is_some_and(|ci| ci == "true");
    problems.extend(verdict(status, skipped.len(), strict).err().into_iter().flatten());
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// A trial of what is built for users. It returns the reason if it is impossible here.
type PackageTrial = fn() -> Result<Option<String>, String>;

/// Tries everything that is built for users.
fn try_packages(skipped: &mut Vec<String>, problems: &mut Vec<String>) {
    let trials: [(&str, PackageTrial); 2] =
        [("deb", crate::deb::test), ("dist", crate::dist::test)];
    for (name, trial) in trials {
        match trial() {
            Ok(None) => println!("{name}: ok"),
            Ok(Some(missing)) => skipped.push(format!("skipped: {missing} ({name})")),
            Err(why) => problems.push(format!("{name}: {why}")),
        }
    }
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
fn cargo_test(arguments: &[&String]) -> io::Result<(ExitStatus, Transcript)> {
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
