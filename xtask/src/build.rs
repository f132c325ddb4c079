//! The programs that tasks run: cargo, others of this machine, and our daemon.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    Ok(target_dir().join(directory).join("lsyncd"))
}

/// Builds all programs that are installed, for this machine or another Rust target, and returns
/// their paths.
///
/// # Errors
///
/// Returns a message if the build fails.
pub(crate) fn programs(
    profile: BuildProfile,
    target: Option<&str>,
) -> Result<Vec<PathBuf>, String> {
    let names = installed_programs()?;
    let (arg, directory) = match profile {
        BuildProfile::Debug => (None, "debug"),
        BuildProfile::Release => (Some("--release"), "release"),
    };
    let mut command = cargo();
    command.args(["build", "--package", "lsyncd", "--locked"]).args(arg).current_dir(workspace());
    command.args(names.iter().flat_map(|name| ["--bin", name]));
    command.args(target.iter().flat_map(|target| ["--target", target]));
    run_command(command)?;
    let built = target_dir().join(target.unwrap_or_default()).join(directory);
    Ok(names.iter().map(|name| built.join(name)).collect())
}

/// Returns the names of the programs that are installed, as far as our package has them.
fn installed_programs() -> Result<Vec<&'static str>, String> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    command.current_dir(workspace());
    let metadata = output_of(command)?;
    let is_there = |name: &&str| {
        metadata
            .contains(&format!("\"kind\":[\"bin\"],\"crate_types\":[\"bin\"],\"name\":\"{name}\""))
    };
    Ok(["lsyncd", "lsyncctl"].into_iter().filter(is_there).collect())
}

/// Returns the directory of all build results.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns true if the last component of a path is `name`.
pub(crate) fn has_name(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

/// Runs a command to its end.
///
/// # Errors
///
/// Returns a message with the command if it can't be run or fails.
pub(crate) fn run_command(mut command: Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|error| format!("{command:?} could not be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs a command to its end, and returns its output.
///
/// # Errors
///
/// As [`run_command`], with the errors that it wrote.
pub(crate) fn output_of(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?} could not be run: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {}", output.status, errors.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
