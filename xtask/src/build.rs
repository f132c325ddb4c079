//! The programs that tasks run: cargo, others of this machine, and our daemon.

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

/// Returns the directory of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns the command of the cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Finds a program in `PATH` or among the system's daemons.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Builds our daemon and returns its path.
///
/// # Errors
///
/// Returns a message if the build fails.
pub(crate) fn daemon(profile: BuildProfile) -> Result<PathBuf, String> {
    let top = workspace();
    let (arg, directory) = match profile {
        BuildProfile::Debug => (None, "debug"),
        BuildProfile::Release => (Some("--release"), "release"),
    };
    let status = cargo()
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
