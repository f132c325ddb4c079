//! macOS has no private mounts, so tests that need them are skipped.

use std::{io, path::Path};

/// Returns the error for which tests are skipped.
///
/// # Errors
///
/// Always.
pub(crate) fn enter_private_namespace() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn mount_tmpfs(_: &Path, _: usize) -> io::Result<()> {
    enter_private_namespace()
}

pub(super) fn remount(_: &Path, _: bool) -> io::Result<()> {
    enter_private_namespace()
}

pub(super) fn unmount(_: &Path) -> io::Result<()> {
    enter_private_namespace()
}
