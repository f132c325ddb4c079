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

/// Where the source of somebody in the directory `here` will be, if it is only not there yet.
#[must_use]
pub fn awaited_source(here: &Path, source: &OsStr) -> Option<PathBuf> {
    if source.is_empty() {
        return None;
    }
    let path = here.join(source);
    let mut above = path.as_path();
    let mut missing = Vec::new();
    loop {
        match fs::canonicalize(above) {
            Ok(found) => {
                let is_there = missing.is_empty() || !found.is_dir();
                return (!is_there)
                    .then(|| missing.iter().rev().fold(found, |at, name| at.join(name)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What lies above a name that is not there, nobody knows: `..` has no such name.
                missing.push(above.file_name()?);
                above = above.parent()?;
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_is_awaited_where_it_will_be() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        fs::create_dir(top.join("real")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        let awaited = |source: &str| awaited_source(&top, OsStr::new(source));
        assert_eq!(awaited("link/in/deep/"), Some(top.join("real/in/deep")));
        assert_eq!(awaited("none"), Some(top.join("none")));
        for wrong in ["", "link", "file", "file/in", "none/../other"] {
            assert_eq!(awaited(wrong), None, "{wrong}");
        }
    }
}
