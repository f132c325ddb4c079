//! `cargo xtask assets`: manual pages and completions, for packages.

use std::path::PathBuf;

use crate::build::{cargo, run_command, target_dir, workspace};

/// Writes them to `assets` in the target directory, with `man` and `completions` in it.
///
/// # Errors
///
/// Returns a message if there are arguments, or the generator fails.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    if let Some(word) = words.first() {
        return Err(vec![format!("{word} is no option of assets")]);
    }
    let directory = generate().map_err(|why| vec![why])?;
    println!("{}", directory.display());
    Ok(())
}

/// Writes them, and returns their directory.
///
/// # Errors
///
/// Returns a message if the generator fails.
pub(crate) fn generate() -> Result<PathBuf, String> {
    let directory = target_dir().join("assets");
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--package", "lsyncd", "--example", "assets", "--"])
        .arg(&directory)
        .current_dir(workspace());
    run_command(command)?;
    Ok(directory)
}
