//! The way on which a name is found, through symbolic links.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Component, Path, PathBuf},
};

/// The most links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;

/// Resolution of an absolute path, as `path_resolution(7)` has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolution {
    /// What it depends on, in order.
    pub(super) steps: Vec<Step>,
    /// The directory to which the path leads. `None` if it leads to none.
    pub(super) end: Option<PathBuf>,
}

/// One thing on which a resolution depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A directory, which stays that one until it is renamed or removed.
    Directory(PathBuf),
    /// A name in a directory that is a link, or no directory, or not there.
    Name(PathBuf, OsString),
}

impl Resolution {
    /// Resolves an absolute path.
    pub(super) fn of(path: &Path) -> Self {
        let mut found = Self::default();
        found.end = found.follow(path);
        found
    }

    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut rest = Vec::new();
        push(&mut rest, path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            if let Ok(link) = fs::read_link(&next) {
                links += 1;
                self.steps.push(Step::Name(here.clone(), name));
                if links > MOST_LINKS {
                    return None;
                }
                if link.is_absolute() {
                    here = "/".into();
                }
                push(&mut rest, &link);
            } else if next.is_dir() {
                self.steps.push(Step::Directory(next.clone()));
                here = next;
            } else {
                self.steps.push(Step::Name(here, name));
                return None;
            }
        }
        Some(here)
    }
}

impl Step {
    /// The directory that tells when this one changes.
    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Directory(directory) | Self::Name(directory, _) => directory,
        }
    }

    /// The name in it of which that is told, unless it is about the directory itself.
    pub(super) fn name(&self) -> Option<&OsStr> {
        match self {
            Self::Directory(_) => None,
            Self::Name(_, name) => Some(name),
        }
    }
}

/// Adds the names of a path to those that are left to go, of which the next one is the last.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    rest.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_resolved_through_each_link() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("d/e")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        for (to, name) in [("d", "l"), ("../l/./e", "d/up"), ("d/up", "chain"), ("no/x", "to-no")] {
            symlink(to, top.join(name)).unwrap();
        }
        symlink(top.join("chain"), top.join("absolute")).unwrap();
        symlink("circle", top.join("circle")).unwrap();
        let check = |path: &str, names: &[(&str, &str)], end: Option<&str>| {
            let found = Resolution::of(&top.join(path));
            let name = |step: &Step| Some((step.directory().to_owned(), step.name()?.to_owned()));
            let expected = names.iter().map(|(dir, name)| (top.join(dir), OsString::from(name)));
            // An empty name adds a slash, which does not count for a path.
            let found_names: Vec<_> = found.steps.iter().filter_map(name).collect();
            assert_eq!(found_names, expected.collect::<Vec<_>>(), "{path}");
            assert_eq!(found.end, end.map(|end| top.join(end)), "{path}");
        };
        check("d/e", &[], Some("d/e"));
        check("l/e/", &[("", "l")], Some("d/e"));
        check("chain", &[("", "chain"), ("d", "up"), ("", "l")], Some("d/e"));
        let all = [("", "absolute"), ("", "chain"), ("d", "up"), ("", "l")];
        check("absolute", &all, Some("d/e"));
        check("to-no", &[("", "to-no"), ("", "no")], None);
        check("l/none/deeper", &[("", "l"), ("d", "none")], None);
        check("l/../file", &[("", "l"), ("", "file")], None);
        assert_eq!(Resolution::of(&top.join("circle")).end, None);
        assert_eq!(Resolution::of(Path::new("/")).end, Some("/".into()));
    }
}
