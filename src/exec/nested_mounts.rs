//! Mounts inside a source, and inside a target on this machine.
//!
//! A file system that was unmounted inside the source leaves an empty directory, although nobody
//! deleted its files. The target keeps what it has of that file system in every transfer of this
//! run, until the same file system is mounted again or a person accepts the loss. With a `stateDir`
//! that also holds for later runs. Nothing is ever deleted in a file system that is mounted inside
//! the target.

use std::{
    collections::BTreeSet,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use mirror_core::{guard::ReplacedSource, job::Rename, path::TreePath};
use mirror_platform::{
    dir::Dir,
    entries::ReadBuffer,
    identity::{DirIdentity, FileSystem, InodeIdentity},
    mounts::MountTable,
};
use serde::{Deserialize, Serialize};

use super::{inode::EntryType, lock, lookup::entry_type_at};
use crate::{hex, unhex};

/// Paths below which nothing may be deleted at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProtectedPaths {
    paths: BTreeSet<TreePath>,
    bare_mount_points: BTreeSet<TreePath>,
}

impl ProtectedPaths {
    /// Returns true if there are no such paths.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Returns the paths. Each one protects everything below it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.paths.iter()
    }

    /// Returns the protected paths where the source has an empty directory that the target has too.
    /// Only the attributes of the mount point differ there, and those of the mounted file system
    /// are kept.
    pub(super) fn bare_mount_points(&self) -> impl Iterator<Item = &TreePath> {
        self.bare_mount_points.iter()
    }

    /// Returns true if `path` is one of the [bare mount points](Self::bare_mount_points).
    #[must_use]
    pub(super) fn is_bare_mount_point(&self, path: &TreePath) -> bool {
        self.bare_mount_points.contains(path)
    }

    /// Returns true if `path` is protected: if it is one of the paths, or is below one.
    #[must_use]
    pub(super) fn protects(&self, path: &TreePath) -> bool {
        self.paths.iter().any(|protected| protected.contains(path))
    }

    /// Returns true if a protected path is `path` or is below it, so that `path` cannot be deleted
    /// as a whole.
    #[must_use]
    pub(super) fn has_below(&self, path: &TreePath) -> bool {
        self.paths.iter().any(|protected| path.contains(protected))
    }

    /// Returns the mount points below `target`, the root of a target on this machine, where
    /// `source` has no directory: the deletion of extraneous entries must not include a mounted
    /// file system.
    #[must_use]
    pub(super) fn of_target(target: &Path, source: &Dir) -> Self {
        let Ok(target) = target.canonicalize() else { return Self::default() };
        let is_missing = |path: &TreePath| {
            !matches!(entry_type_at(source, path), Ok(Some(EntryType::Directory)))
        };
        mounted_below(&target).into_iter().filter(is_missing).collect()
    }
}

impl FromIterator<TreePath> for ProtectedPaths {
    fn from_iter<I: IntoIterator<Item = TreePath>>(places: I) -> Self {
        Self { paths: places.into_iter().collect(), bare_mount_points: BTreeSet::new() }
    }
}

/// Mounts that were found inside a source in this run.
#[derive(Debug, Default)]
pub(super) struct NestedMounts {
    /// Held while the mounts are read, which takes as long as one of them does not answer.
    refreshing: Mutex<()>,
    /// Never held while a file system is asked: the engine uses it.
    records: Mutex<MountRecords>,
}

#[derive(Clone, Debug, Default)]
struct MountRecords {
    mounted: Vec<NestedMount>,
    unmounted: Vec<NestedMount>,
    /// Unmounted paths that were not logged yet.
    unreported: Vec<TreePath>,
    /// Former mount points whose file systems are mounted at other paths now. The target may delete
    /// what it has there.
    vacated: Vec<TreePath>,
}

#[derive(Clone, Debug)]
struct NestedMount {
    path: TreePath,
    instance: DirIdentity,
    file_system: Option<FileSystem>,
    /// True if an ancestor was renamed in the source, and possibly at the target.
    is_renamed: bool,
}

/// Mount inside a source, as it is stored for a later run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountNote {
    /// Bytes of the path, in hexadecimal digits.
    path: String,
    inode: String,
    file_system: Option<String>,
    /// True if the file system is not mounted any more, and the target keeps its files.
    is_lost: bool,
    is_renamed: bool,
}

impl NestedMount {
    fn note(&self, is_lost: bool) -> MountNote {
        let Self { path, instance, file_system, is_renamed } = self;
        MountNote {
            path: hex(path.as_bytes()),
            inode: instance.inode().encode(),
            file_system: file_system.as_ref().map(FileSystem::encode),
            is_lost,
            is_renamed: *is_renamed,
        }
    }

    fn of_note(note: &MountNote) -> Option<Self> {
        let inode = InodeIdentity::decode(&note.inode)?;
        Some(Self {
            path: TreePath::new(&unhex(&note.path)?)?,
            instance: DirIdentity::of_earlier(inode),
            file_system: note.file_system.as_deref().and_then(FileSystem::decode),
            is_renamed: note.is_renamed,
        })
    }

    /// Returns true if both are the same directory of the same file system, wherever it is mounted.
    fn is_same(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.file_system, &other.file_system) else { return false };
        one.is_same_part(two) && self.instance.inode().is_same(other.instance.inode())
    }
}

impl MountRecords {
    /// Notes what is mounted now. A file system that is mounted again, wherever that is, is no
    /// longer missing anywhere. Others that were mounted at its path still are, and so is itself
    /// where it was mounted a second time: their files are on the target, and nobody has deleted
    /// them.
    fn update(&mut self, mounted: Vec<NestedMount>, replaced: ReplacedSource) {
        // Each mount of the present accounts for one of the past.
        let mut left: Vec<&NestedMount> = mounted.iter().collect();
        let mut take = |fits: &dyn Fn(&NestedMount) -> bool| {
            left.iter().position(|now| fits(now)).map(|at| left.remove(at)).is_some()
        };
        let is_equal =
            |one: &NestedMount, two: &NestedMount| one.instance == two.instance || one.is_same(two);
        let accepts_any = replaced == ReplacedSource::Budget;
        let mut lost = std::mem::take(&mut self.mounted);
        lost.retain(|it| !take(&|now| now.path == it.path && is_equal(now, it)));
        lost.retain(|it| !take(&|now| now.instance == it.instance));
        let mut back = BTreeSet::new();
        for only_there in [true, false] {
            let mut is_back = |it: &NestedMount| {
                take(&|now| {
                    let is_there = now.path == it.path;
                    now.is_same(it) && (is_there || !only_there) || accepts_any && is_there
                })
            };
            lost.retain(|it| !is_back(it));
            back.extend(self.unmounted.extract_if(.., |it| is_back(it)).map(|it| it.path));
        }
        self.unreported.extend(lost.iter().map(|it| it.path.clone()));
        self.unmounted.append(&mut lost);
        let is_left = |path: &TreePath| {
            !mounted.iter().chain(&self.unmounted).any(|other| other.path == *path)
        };
        self.vacated.extend(back.into_iter().filter(is_left));
        self.mounted = mounted;
    }
}

impl NestedMounts {
    /// Reads the mounts below the root of the source, which is open as `root`.
    pub(super) fn refresh(&self, root: &Dir, path: &Path, replaced: ReplacedSource) {
        let _refreshing = lock(&self.refreshing);
        let known = self.records().mounted.clone();
        let mounted = mounted_below(path).into_iter();
        let mounted: Vec<_> = mounted.filter_map(|path| find_mount(&known, root, path)).collect();
        self.records().update(mounted, replaced);
    }

    /// Returns true if nothing is or was mounted.
    pub(super) fn is_empty(&self) -> bool {
        let records = self.records();
        records.mounted.is_empty() && records.unmounted.is_empty()
    }

    /// Takes the unmounted paths that were not logged yet.
    pub(super) fn take_unreported(&self) -> Vec<TreePath> {
        std::mem::take(&mut self.records().unreported)
    }

    /// Returns the former mount points whose file systems were mounted at other paths.
    pub(super) fn vacated_paths(&self) -> Vec<TreePath> {
        self.records().vacated.clone()
    }

    /// Forgets vacated paths after they were compared.
    pub(super) fn settle_vacated(&self, paths: &[TreePath]) {
        self.records().vacated.retain(|path| !paths.contains(path));
    }

    /// Returns true if `path` is, or is below, a mount point whose file system is not mounted now.
    pub(super) fn is_unmounted(&self, root: &Dir, path: &TreePath) -> bool {
        self.has_unmounted(root, |point| point.contains(path))
    }

    /// Returns true if `path` is such a mount point.
    pub(super) fn is_lost_mount_point(&self, root: &Dir, path: &TreePath) -> bool {
        self.has_unmounted(root, |point| point == path)
    }

    fn has_unmounted(&self, root: &Dir, is_meant: impl Fn(&TreePath) -> bool) -> bool {
        let is_meant = |it: &&NestedMount| is_meant(&it.path);
        let mounted: Vec<NestedMount> = {
            let records = self.records();
            if records.unmounted.iter().any(|it| is_meant(&it)) {
                return true;
            }
            records.mounted.iter().filter(is_meant).cloned().collect()
        };
        let mut mounted = mounted.iter();
        mounted.any(|it| instance_at(root, &it.path).is_none_or(|instance| instance != it.instance))
    }

    /// Follows renames of directories in the source, which may apply to the target: unmounted paths
    /// below them get the new path in addition to the old one.
    pub(super) fn follow_renames(&self, renames: &[Rename]) {
        let mut records = self.records();
        for Rename { from, to } in renames {
            let moved = |it: &NestedMount| {
                let rest = it.path.as_bytes().strip_prefix(from.as_bytes())?;
                let is_below = rest.is_empty() || rest.starts_with(b"/");
                let path = TreePath::new(&[to.as_bytes(), rest].concat()).filter(|_| is_below)?;
                Some(NestedMount { path, is_renamed: true, ..it.clone() })
            };
            let moved: Vec<_> = records.unmounted.iter().filter_map(moved).collect();
            for it in moved {
                if !records.unmounted.iter().any(|known| known.path == it.path) {
                    records.unmounted.push(it);
                }
            }
        }
    }

    /// Returns the mount points in the source, open as `root`, that were in use and are not now.
    pub(super) fn unmounted_paths(&self, root: &Dir) -> ProtectedPaths {
        let unmounted = self.records().unmounted.clone();
        let path = |it: &NestedMount| it.path.clone();
        let is_bare = |it: &&NestedMount| !it.is_renamed && is_empty(root, &it.path);
        let bare_mount_points = unmounted.iter().filter(is_bare).map(path).collect();
        ProtectedPaths { paths: unmounted.iter().map(path).collect(), bare_mount_points }
    }

    /// Accepts the loss of the unmounted file systems. Returns their paths.
    pub(super) fn accept(&self) -> Vec<TreePath> {
        let mut records = self.records();
        let unmounted = std::mem::take(&mut records.unmounted);
        records.unreported.clear();
        records.vacated.clear();
        unmounted.into_iter().map(|it| it.path).collect()
    }

    /// Returns the mount points whose file systems were unmounted.
    pub(super) fn lost(&self) -> Vec<TreePath> {
        self.records().unmounted.iter().map(|it| it.path.clone()).collect()
    }

    /// Returns what a later run has to know: the mounts, and those of them that are lost.
    pub(super) fn notes(&self) -> Vec<MountNote> {
        let records = self.records();
        let mounted = records.mounted.iter().map(|it| it.note(false));
        mounted.chain(records.unmounted.iter().map(|it| it.note(true))).collect()
    }

    /// Continues with the mounts of an earlier run. What is not mounted now is found by the next
    /// [`refresh`](Self::refresh).
    pub(super) fn restore(&self, notes: &[MountNote], is_same_boot: bool) {
        let mut records = self.records();
        for note in notes {
            let Some(mount) = NestedMount::of_note(note) else { continue };
            if mount.file_system.as_ref().is_some_and(|it| !it.is_lasting(is_same_boot)) {
                continue;
            }
            if note.is_lost {
                records.unreported.push(mount.path.clone());
                records.unmounted.push(mount);
            } else {
                records.mounted.push(mount);
            }
        }
    }

    /// Inherits the records of another instance for the same source.
    pub(super) fn inherit(&self, other: &Self) {
        let records = other.records().clone();
        *self.records() = records;
    }

    fn records(&self) -> MutexGuard<'_, MountRecords> {
        lock(&self.records)
    }
}

/// Returns the mount at `path` below `root`. `None` if it is hidden, for example by another mount.
fn find_mount(known: &[NestedMount], root: &Dir, path: TreePath) -> Option<NestedMount> {
    let directory = root.open_below_for_lookup(path.as_bytes()).ok()?;
    let instance = DirIdentity::of_mount(&directory).ok().filter(DirIdentity::is_mount_root)?;
    let known = known.iter().find(|it| it.instance == instance);
    let file_system = match known {
        Some(known) => known.file_system.clone(),
        None => FileSystem::of(&directory).ok(),
    };
    Some(NestedMount { path, instance, file_system, is_renamed: false })
}

/// Returns true if there is an empty directory at `path`.
fn is_empty(root: &Dir, path: &TreePath) -> bool {
    let found = || io::ErrorKind::AlreadyExists.into();
    let directory = root.open_below(path.as_bytes());
    directory.and_then(|dir| dir.read(&mut ReadBuffer::new(), |_| Err(found()))).is_ok()
}

fn instance_at(root: &Dir, path: &TreePath) -> Option<DirIdentity> {
    DirIdentity::of_mount(root.open_below_for_lookup(path.as_bytes()).ok()?).ok()
}

/// Returns the mount points below the directory at the canonical path `root`.
fn mounted_below(root: &Path) -> BTreeSet<TreePath> {
    let root = root.as_os_str().as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let table = MountTable::open().and_then(|mut mounts| mounts.read()).unwrap_or_default();
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

    fn absent(paths: &[&str]) -> ProtectedPaths {
        paths.iter().map(|path| at(path)).collect()
    }

    #[test]
    fn a_path_is_protected_with_everything_below_it() {
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
            assert_eq!(absent.has_below(&at(path)), lies_below, "{path}");
        }
    }

    #[test]
    fn unmounted_paths_follow_every_rename() {
        let mounts = NestedMounts::default();
        let instance = DirIdentity::at(Path::new("/")).unwrap();
        let nested =
            NestedMount { path: at("a/m"), instance, file_system: None, is_renamed: false };
        mounts.records().unmounted.push(nested);
        let rename = |from, to| Rename { from: at(from), to: at(to) };
        mounts.follow_renames(&[
            rename("a", "b"),
            rename("x", "y"),
            rename("b/m", "c"),
            rename("ax", "z"),
        ]);
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("b/m")).unwrap();
        let root = Dir::open(temp.path()).unwrap();
        assert_eq!(mounts.unmounted_paths(&root), absent(&["a/m", "b/m", "c"]));
        let successor = NestedMounts::default();
        successor.inherit(&mounts);
        assert_eq!(successor.unmounted_paths(&root), mounts.unmounted_paths(&root));
    }

    #[test]
    fn lost_mounts_are_restored_with_their_renames() {
        let mounts = NestedMounts::default();
        let instance = DirIdentity::at(Path::new("/")).unwrap();
        let other = if cfg!(target_os = "linux") { "/proc" } else { "/dev" };
        let file_system = FileSystem::of(Dir::open(Path::new(other)).unwrap()).ok();
        let nested = NestedMount { path: at("a/m"), instance, file_system, is_renamed: false };
        mounts.records().mounted.push(nested.clone());
        mounts.records().unmounted.push(NestedMount { path: at("b"), is_renamed: true, ..nested });
        let notes = mounts.notes();
        let text = serde_json::to_string(&notes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<MountNote>>(&text).unwrap(), notes);
        let later = NestedMounts::default();
        later.restore(&notes, false);
        assert_eq!(later.notes(), notes);
        // Nothing is mounted there.
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        later.refresh(&root, temp.path(), ReplacedSource::Wait);
        assert_eq!(later.unmounted_paths(&root), absent(&["a/m", "b"]));
        assert_eq!(later.take_unreported(), [at("b"), at("a/m")]);
        assert_eq!(later.accept().len(), 2);
        assert!(later.notes().is_empty());
    }

    fn disk(number: u32, path: &str) -> NestedMount {
        let note = MountNote {
            path: hex(path.as_bytes()),
            inode: format!("{number} - -"),
            file_system: Some(format!("1021994 - {number} -")),
            ..MountNote::default()
        };
        NestedMount::of_note(&note).unwrap()
    }

    #[test]
    fn a_disk_that_is_mounted_twice_is_missing_where_it_is_unmounted() {
        let mut records = MountRecords::default();
        let mut update = |paths: &[&str]| {
            records.update(paths.iter().map(|path| disk(5, path)).collect(), ReplacedSource::Wait);
            let unmounted = records.unmounted.iter().map(|it| it.path.clone());
            (unmounted.collect::<Vec<_>>(), std::mem::take(&mut records.vacated))
        };
        update(&["a", "b"]);
        assert_eq!(update(&["a"]), (vec![at("b")], vec![]));
        assert_eq!(update(&["a"]), (vec![at("b")], vec![]));
        assert_eq!(update(&[]), (vec![at("b"), at("a")], vec![]));
        // Its return to one place says nothing of the other one.
        assert_eq!(update(&["a"]), (vec![at("b")], vec![]));
        assert_eq!(update(&["a", "c"]), (vec![], vec![at("b")]));
    }

    #[test]
    fn the_return_of_one_disk_says_nothing_of_another_one_at_its_path() {
        let (one, two) = (disk(5, "usb"), disk(6, "usb"));
        assert!(one.is_same(&disk(5, "elsewhere")) && !one.is_same(&two));
        let lost = |records: &MountRecords| {
            let paths = records.unmounted.iter();
            paths.map(|it| (it.path.clone(), it.is_same(&one))).collect::<Vec<_>>()
        };
        let mut records = MountRecords::default();
        let mut update = |mounted: Vec<NestedMount>| {
            records.update(mounted, ReplacedSource::Wait);
            (lost(&records), std::mem::take(&mut records.vacated))
        };
        update(vec![one.clone()]);
        assert_eq!(update(vec![two.clone()]), (vec![(at("usb"), true)], vec![]));
        assert_eq!(update(vec![one.clone()]), (vec![(at("usb"), false)], vec![]));
        let both = vec![(at("usb"), false), (at("usb"), true)];
        assert_eq!(update(vec![]), (both, vec![]));
        // The other one is mounted elsewhere; its former place is still that of the first.
        assert_eq!(update(vec![disk(6, "b")]), (vec![(at("usb"), true)], vec![]));
        assert_eq!(update(vec![disk(6, "b"), disk(5, "c")]), (vec![], vec![at("usb")]));
    }

    #[test]
    fn volatile_mounts_are_forgotten_after_a_restart_of_the_machine() {
        let note = MountNote {
            path: hex(b"m"),
            inode: "1 - -".into(),
            file_system: Some("1021994 - 5 -".into()),
            ..MountNote::default()
        };
        let restored = |is_same_boot| {
            let mounts = NestedMounts::default();
            mounts.restore(std::slice::from_ref(&note), is_same_boot);
            mounts.notes().len()
        };
        assert_eq!((restored(true), restored(false)), (1, 0));
    }

    #[test]
    fn without_mounts_nothing_is_unmounted() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        let mounts = NestedMounts::default();
        mounts.refresh(&root, temp.path(), ReplacedSource::Wait);
        assert!(mounts.unmounted_paths(&root).is_empty());
    }
}
