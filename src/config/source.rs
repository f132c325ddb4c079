//! Resolution of source directories.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;
use mirror_platform::answers::within_limit;
use rustix::io::Errno;

/// Error of a source directory: lines for people, in the words of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError(pub Vec<String>);

/// Resolves the directory `source`, relative to `start_dir`, to a canonical path.
///
/// # Errors
///
/// If it does not exist, cannot be reached or is no directory, or if its file system does not
/// answer.
pub fn canonical_source(start_dir: &Path, source: &OsStr) -> Result<PathBuf, SourceError> {
    let named = Escaped(source.as_bytes());
    let error =
        |why: String| SourceError(vec![why, format!("Cannot access source directory: {named}")]);
    // `join` would turn an empty path into the directory itself.
    let path = start_dir.join(source);
    let found = if source.is_empty() {
        Err(io::ErrorKind::NotFound.into())
    } else {
        within_limit(&path, find_source).ok_or_else(|| {
            error(format!(
                "the file system of [{named}] does not answer: its server or its FUSE program hangs"
            ))
        })?
    };
    match found {
        Ok((found, true)) => Ok(found),
        Ok((_, false)) => {
            Err(error(format!("cannot get absolute path of dir '{named}': is not a directory")))
        }
        Err(cause) => {
            let why = format!("failure getting absolute path of [{named}]");
            // The original says no more.
            let is_missing = cause.kind() == io::ErrorKind::NotFound;
            Err(error(if is_missing { why } else { format!("{why}: {cause}") }))
        }
    }
}

/// Returns the canonical path of a source, and true if it is a directory.
fn find_source(path: &Path) -> io::Result<(PathBuf, bool)> {
    let found = fs::canonicalize(path)?;
    let is_directory = fs::metadata(&found)?.is_dir();
    if is_directory {
        // This reaches the server; the attributes may be known.
        let _ = fs::read_dir(&found);
    }
    Ok((found, is_directory))
}

/// Returns the path of a source that does not exist yet, or that cannot be reached now, as on a
/// file system whose program is dead. `None` if it exists or never can.
#[must_use]
pub fn awaited_source(start_dir: &Path, source: &OsStr) -> Option<PathBuf> {
    if source.is_empty() {
        return None;
    }
    let path = start_dir.join(source);
    within_limit(&path, awaited_path).unwrap_or_else(|| Some(path.components().collect()))
}

fn awaited_path(path: &Path) -> Option<PathBuf> {
    let mut above = path;
    let mut missing = Vec::new();
    loop {
        match fs::canonicalize(above) {
            Ok(found) => {
                let state = fs::metadata(&found);
                let is_awaited = state.map_or(true, |it| it.is_dir() && !missing.is_empty());
                return is_awaited
                    .then(|| missing.iter().rev().fold(found, |at, name| at.join(name)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The parent of `..` below a missing directory is unknown.
                missing.push(above.file_name()?);
                above = above.parent()?;
            }
            Err(error) if is_lasting(&error) => return None,
            Err(_) => return Some(path.components().collect()),
        }
    }
}

/// Returns true if an error says that a path is wrong, and not that it can't be reached now.
fn is_lasting(error: &io::Error) -> bool {
    let lasting = [Errno::LOOP, Errno::NOTDIR, Errno::NAMETOOLONG, Errno::INVAL];
    Errno::from_io_error(error).is_none_or(|errno| lasting.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_source_resolves_to_its_future_path() {
        let temp_dir = tempfile::tempdir().unwrap();
        let top = temp_dir.path().canonicalize().unwrap();
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
