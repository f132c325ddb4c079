//! Mounts inside a source, and inside a target on this machine.
//!
//! Where something was unmounted inside the source, an empty directory shows: nobody deleted what
//! was there. What the target has of it stays, through every transfer of this run, until the same
//! thing is mounted again or a person accepts that it is gone. And nothing is ever deleted through
//! a mount inside the target.

use std::{
    collections::BTreeSet,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mirror_core::{guard::ReplacedSource, job::Rename, notice::Kind, path::TreePath};
use mirror_platform::{
    dir::Dir,
    entries::ReadBuffer,
    identity::{FileSystem, Instance},
    mounts::Mounts,
};

use super::survey::kind_at;

/// Places of which nothing may be deleted at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    places: BTreeSet<TreePath>,
    bare: BTreeSet<TreePath>,
}

impl Absent {
    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The places, each with all below it.
    pub fn places(&self) -> impl Iterator<Item = &TreePath> {
        self.places.iter()
    }

    /// Those of them where the source shows an empty directory, which the target has already: there
    /// is nothing to bring but the attributes of the mount point, and those of what was mounted stay.
    pub fn bare(&self) -> impl Iterator<Item = &TreePath> {
        self.bare.iter()
    }

    /// Returns true if `path` is one of [`bare`](Self::bare).
    #[must_use]
    pub fn is_bare(&self, path: &TreePath) -> bool {
        self.bare.contains(path)
    }

    /// Returns true if `path` is one of the places or lies below one.
    #[must_use]
    pub fn protects(&self, path: &TreePath) -> bool {
        self.places.iter().any(|place| place.contains(path))
    }

    /// Returns true if one of the places lies below `path`, or is `path`: it can't be deleted as a
    /// whole.
    #[must_use]
    pub fn lies_below(&self, path: &TreePath) -> bool {
        self.places.iter().any(|place| path.contains(place))
    }

    /// The mounts below `target`, the root of a target on this machine, that have no directory
    /// below `source` in their place: what the source lacks is deleted, and a mount with all that
    /// is in it is not meant by that.
    #[must_use]
    pub fn of_target(target: &Path, source: &Dir) -> Self {
        let Ok(target) = target.canonicalize() else { return Self::default() };
        let is_missing =
            |path: &TreePath| !matches!(kind_at(source, path), Ok(Some(Kind::Directory)));
        mounted_below(&target).into_iter().filter(is_missing).collect()
    }
}

impl FromIterator<TreePath> for Absent {
    fn from_iter<I: IntoIterator<Item = TreePath>>(places: I) -> Self {
        Self { places: places.into_iter().collect(), bare: BTreeSet::new() }
    }
}

/// Mounts inside a source, as they were found in this run.
#[derive(Debug, Default)]
pub(super) struct NestedMounts {
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    mounted: Vec<Nested>,
    absent: Vec<Nested>,
    /// Those of them that nobody was told of.
    untold: Vec<TreePath>,
    /// Where something was absent that is mounted again elsewhere: what the target has there may go.
    left: Vec<TreePath>,
}

#[derive(Clone, Debug)]
struct Nested {
    path: TreePath,
    instance: Instance,
    file_system: Option<FileSystem>,
    /// A directory above it was renamed, and it is not known whether at the target too.
    is_renamed: bool,
}

impl Nested {
    /// Returns true if both are the same directory of one file system, wherever it is mounted.
    fn is(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.file_system, &other.file_system) else { return false };
        one.is_same_part(two) && self.instance.node().is(other.instance.node())
    }
}

impl NestedMounts {
    /// Looks at what is mounted below the root of the source, which is open as `root`.
    pub(super) fn look(&self, root: &Dir, path: &Path, replaced: ReplacedSource) {
        let mut known = self.known();
        let mounted = mounted_below(path).into_iter();
        let mounted: Vec<_> = mounted.filter_map(|path| known.find(root, path)).collect();
        let is_mounted = |it: &Nested| mounted.iter().any(|now| now.instance == it.instance);
        let is_back = |it: &Nested| {
            mounted
                .iter()
                .any(|now| now.is(it) || replaced == ReplacedSource::Budget && now.path == it.path)
        };
        let lost = std::mem::take(&mut known.mounted).into_iter().filter(|it| !is_mounted(it));
        for it in lost.filter(|it| !is_back(it)) {
            known.untold.push(it.path.clone());
            known.absent.push(it);
        }
        // What stood in its place meanwhile is forgotten with it.
        let back = known.absent.iter().filter(|it| is_back(it));
        let back: BTreeSet<TreePath> = back.map(|it| it.path.clone()).collect();
        known.absent.retain(|it| !back.contains(&it.path));
        let is_left = |path: &TreePath| !mounted.iter().any(|now| now.path == *path);
        known.left.extend(back.into_iter().filter(is_left));
        known.mounted = mounted;
    }

    /// Returns true if nothing is mounted or absent.
    pub(super) fn is_empty(&self) -> bool {
        let known = self.known();
        known.mounted.is_empty() && known.absent.is_empty()
    }

    /// The places that are absent and were not asked for here before.
    pub(super) fn untold(&self) -> Vec<TreePath> {
        std::mem::take(&mut self.known().untold)
    }

    /// The places that were absent until what was mounted there was mounted elsewhere.
    pub(super) fn left(&self) -> Vec<TreePath> {
        self.known().left.clone()
    }

    /// These were compared since.
    pub(super) fn settle_left(&self, places: &[TreePath]) {
        self.known().left.retain(|path| !places.contains(path));
    }

    /// Returns true if `path` is, or lies below, a place where something was mounted that is not
    /// there at this moment.
    pub(super) fn is_absent(&self, root: &Dir, path: &TreePath) -> bool {
        self.has_absent(root, |place| place.contains(path))
    }

    /// Returns true if `path` is such a place.
    pub(super) fn is_absent_place(&self, root: &Dir, path: &TreePath) -> bool {
        self.has_absent(root, |place| place == path)
    }

    fn has_absent(&self, root: &Dir, is_meant: impl Fn(&TreePath) -> bool) -> bool {
        let known = self.known();
        let is_meant = |it: &&Nested| is_meant(&it.path);
        known.absent.iter().any(|it| is_meant(&it))
            || known.mounted.iter().filter(is_meant).any(|it| {
                instance_at(root, &it.path).is_none_or(|instance| instance != it.instance)
            })
    }

    /// Directories were renamed in the source, and may be so at the target: what is absent from
    /// there may now have the new path as well.
    pub(super) fn follow(&self, renames: &[Rename]) {
        let mut known = self.known();
        for Rename { from, to } in renames {
            let moved = |it: &Nested| {
                let rest = it.path.as_bytes().strip_prefix(from.as_bytes())?;
                let is_below = rest.is_empty() || rest.starts_with(b"/");
                let path = TreePath::new(&[to.as_bytes(), rest].concat()).filter(|_| is_below)?;
                Some(Nested { path, is_renamed: true, ..it.clone() })
            };
            let moved: Vec<_> = known.absent.iter().filter_map(moved).collect();
            for it in moved {
                if !known.absent.iter().any(|known| known.path == it.path) {
                    known.absent.push(it);
                }
            }
        }
    }

    /// The places in the source, open as `root`, where something was mounted and is not now.
    pub(super) fn absent(&self, root: &Dir) -> Absent {
        let known = self.known();
        let path = |it: &Nested| it.path.clone();
        let is_bare = |it: &&Nested| !it.is_renamed && is_empty(root, &it.path);
        let bare = known.absent.iter().filter(is_bare).map(path).collect();
        Absent { places: known.absent.iter().map(path).collect(), bare }
    }

    /// A person has said that what is absent is gone.
    pub(super) fn accept(&self) {
        let mut known = self.known();
        known.absent.clear();
        known.untold.clear();
        known.left.clear();
    }

    /// Takes over what is known of the same source.
    pub(super) fn succeed(&self, other: &Self) {
        let known = other.known().clone();
        *self.known() = known;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What is mounted at `path` below `root`. `None` if that is not to be seen, as where another
    /// mount lies over it.
    fn find(&self, root: &Dir, path: TreePath) -> Option<Nested> {
        let directory = root.search_below(path.as_bytes()).ok()?;
        let instance = Instance::of_mount(&directory).ok().filter(Instance::is_mount_root)?;
        let known = self.mounted.iter().find(|it| it.instance == instance);
        let file_system = match known {
            Some(known) => known.file_system.clone(),
            None => FileSystem::of(&directory).ok(),
        };
        Some(Nested { path, instance, file_system, is_renamed: false })
    }
}

/// Returns true if there is a directory at `path` in which nothing is.
fn is_empty(root: &Dir, path: &TreePath) -> bool {
    let found = || io::ErrorKind::AlreadyExists.into();
    let directory = root.open_below(path.as_bytes());
    directory.and_then(|dir| dir.read(&mut ReadBuffer::new(), |_| Err(found()))).is_ok()
}

fn instance_at(root: &Dir, path: &TreePath) -> Option<Instance> {
    Instance::of_mount(root.search_below(path.as_bytes()).ok()?).ok()
}

/// The paths below the directory at the canonical path `root` on which something is mounted.
fn mounted_below(root: &Path) -> BTreeSet<TreePath> {
    let root = root.as_os_str().as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let table = Mounts::open().and_then(|mut mounts| mounts.read()).unwrap_or_default();
    let below = |point: &[u8]| {
        let path = TreePath::new(point.strip_prefix(root)?.strip_prefix(b"/")?)?;
        Some(path).filter(|path| !path.is_root())
    };
    table.iter().filter_map(|mount| below(&mount.point)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> TreePath {
        TreePath::new(path.as_bytes()).unwrap()
    }

    fn absent(places: &[&str]) -> Absent {
        places.iter().map(|path| at(path)).collect()
    }

    #[test]
    fn a_place_is_protected_with_all_below_it() {
        let absent = absent(&["a/m", "b"]);
        for (path, protects, lies_below) in [
            ("", false, true),
            ("a", false, true),
            ("a/m", true, true),
            ("a/m/f", true, false),
            ("a/mm", false, false),
            ("a/n", false, false),
            ("b", true, true),
            ("b/c/d", true, false),
        ] {
            assert_eq!(absent.protects(&at(path)), protects, "{path}");
            assert_eq!(absent.lies_below(&at(path)), lies_below, "{path}");
        }
    }

    #[test]
    fn what_is_absent_may_have_the_path_after_each_rename() {
        let mounts = NestedMounts::default();
        let instance = Instance::at(Path::new("/")).unwrap();
        let nested = Nested { path: at("a/m"), instance, file_system: None, is_renamed: false };
        mounts.known().absent.push(nested);
        let rename = |from, to| Rename { from: at(from), to: at(to) };
        mounts.follow(&[rename("a", "b"), rename("x", "y"), rename("b/m", "c"), rename("ax", "z")]);
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("b/m")).unwrap();
        let root = Dir::open(place.path()).unwrap();
        assert_eq!(mounts.absent(&root), absent(&["a/m", "b/m", "c"]));
        let heir = NestedMounts::default();
        heir.succeed(&mounts);
        assert_eq!(heir.absent(&root), mounts.absent(&root));
    }

    #[test]
    fn without_mounts_nothing_is_absent() {
        let place = tempfile::tempdir().unwrap();
        let root = Dir::open(place.path()).unwrap();
        let mounts = NestedMounts::default();
        mounts.look(&root, place.path(), ReplacedSource::Wait);
        assert!(mounts.absent(&root).is_empty());
    }
}
