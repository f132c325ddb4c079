//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/harness` on stable Rust.

use std::{env, ffi::OsString, process::Command};

/// Builds the fuzzer, optimized and with all checks, and runs it.
///
/// It is another process so that this task does not depend on the daemon, and survives a target
/// that aborts.
///
/// # Errors
///
/// Returns the reason if there was a finding, or if the fuzzer could not be run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "fuzz", "--package", "fuzz-harness", "--"])
        .args(arguments)
        .status()
        .map_err(|error| vec![format!("the fuzzer could not be run: {error}")])?;
    if status.success() {
        return Ok(());
    }
    let hint = "to find the input of a crash or a hang, repeat it with --seed and --record";
    Err(vec![format!("fuzz: {status}; {hint}")])
}
