//! Where a target is, and how it lies to a source.

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

/// How many symbolic links are followed, as in the kernel (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Whether rsync takes this word for a place that is reached through a program or the network:
/// `host:path`, `host::module` or `rsync://`. A slash before the first colon makes it a path.
#[must_use]
pub fn is_remote(target: &OsStr) -> bool {
    const URL: &[u8] = b"rsync://";
    let target = target.as_bytes();
    if target.get(..URL.len()).is_some_and(|start| start.eq_ignore_ascii_case(URL)) {
        return true;
    }
    target.iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

/// The target as the programs get it: with a slash at the end, unless it ends in `:` and so means
/// a home.
#[must_use]
pub fn with_slash(target: &OsStr) -> OsString {
    let mut bytes = target.as_bytes().to_vec();
    if !matches!(bytes.last(), Some(b'/' | b':')) {
        bytes.push(b'/');
    }
    OsString::from_vec(bytes)
}

/// How a target lies to its source, or to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// It is the root of this machine.
    IsRoot,
    /// It is the source.
    IsSource,
    /// It lies in the source, so that it would have to hold itself.
    InSource,
    /// The source lies in it, and would be deleted as something that is not in the source.
    HoldsSource,
}

/// How the absolute path `target`, which need not be there, collides with `source`, a canonical
/// one. `None` if it does not.
///
/// Directories are compared, not names, so that bind mounts are seen through.
///
/// # Errors
///
/// If symbolic links lead in a circle.
///
/// RACE: whoever may rename directories on the way can bring the two together afterwards.
pub fn conflict(source: &Path, target: &Path) -> io::Result<Option<Conflict>> {
    let target = resolve(target)?;
    let is_same = |a: &Path, b: &Path| match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => a == b,
    };
    Ok(if is_same(&target, Path::new("/")) {
        Some(Conflict::IsRoot)
    } else if is_same(&target, source) {
        Some(Conflict::IsSource)
    } else if target.ancestors().any(|above| is_same(above, source)) {
        Some(Conflict::InSource)
    } else if source.ancestors().any(|above| is_same(above, &target)) {
        Some(Conflict::HoldsSource)
    } else {
        None
    })
}

/// The absolute `path` without links and dots, as far as it exists; the rest is taken as it is
/// spelled.
///
/// # Errors
///
/// If symbolic links lead in a circle.
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
        if links > MOST_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        if link.is_absolute() {
            resolved = PathBuf::from("/");
        }
        let mut turned: VecDeque<OsString> = names(&link).collect();
        turned.append(&mut rest);
        rest = turned;
    }
    Ok(resolved)
}

/// The components that lead somewhere.
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
    fn a_target_is_remote_where_rsync_takes_it_so() {
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
    fn a_target_gets_one_slash() {
        for (said, meant) in [
            ("a", "a/"),
            ("a/", "a/"),
            ("host:", "host:"),
            ("host:a", "host:a/"),
            ("host::mod", "host::mod/"),
        ] {
            assert_eq!(with_slash(OsStr::new(said)), meant, "{said:?}");
        }
    }

    #[test]
    fn a_target_collides_with_its_source_by_whatever_name() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/src/in")).unwrap();
        fs::create_dir_all(top.join("b")).unwrap();
        for (to, name) in
            [("a/src", "to-src"), ("a/src/gone", "dangling"), ("/", "to-root"), ("..", "b/up")]
        {
            symlink(to, top.join(name)).unwrap();
        }
        let check = |target: &str, expected: Option<Conflict>| {
            let found = conflict(&top.join("a/src"), &top.join(target)).unwrap();
            assert_eq!(found, expected, "{target:?}");
        };
        check("b", None);
        check("b/new/er", None);
        check("a/src2", None);
        check("a/src-not-there/../dst", None);
        check("a/src", Some(Conflict::IsSource));
        check("a/./src/", Some(Conflict::IsSource));
        check("to-src", Some(Conflict::IsSource));
        check("b/../a/src", Some(Conflict::IsSource));
        check("a/src/in", Some(Conflict::InSource));
        check("a/src/new/er", Some(Conflict::InSource));
        check("to-src/new", Some(Conflict::InSource));
        check("dangling", Some(Conflict::InSource));
        check("a", Some(Conflict::HoldsSource));
        check("", Some(Conflict::HoldsSource));
        check("b/up", Some(Conflict::HoldsSource));
        check("to-root", Some(Conflict::IsRoot));
        check("../../../../../../../../../../../..", Some(Conflict::IsRoot));
    }

    #[test]
    fn a_source_that_is_all_holds_every_target() {
        let place = tempfile::tempdir().unwrap();
        let found = conflict(Path::new("/"), place.path()).unwrap();
        assert_eq!(found, Some(Conflict::InSource));
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let place = tempfile::tempdir().unwrap();
        symlink("b", place.path().join("a")).unwrap();
        symlink("a", place.path().join("b")).unwrap();
        assert!(conflict(Path::new("/usr"), &place.path().join("a/x")).is_err());
    }
}
