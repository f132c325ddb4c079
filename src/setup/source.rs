//! Which directory a source is.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;

/// A source can't be used, for these reasons: lines for people, in the words of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSource(pub Vec<String>);

/// The canonical path of the directory `source`, as somebody in the directory `here` means it.
///
/// # Errors
///
/// If it is not there, can't be reached, or is no directory.
pub fn canonical_source(here: &Path, source: &OsStr) -> Result<PathBuf, BadSource> {
    let named = Escaped(source.as_bytes());
    let refused =
        |why: String| BadSource(vec![why, format!("Cannot access source directory: {named}")]);
    // `join` would make the directory itself of an empty word.
    let found = if source.is_empty() {
        Err(io::ErrorKind::NotFound.into())
    } else {
        fs::canonicalize(here.join(source))
    };
    let found =
        found.map_err(|_| refused(format!("failure getting absolute path of [{named}]")))?;
    if found.is_dir() {
        return Ok(found);
    }
    Err(refused(format!("cannot get absolute path of dir '{named}': is not a directory")))
}
