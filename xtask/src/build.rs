//! Builds the daemon for `bench` and `torture`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// A Cargo profile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BuildProfile {
    /// With debug assertions.
    Debug,
    /// As shipped.
    Release,
}

/// Builds our daemon and returns its path.
///
/// # Errors
///
/// Returns a message if the build fails.
pub(crate) fn daemon(profile: BuildProfile) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let (arg, directory) = match profile {
        BuildProfile::Debug => (None, "debug"),
        BuildProfile::Release => (Some("--release"), "release"),
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
