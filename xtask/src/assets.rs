//! `cargo xtask assets`: manual pages and completions, for packages.

use crate::build::{cargo, target_dir, workspace};

/// Writes them to `assets` in the target directory, with `man` and `completions` in it.
///
/// # Errors
///
/// Returns a message if there are arguments, or the generator fails.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    if let Some(word) = words.first() {
        return Err(vec![format!("{word} is no option of assets")]);
    }
    let directory = target_dir().join("assets");
    let status = cargo()
        .args(["run", "--quiet", "--package", "lsyncd", "--example", "assets", "--"])
        .arg(&directory)
        .current_dir(workspace())
        .status()
        .map_err(|error| vec![format!("cargo could not be run: {error}")])?;
    if status.success() {
        println!("{}", directory.display());
        Ok(())
    } else {
        Err(vec![format!("the assets could not be generated: {status}")])
    }
}
