//! The meaning of the argument `SYNC|PATH`.

use std::{
    env,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use super::{args::SelectionArgs, failure::CtlFailure};
use crate::{
    control::request::{ByteText, Selection},
    report::os_error_text,
};

impl SelectionArgs {
    /// Returns the selection for a request.
    ///
    /// # Errors
    ///
    /// If a sync's name is not UTF-8, or the working directory is unknown.
    pub(super) fn resolve(&self) -> Result<Selection, CtlFailure> {
        self.selection.as_deref().map_or_else(|| Ok(Selection::default()), resolve)
    }
}

/// Returns the selection that an argument stands for.
///
/// # Errors
///
/// As for [`SelectionArgs`].
pub(super) fn resolve(argument: &OsStr) -> Result<Selection, CtlFailure> {
    if is_path(argument) {
        return Ok(Selection { path: Some(absolute(Path::new(argument))?), sync: None });
    }
    match argument.to_str() {
        Some(name) => Ok(Selection { sync: Some(name.to_owned()), path: None }),
        None => Err(CtlFailure::Usage(
            "names of syncs are UTF-8; a path begins with /, ./ or ../".to_owned(),
        )),
    }
}

/// Returns true for an argument that is a path, not the name of a sync.
fn is_path(argument: &OsStr) -> bool {
    let first = Path::new(argument).components().next();
    match first {
        Some(Component::RootDir | Component::CurDir | Component::ParentDir) => true,
        Some(Component::Normal(_) | Component::Prefix(_)) | None => false,
    }
}

/// Returns a path from the root, without `.` and `..`. Links are not resolved.
///
/// # Errors
///
/// If the working directory is unknown.
pub(super) fn absolute(path: &Path) -> Result<ByteText, CtlFailure> {
    let directory = env::current_dir().map_err(|error| {
        CtlFailure::System(format!("the working directory is unknown: {}", os_error_text(&error)))
    })?;
    Ok(ByteText::from(normalized(&directory.join(path)).as_os_str()))
}

fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => drop(result.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn resolve(argument: &[u8]) -> Selection {
        let argument = OsStr::from_bytes(argument).to_owned();
        SelectionArgs { selection: Some(argument) }.resolve().unwrap()
    }

    fn path(bytes: &[u8]) -> Selection {
        Selection { path: Some(ByteText::new(bytes)), sync: None }
    }

    #[test]
    fn an_argument_is_a_sync_or_a_path() {
        let sync = |name: &str| Selection { sync: Some(name.into()), path: None };
        assert_eq!(SelectionArgs::default().resolve().unwrap(), Selection::default());
        for name in ["web", "host:/srv/www", "a/b", "", ".hidden", "..."] {
            assert_eq!(resolve(name.as_bytes()), sync(name), "{name}");
        }
        for (argument, expected) in
            [("/", "/"), ("/a/./b/../c/", "/a/c"), ("/..", "/"), ("//a//b", "/a/b")]
        {
            assert_eq!(resolve(argument.as_bytes()), path(expected.as_bytes()), "{argument}");
        }
        assert_eq!(resolve(b"/a\xff"), path(b"/a\xff"));
        let here = env::current_dir().unwrap();
        for (argument, expected) in [
            (".", here.clone()),
            ("./x", here.join("x")),
            ("..", here.parent().unwrap().to_owned()),
            ("../x", here.parent().unwrap().join("x")),
        ] {
            let expected = path(expected.as_os_str().as_bytes());
            assert_eq!(resolve(argument.as_bytes()), expected, "{argument}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_refused() {
        let argument = OsStr::from_bytes(b"a\xff").to_owned();
        let result = SelectionArgs { selection: Some(argument) }.resolve();
        assert!(matches!(result, Err(CtlFailure::Usage(_))));
    }
}
