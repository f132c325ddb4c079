//! The boot of the machine.

use std::{fs, io};

/// Returns the identity of this boot of the machine: `random(4)`, `boot_id`.
///
/// # Errors
///
/// As `open(2)`: `ENOENT` if `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}
