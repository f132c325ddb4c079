//! Whether a target may be the target of a source.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::path::Escaped;

use super::{
    Kind,
    place::{self, Conflict},
};
use crate::report::Mode;

/// From where a relative target counts.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// How the process lives: a daemon works in `/`.
    pub mode: Mode,
    /// Where it was started.
    pub here: &'a Path,
}

/// Refuses a target that would be a catastrophe. What is only odd is a warning.
///
/// # Errors
///
/// Why it can't be used.
pub fn check_target(
    kind: Kind,
    source: &Path,
    target: &OsStr,
    base: Base<'_>,
) -> Result<Option<String>, String> {
    // What its script makes of it, nobody knows.
    if kind == Kind::Own {
        return Ok(None);
    }
    if target.is_empty() {
        let source = Escaped(source.as_os_str().as_bytes());
        return Err(format!("the target for the source '{source}' is empty"));
    }
    let named = Escaped(target.as_bytes());
    if place::is_remote(target) {
        return match kind {
            Kind::Rsync | Kind::Rsyncssh | Kind::Own => Ok(None),
            Kind::Direct => Err(format!(
                "the target '{named}' is not on this machine: direct needs a directory here; \
                 use rsync, or write './{named}' for a directory of that name"
            )),
        };
    }
    let top = match base.mode {
        Mode::Daemon => Path::new("/"),
        Mode::Foreground => base.here,
    };
    refuse_conflict(source, target, &top.join(target))?;
    let odd = base.mode == Mode::Daemon && !target.as_bytes().starts_with(b"/");
    Ok(odd.then(|| {
        format!("the target '{named}' is relative: a daemon works in /, so it is '/{named}'")
    }))
}

fn refuse_conflict(source: &Path, target: &OsStr, path: &Path) -> Result<(), String> {
    let found = place::conflict(source, path);
    let (source, target) = (Escaped(source.as_os_str().as_bytes()), Escaped(target.as_bytes()));
    let found = found.map_err(|error| format!("cannot look up the target '{target}': {error}"))?;
    let why: &dyn fmt::Display = match found {
        None => return Ok(()),
        Some(Conflict::IsRoot) => &"is the root directory of this machine: all of it would go",
        Some(Conflict::IsSource) => &format_args!("is the same directory as its source '{source}'"),
        Some(Conflict::InSource) => &format_args!("lies inside its source '{source}'"),
        Some(Conflict::HoldsSource) => &format_args!("holds its source '{source}'"),
    };
    Err(format!("the target '{target}' {why}"))
}
