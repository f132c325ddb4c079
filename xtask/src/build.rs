//! The daemon that benches and storms run.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// How a daemon is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// With all checks.
    Debug,
    /// As users have it.
    Release,
}

/// Builds our daemon. Returns where it is.
///
/// # Errors
///
/// If it can't be built: a sentence for people.
pub(crate) fn daemon(profile: Profile) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let (arg, directory) = match profile {
        Profile::Debug => (None, "debug"),
        Profile::Release => (Some("--release"), "release"),
    };
    let status = Command::new(cargo)
        .args(["build", "--package", "lsyncd", "--bin", "lsyncd"])
        .args(arg)
        .current_dir(top)
        .status()
        .map_err(|error| format!("cargo could not be run: {error}"))?;
    if !status.success() {
        return Err(format!("our daemon could not be built: {status}"));
    }
    let built = env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), PathBuf::from);
    Ok(built.join(directory).join("lsyncd"))
}
