//! Path resolution through symbolic links, with the directories and names that it depends on.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Component, Path, PathBuf},
};

/// Maximum number of followed links, as in the kernel.
const MAX_LINKS: usize = 40;

/// Result of the resolution of an absolute path, as described in `path_resolution(7)`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PathResolution {
    /// Dependencies, in order.
    pub(super) steps: Vec<ResolutionStep>,
    /// The resolved directory. `None` if the path does not lead to one.
    pub(super) end: Option<PathBuf>,
}

/// Dependency of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResolutionStep {
    /// A directory, which stays the same until it is renamed or removed.
    Directory(PathBuf),
    /// A name in a directory that is a link, not a directory, or missing.
    Name(PathBuf, OsString),
}

impl PathResolution {
    /// Resolves an absolute path.
    pub(super) fn of(path: &Path) -> Self {
        let mut resolution = Self::default();
        resolution.end = resolution.follow(path);
        resolution
    }

    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut rest = Vec::new();
        push_components(&mut rest, path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            if let Ok(link) = fs::read_link(&next) {
                links += 1;
                self.steps.push(ResolutionStep::Name(here.clone(), name));
                if links > MAX_LINKS {
                    return None;
                }
                if link.is_absolute() {
                    here = "/".into();
                }
                push_components(&mut rest, &link);
            } else if next.is_dir() {
                self.steps.push(ResolutionStep::Directory(next.clone()));
                here = next;
            } else {
                self.steps.push(ResolutionStep::Name(here, name));
                return None;
            }
        }
        Some(here)
    }
}

impl ResolutionStep {
    /// Returns the directory to watch for a change of this dependency.
    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Directory(directory) | Self::Name(directory, _) => directory,
        }
    }

    /// Returns the name in that directory whose change matters. `None` if only the directory itself
    /// matters.
    pub(super) fn name(&self) -> Option<&OsStr> {
        match self {
            Self::Directory(_) => None,
            Self::Name(_, name) => Some(name),
        }
    }
}

/// Pushes the components of a path onto the stack of remaining ones, the first component on top.
fn push_components(rest: &mut Vec<OsString>, path: &Path) {
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
            let resolution = PathResolution::of(&top.join(path));
            let name = |step: &ResolutionStep| {
                Some((step.directory().to_owned(), step.name()?.to_owned()))
            };
            let expected = names.iter().map(|(dir, name)| (top.join(dir), OsString::from(name)));
            // An empty name adds a trailing slash, which makes no difference for a path.
            let resolved_names: Vec<_> = resolution.steps.iter().filter_map(name).collect();
            assert_eq!(resolved_names, expected.collect::<Vec<_>>(), "{path}");
            assert_eq!(resolution.end, end.map(|end| top.join(end)), "{path}");
        };
        check("d/e", &[], Some("d/e"));
        check("l/e/", &[("", "l")], Some("d/e"));
        check("chain", &[("", "chain"), ("d", "up"), ("", "l")], Some("d/e"));
        let all = [("", "absolute"), ("", "chain"), ("d", "up"), ("", "l")];
        check("absolute", &all, Some("d/e"));
        check("to-no", &[("", "to-no"), ("", "no")], None);
        check("l/none/deeper", &[("", "l"), ("d", "none")], None);
        check("l/../file", &[("", "l"), ("", "file")], None);
        assert_eq!(PathResolution::of(&top.join("circle")).end, None);
        assert_eq!(PathResolution::of(Path::new("/")).end, Some("/".into()));
    }
}
