//! Debian's package manager.

use std::process::{Command, Stdio};

/// Runs apt-get.
///
/// # Errors
///
/// Returns a message with the arguments, and what it wrote, if it can't be run or fails.
pub(crate) fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let command_line = || format!("apt-get {}", arguments.join(" "));
    let output = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} could not be run: {error}", command_line()))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed: {}", command_line(), message.trim().replace('\n', " / ")))
}
