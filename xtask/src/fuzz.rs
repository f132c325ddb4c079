//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/harness` on stable Rust.

use crate::build::cargo;

/// Builds the fuzzer, optimized and with all checks, and runs it.
///
/// It is another process so that this task does not depend on the daemon, and survives a target
/// that aborts.
///
/// # Errors
///
/// Returns the reason if there was a finding, or if the fuzzer could not be run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let status = cargo()
        .args(["run", "--quiet", "--profile", "fuzz", "--package", "fuzz-harness", "--"])
        .args(arguments)
        .status()
        .map_err(|error| vec![format!("the fuzzer could not be run: {error}")])?;
    match status.code() {
        Some(0) => Ok(()),
        // The fuzzer has printed the reason.
        Some(1) => Err(vec!["fuzz: failed".to_owned()]),
        // With a crash, cargo's own exit code.
        _ => Err(vec![format!("fuzz: {status}; repeat it with --seed and --record for the input")]),
    }
}
