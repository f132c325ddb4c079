//! `cargo xtask mutants`: changes the code on purpose, and lists the changes that no test notices.

use std::{env, ffi::OsString, process::Command};

/// Runs cargo-mutants as `.cargo/mutants.toml` says.
///
/// # Errors
///
/// Returns the reason if a mutant survived, or if cargo-mutants could not be run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let version = Command::new(&cargo).args(["mutants", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        let remedy = "install it with `cargo install --locked cargo-mutants`";
        return Err(vec![format!("mutants: cargo-mutants is missing; {remedy}")]);
    }
    let status = Command::new(cargo)
        .args(["mutants", "--package", "mirror-core"])
        .args(arguments)
        // Without it, the random histories take most of the time.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .status()
        .map_err(|error| vec![format!("cargo-mutants could not be run: {error}")])?;
    match status.code() {
        // A test that never ends has noticed the mutant, too.
        Some(0 | 3) => Ok(()),
        Some(2) => Err(vec!["mutants: no test notices the changes listed above".to_owned()]),
        _ => Err(vec![format!("mutants: {status}")]),
    }
}
