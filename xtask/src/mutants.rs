//! `cargo xtask mutants`: changes the code on purpose, and lists the changes that no test notices.

use std::{fs, path::Path};

use crate::build::{cargo, workspace};

/// List of the surviving mutants, as cargo-mutants writes it.
const SURVIVORS: &str = "mutants.out/missed.txt";

/// Runs cargo-mutants as `.cargo/mutants.toml` says.
///
/// # Errors
///
/// Returns the reason if a mutant survived, or if cargo-mutants could not be run.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let version = cargo().args(["mutants", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        let remedy = "install it with `cargo install --locked cargo-mutants`";
        return Err(vec![format!("mutants: cargo-mutants is missing; {remedy}")]);
    }
    let top = workspace();
    let status = cargo()
        .args(["mutants", "--package", "mirror-core"])
        .args(["--output".as_ref(), top])
        .args(arguments)
        .current_dir(top)
        // Without it, the random histories take most of the time.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .status()
        .map_err(|error| vec![format!("cargo-mutants could not be run: {error}")])?;
    match status.code() {
        Some(0) => Ok(()),
        // The code for a mutant that makes the tests endless hides that for a survivor. A test that
        // never ends has noticed the mutant.
        Some(3) if !has_survivors(top) => Ok(()),
        Some(2 | 3) => Err(vec!["mutants: no test notices the changes listed above".to_owned()]),
        _ => Err(vec![format!("mutants: {status}")]),
    }
}

/// Returns true unless the list of survivors is empty.
fn has_survivors(top: &Path) -> bool {
    fs::read_to_string(top.join(SURVIVORS)).map_or(true, |list| !list.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_list_means_that_no_mutant_survived() {
        let top = std::env::temp_dir().join(format!("xtask-mutants-{}", std::process::id()));
        assert!(has_survivors(&top), "no list");
        fs::create_dir_all(top.join("mutants.out")).unwrap();
        for (list, expected) in [("", false), ("src/a.rs:1:1: replace a\n", true)] {
            fs::write(top.join(SURVIVORS), list).unwrap();
            assert_eq!(has_survivors(&top), expected, "{list:?}");
        }
        fs::remove_dir_all(top).unwrap();
    }
}
