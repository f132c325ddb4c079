//! Location of a target in relation to its source.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
};

use mirror_core::plan::target::strip_url;

/// Maximum number of symbolic links to follow, as in the kernel (`path_resolution(7)`).
const MAX_SYMLINKS: usize = 40;

/// Returns true if rsync treats this target as remote: `host:path`, `host::module` or `rsync://`. A
/// slash before the first colon makes it a local path.
#[must_use]
pub fn is_remote(target: &OsStr) -> bool {
    let target = target.as_bytes();
    if strip_url(target).is_some() {
        return true;
    }
    target.iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

/// Appends a slash to a target, as the programs need it. A target that ends in `:` means a home and
/// stays as it is.
#[must_use]
pub fn with_slash(target: &OsStr) -> OsString {
    let mut bytes = target.as_bytes().to_vec();
    if !matches!(bytes.last(), Some(b'/' | b':')) {
        bytes.push(b'/');
    }
    OsString::from_vec(bytes)
}

/// Returns one spelling for all spellings of a target that differ in repeated slashes, `.` and the
/// slash at the end.
#[must_use]
pub fn uniform_spelling(target: &OsStr) -> OsString {
    let target = with_slash(target).into_vec();
    let (scheme, path) =
        target.split_at(target.len() - strip_url(&target).map_or(target.len(), <[u8]>::len));
    let mut spelling = scheme.to_vec();
    for (number, part) in path.split_inclusive(|byte| *byte == b'/').enumerate() {
        if number == 0 || !matches!(part, b"/" | b"./") {
            spelling.extend_from_slice(part);
        }
    }
    OsString::from_vec(spelling)
}

/// Forbidden relation of a target to its source or to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetConflict {
    /// The target is the root of this machine.
    IsRoot,
    /// The target is the source.
    IsSource,
    /// The target lies in the source, and would have to contain itself.
    InSource,
    /// The source lies in the target, and would be deleted as an extraneous file.
    HoldsSource,
}

/// Returns the conflict of the absolute path `target`, which need not exist, with the canonical
/// path `source`.
///
/// Directories are compared by device and inode, so that bind mounts are recognised.
///
/// # Errors
///
/// If symbolic links form a loop.
///
/// RACE: renames of parent directories can cause a conflict afterwards.
pub fn conflict(source: &Path, target: &Path) -> io::Result<Option<TargetConflict>> {
    let target = resolve(target)?;
    let is_same = |a: &Path, b: &Path| match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => a == b,
    };
    Ok(if is_same(&target, Path::new("/")) {
        Some(TargetConflict::IsRoot)
    } else if is_same(&target, source) {
        Some(TargetConflict::IsSource)
    } else if target.ancestors().any(|above| is_same(above, source)) {
        Some(TargetConflict::InSource)
    } else if source.ancestors().any(|above| is_same(above, &target)) {
        Some(TargetConflict::HoldsSource)
    } else {
        None
    })
}

/// Resolves symbolic links and dots of the absolute `path` as far as it exists. The rest is kept as
/// spelled.
///
/// # Errors
///
/// If symbolic links form a loop.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut links = 0;
    let mut rest: VecDeque<OsString> = names(path).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(name);
        let Ok(link) = fs::read_link(&next) else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MAX_SYMLINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        if link.is_absolute() {
            resolved = PathBuf::from("/");
        }
        let mut expanded: VecDeque<OsString> = names(&link).collect();
        expanded.append(&mut rest);
        rest = expanded;
    }
    Ok(resolved)
}

/// Iterates over the names and `..` of a path.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn remote_targets_are_recognised_as_by_rsync() {
        for remote in [
            "host:",
            "host:path",
            "host:/path",
            "user@host:path",
            "host::module",
            "host::module/p",
            "rsync://host/module",
            "RSYNC://host/module",
            "[::1]:path",
            "c:\\x",
            ":x",
        ] {
            assert!(is_remote(OsStr::new(remote)), "{remote:?}");
        }
        for local in ["", "/", "dir", "/a:b", "./a:b", "a/b:c", "rsync", "/rsync://x", "/x::y"] {
            assert!(!is_remote(OsStr::new(local)), "{local:?}");
        }
    }

    #[test]
    fn with_slash_appends_one_slash() {
        for (given, expected) in [
            ("a", "a/"),
            ("a/", "a/"),
            ("host:", "host:"),
            ("host:a", "host:a/"),
            ("host::mod", "host::mod/"),
        ] {
            assert_eq!(with_slash(OsStr::new(given)), expected, "{given:?}");
        }
    }

    #[test]
    fn spellings_of_a_target_are_recognized() {
        for (given, expected) in [
            ("/a/b", "/a/b/"),
            ("//a//b/./", "/a/b/"),
            ("/./a/b/.", "/a/b/"),
            ("host:", "host:"),
            ("host:a//b", "host:a/b/"),
            ("host:/a", "host:/a/"),
            ("host::mod//a", "host::mod/a/"),
            ("rsync://host/mod//a", "rsync://host/mod/a/"),
        ] {
            assert_eq!(uniform_spelling(OsStr::new(given)), expected, "{given:?}");
        }
        for (one, other) in [("/a/b", "/a/c"), ("/a", "a"), ("host:a", "host:/a"), ("/a/..", "/a")]
        {
            assert_ne!(uniform_spelling(OsStr::new(one)), uniform_spelling(OsStr::new(other)));
        }
    }

    #[test]
    fn conflicts_are_found_through_symlinks_and_dots() {
        let temp_dir = tempfile::tempdir().unwrap();
        let top = temp_dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/src/in")).unwrap();
        fs::create_dir_all(top.join("b")).unwrap();
        for (to, name) in
            [("a/src", "to-src"), ("a/src/gone", "dangling"), ("/", "to-root"), ("..", "b/up")]
        {
            symlink(to, top.join(name)).unwrap();
        }
        let check = |target: &str, expected: Option<TargetConflict>| {
            let found = conflict(&top.join("a/src"), &top.join(target)).unwrap();
            assert_eq!(found, expected, "{target:?}");
        };
        check("b", None);
        check("b/new/er", None);
        check("a/src2", None);
        check("a/src-not-there/../dst", None);
        check("a/src", Some(TargetConflict::IsSource));
        check("a/./src/", Some(TargetConflict::IsSource));
        check("to-src", Some(TargetConflict::IsSource));
        check("b/../a/src", Some(TargetConflict::IsSource));
        check("a/src/in", Some(TargetConflict::InSource));
        check("a/src/new/er", Some(TargetConflict::InSource));
        check("to-src/new", Some(TargetConflict::InSource));
        check("dangling", Some(TargetConflict::InSource));
        check("a", Some(TargetConflict::HoldsSource));
        check("", Some(TargetConflict::HoldsSource));
        check("b/up", Some(TargetConflict::HoldsSource));
        check("to-root", Some(TargetConflict::IsRoot));
        check("../../../../../../../../../../../..", Some(TargetConflict::IsRoot));
    }

    #[test]
    fn every_target_lies_in_the_root() {
        let temp_dir = tempfile::tempdir().unwrap();
        let found = conflict(Path::new("/"), temp_dir.path()).unwrap();
        assert_eq!(found, Some(TargetConflict::InSource));
    }

    #[test]
    fn symlink_loop_is_an_error() {
        let temp_dir = tempfile::tempdir().unwrap();
        symlink("b", temp_dir.path().join("a")).unwrap();
        symlink("a", temp_dir.path().join("b")).unwrap();
        assert!(conflict(Path::new("/usr"), &temp_dir.path().join("a/x")).is_err());
    }
}
