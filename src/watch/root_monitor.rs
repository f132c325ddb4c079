//! Monitoring of the root directories, for all backends.
//!
//! A root, and each directory above it, is watched for its own renaming and removal, and the mount
//! table is watched for changes. If the configured path of a root contains symbolic links, the
//! directories that hold these are watched for changes of names. After each event the roots
//! themselves are checked, each with a time limit: all mirrors need this thread.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use mirror_core::{
    fs_event::{MirrorId, RootGone},
    path::TreePath,
};
use mirror_platform::{
    answers::within_limit_below,
    dir::Dir,
    dir_watch::{DirInterest, DirWatchId, DirWatches},
    identity::DirIdentity,
    mounts::{MountInfo, MountTable},
};
use rustix::io::Errno;

use super::{
    backend::strip_root,
    limits::{explain_no_instance, explain_no_mounts},
    resolution::PathResolution,
};

/// Maximum number of resolutions of a path that changes each time.
const MAX_ATTEMPTS: usize = 10;

/// Monitors the roots of all mirrors.
#[derive(Debug)]
pub(super) struct RootMonitor {
    directories: DirWatches,
    mounts: MountTable,
    /// Mounts below roots, by mount id.
    known_mounts: BTreeMap<u64, KnownMount>,
    roots: Vec<MonitoredRoot>,
}

/// A mount below a root.
#[derive(Debug)]
struct KnownMount {
    point: Vec<u8>,
    /// Identity of its root, since the mount id may be reused for the next mount. `None` if it is
    /// unknown.
    identity: Option<DirIdentity>,
    /// True if others may change the content without this kernel.
    is_shared: bool,
}

#[derive(Debug)]
struct MonitoredRoot {
    mirror: MirrorId,
    path: PathBuf,
    identity: DirIdentity,
    /// Mount id of the root.
    mount: u64,
    /// Watches of the root and of its ancestors.
    watches: Vec<DirWatchId>,
    alias: Option<RootAlias>,
}

/// Configured path of a root that contains, or may later contain, symbolic links.
#[derive(Debug)]
struct RootAlias {
    given: PathBuf,
    /// The last directory that it led to.
    leads_to: PathBuf,
    /// Watches of the directories it depends on, each with the name in that directory that matters,
    /// if any.
    watches: Vec<(DirWatchId, Option<OsString>)>,
}

/// Changes found by a check of the roots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RootChanges {
    /// Mirrors whose root is gone, and how. They are no longer monitored.
    pub(super) gone: Vec<(MirrorId, RootGone)>,
    /// Mirrors whose configured path leads to another directory than before.
    pub(super) repointed: Vec<MirrorId>,
    /// New mount points below roots.
    pub(super) mounted: Vec<Vec<u8>>,
    /// Former mount points below roots.
    pub(super) unmounted: Vec<Vec<u8>>,
}

impl RootMonitor {
    /// Creates a monitor without roots.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`, or if `/proc` is not mounted.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            directories: DirWatches::new().map_err(explain_no_instance)?,
            mounts: MountTable::open().map_err(explain_no_mounts)?,
            known_mounts: BTreeMap::new(),
            roots: Vec::new(),
        })
    }

    /// Returns the descriptor that is readable when there are events.
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.directories.as_fd()
    }

    /// Returns the descriptor that has priority data when the mount table has changed.
    pub(super) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }

    /// Starts to monitor a root, and the path `given` that leads to it. Returns true if that
    /// already leads to another directory.
    ///
    /// # Errors
    ///
    /// If the root can't be opened. If it, or a directory above it, can't be watched, that is no
    /// error: then only its mount is monitored.
    pub(super) fn add(
        &mut self,
        mirror: MirrorId,
        path: &Path,
        given: Option<&Path>,
    ) -> io::Result<bool> {
        self.remove(mirror);
        let open = |path: &Path| {
            let root = Dir::open_no_symlinks(path)?;
            let above: Vec<Dir> = path.ancestors().filter_map(|it| Dir::open(it).ok()).collect();
            Ok::<_, io::Error>((DirIdentity::of(&root)?, root.stat(b"")?.mount, above))
        };
        let opened = within_limit_below(path, open).ok_or(io::ErrorKind::TimedOut)?;
        let (identity, mount, above) = opened?;
        let watch = |above: &Dir| self.directories.watch(above, DirInterest::Itself).ok();
        let watches = above.iter().filter_map(watch).collect();
        let mut alias = given.map(|given| RootAlias::new(given, path));
        let is_repointed = alias.as_mut().is_some_and(|alias| alias.update(&mut self.directories));
        let table = self.mounts.read()?;
        // Mounts that appeared below the other roots since the last check are not reported yet.
        let before = self.below_roots(&table);
        self.roots.push(MonitoredRoot {
            mirror,
            path: path.into(),
            identity,
            mount,
            watches,
            alias,
        });
        let now = self.below_roots(&table);
        self.known_mounts.extend(now.into_iter().filter(|(id, _)| !before.contains_key(id)));
        Ok(is_repointed)
    }

    /// Stops monitoring a root.
    pub(super) fn remove(&mut self, mirror: MirrorId) {
        let gone: Vec<MonitoredRoot> =
            self.roots.extract_if(.., |root| root.mirror == mirror).collect();
        self.unwatch(&gone.iter().flat_map(MonitoredRoot::watches).collect());
    }

    /// Removes those watches that no root needs.
    fn unwatch(&mut self, watches: &HashSet<DirWatchId>) {
        let needed: HashSet<DirWatchId> =
            self.roots.iter().flat_map(MonitoredRoot::watches).collect();
        for watch in watches.difference(&needed) {
            self.directories.unwatch(*watch);
        }
    }

    /// Reads the events of the watches. Returns true if any of them may concern a root.
    pub(super) fn read_events(&mut self) -> bool {
        let Self { directories, roots, .. } = self;
        directories.read(|watch, name| {
            let aliases = roots.iter().filter_map(|root| root.alias.as_ref());
            let mut watches = aliases.flat_map(|alias| &alias.watches);
            watches.any(|(of_alias, matters)| {
                *of_alias == watch && matters.as_ref().is_some_and(|it| it.as_bytes() == name)
            })
        })
    }

    pub(super) fn check(&mut self) -> RootChanges {
        self.read_events();
        let mut changes = RootChanges::default();
        let before = self.roots.iter().flat_map(MonitoredRoot::watches).collect();
        for root in &mut self.roots {
            if root.alias.as_mut().is_some_and(|alias| alias.update(&mut self.directories)) {
                changes.repointed.push(root.mirror);
            }
        }
        self.unwatch(&before);
        // Without the table, "unmounted" and "replaced" can't be distinguished, which affects only
        // the message.
        let table = self.mounts.read().unwrap_or_default();
        for root in &self.roots {
            let is_mounted = table.iter().any(|mount| mount.id == root.mount);
            if let Some(gone) = root.gone(is_mounted) {
                changes.gone.push((root.mirror, gone));
            }
        }
        for (mirror, _) in &changes.gone {
            self.remove(*mirror);
        }
        let mut before = std::mem::take(&mut self.known_mounts);
        let mut now = self.below_roots(&table);
        for (id, mount) in &mut now {
            match before.remove(id) {
                Some(known) if known.is_replaced_by(mount) => {
                    changes.unmounted.push(known.point);
                    changes.mounted.push(mount.point.clone());
                }
                Some(known) => {
                    if known.is_moved_to(&mount.point) {
                        changes.unmounted.push(known.point);
                        changes.mounted.push(mount.point.clone());
                    }
                    mount.identity = mount.identity.take().or(known.identity);
                }
                None => changes.mounted.push(mount.point.clone()),
            }
        }
        changes.unmounted.extend(before.into_values().map(|mount| mount.point));
        self.known_mounts = now;
        changes
    }

    /// Returns the mount points below a directory whose content others may change.
    pub(super) fn shared_below(&self, root: &Path) -> Vec<TreePath> {
        let root = root.as_os_str().as_bytes();
        let shared = self.known_mounts.values().filter(|mount| mount.is_shared);
        let below = shared.filter_map(|mount| TreePath::new(strip_root(root, &mount.point)?));
        below.filter(|path| !path.is_root()).collect()
    }

    fn below_roots(&self, table: &[MountInfo]) -> BTreeMap<u64, KnownMount> {
        let is_below = |mount: &&MountInfo| {
            self.roots.iter().any(|root| {
                let root = root.path.as_os_str().as_bytes();
                strip_root(root, &mount.point).is_some_and(|path| !path.is_empty())
            })
        };
        let mut below: BTreeMap<u64, KnownMount> = BTreeMap::new();
        for mount in table.iter().filter(is_below) {
            // It hides those that were mounted there before.
            let hidden = below.values_mut().filter(|other| other.point == mount.point);
            hidden.for_each(|other| other.identity = None);
            let identity = if mount.may_block { None } else { identity(&mount.point) };
            let (point, is_shared) = (mount.point.clone(), mount.is_shared);
            below.insert(mount.id, KnownMount { point, identity, is_shared });
        }
        below
    }
}

impl KnownMount {
    fn is_replaced_by(&self, other: &Self) -> bool {
        self.identity.is_some() && other.identity.is_some() && self.identity != other.identity
    }

    /// Returns true if the mount was moved to `point`. If a directory above was renamed, there is
    /// nothing at its former mount point.
    fn is_moved_to(&self, point: &[u8]) -> bool {
        let is_there = |path: &Path| Dir::open_path_no_symlinks(path).is_ok();
        let former = Path::new(OsStr::from_bytes(&self.point));
        self.point != point && within_limit_below(former, is_there) == Some(true)
    }
}

fn identity(point: &[u8]) -> Option<DirIdentity> {
    let directory = Dir::open_path_no_symlinks(Path::new(OsStr::from_bytes(point))).ok()?;
    DirIdentity::of_mount(directory).ok()
}

impl MonitoredRoot {
    fn watches(&self) -> impl Iterator<Item = DirWatchId> {
        let of_alias = self.alias.iter().flat_map(|alias| &alias.watches);
        self.watches.iter().copied().chain(of_alias.map(|(watch, _)| *watch))
    }

    fn gone(&self, is_mounted: bool) -> Option<RootGone> {
        let look = |path: &Path| Dir::open_path_no_symlinks(path).and_then(DirIdentity::of);
        // What does not answer may still be there.
        match within_limit_below(&self.path, look)? {
            Ok(now) if now == self.identity => None,
            Ok(_) if is_mounted => Some(RootGone::Replaced),
            Ok(_) => Some(RootGone::Unmounted),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => Some(RootGone::Symlinked),
                Some(Errno::NOENT | Errno::NOTDIR) if is_mounted => Some(RootGone::Removed),
                Some(Errno::NOENT | Errno::NOTDIR) => Some(RootGone::Unmounted),
                // Unknown. Reading the tree will show the error.
                _ => None,
            },
        }
    }
}

impl RootAlias {
    /// Creates the alias `given` of a root; it is not watched yet.
    fn new(given: &Path, root: &Path) -> Self {
        Self { given: given.into(), leads_to: root.into(), watches: Vec::new() }
    }

    /// Watches the directories of the current resolution. Returns true if the path leads to another
    /// directory than before.
    fn update(&mut self, directories: &mut DirWatches) -> bool {
        let resolve = || within_limit_below(&self.given, PathResolution::of);
        let Some(mut resolution) = resolve() else { return false };
        self.watches.clear();
        for _ in 0..MAX_ATTEMPTS {
            for step in &resolution.steps {
                let interest =
                    if step.name().is_some() { DirInterest::Names } else { DirInterest::Itself };
                let watched = watch(directories, step.directory(), interest);
                let name = step.name().map(OsStr::to_owned);
                self.watches.extend(watched.map(|watch| (watch, name)));
            }
            // Changes before the watch was added caused no event.
            let Some(now) = resolve() else { break };
            let before = std::mem::replace(&mut resolution, now);
            if before == resolution {
                break;
            }
        }
        match resolution.end {
            Some(end) if end != self.leads_to => {
                self.leads_to = end;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// Watches a directory. A failure is ignored, because each transfer checks the root and its path as
/// well.
fn watch(
    directories: &mut DirWatches,
    directory: &Path,
    interest: DirInterest,
) -> Option<DirWatchId> {
    let opened = within_limit_below(directory, Dir::open)?;
    directories.watch(&opened.ok()?, interest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    const MIRROR: MirrorId = MirrorId(0);

    /// Returns the changes after `change` was applied to a directory with the root `a/b`.
    fn after(change: impl FnOnce(&Path)) -> RootChanges {
        let temp = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(temp.path()).unwrap();
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        let mut monitor = RootMonitor::new().unwrap();
        monitor.add(MIRROR, &path.join("a/b"), None).unwrap();
        assert_eq!(monitor.check(), RootChanges::default());
        change(&path);
        assert!(monitor.read_events(), "there is no event");
        monitor.check()
    }

    fn gone(how: RootGone) -> RootChanges {
        RootChanges { gone: vec![(MIRROR, how)], ..RootChanges::default() }
    }

    #[test]
    fn a_removed_root_is_gone() {
        let remove = |path: &Path| fs::remove_dir_all(path.join("a/b")).unwrap();
        assert_eq!(after(remove), gone(RootGone::Removed));
    }

    #[test]
    fn a_renamed_root_is_gone() {
        let rename = |path: &Path| fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
        assert_eq!(after(rename), gone(RootGone::Removed));
    }

    #[test]
    fn a_root_is_gone_when_a_directory_above_it_is_renamed() {
        let rename = |path: &Path| fs::rename(path.join("a"), path.join("x")).unwrap();
        assert_eq!(after(rename), gone(RootGone::Removed));
    }

    #[test]
    fn a_replaced_root_is_gone() {
        let replace = |path: &Path| {
            fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
            fs::create_dir(path.join("a/b")).unwrap();
        };
        assert_eq!(after(replace), gone(RootGone::Replaced));
    }

    #[test]
    fn a_recreated_root_is_gone() {
        let recreate = |path: &Path| {
            fs::remove_dir_all(path.join("a/b")).unwrap();
            // On ext4 it gets the inode number of the first one.
            fs::create_dir(path.join("a/b")).unwrap();
        };
        assert_eq!(after(recreate), gone(RootGone::Replaced));
    }

    #[test]
    fn a_root_is_gone_when_a_link_is_in_its_path() {
        let link = |path: &Path| {
            fs::rename(path.join("a"), path.join("x")).unwrap();
            symlink("x", path.join("a")).unwrap();
        };
        assert_eq!(after(link), gone(RootGone::Symlinked));
    }

    #[test]
    fn a_root_renamed_back_is_not_gone() {
        let there_and_back = |path: &Path| {
            fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
            fs::rename(path.join("a/x"), path.join("a/b")).unwrap();
        };
        assert_eq!(after(there_and_back), RootChanges::default());
    }

    /// Creates the directories `one` and `two` and the links `current` to `chain` to `one`, and
    /// monitors the root by its path `current`.
    fn monitor_link() -> (tempfile::TempDir, PathBuf, RootMonitor) {
        let temp = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(temp.path()).unwrap();
        for name in ["links", "one", "two"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        symlink("../one", path.join("links/chain")).unwrap();
        symlink("links/chain", path.join("current")).unwrap();
        let mut monitor = RootMonitor::new().unwrap();
        let given = path.join("current");
        assert!(!monitor.add(MIRROR, &path.join("one"), Some(&given)).unwrap());
        assert_eq!(seen(&mut monitor), None);
        (temp, path, monitor)
    }

    /// Returns the changes, if there are events.
    fn seen(monitor: &mut RootMonitor) -> Option<RootChanges> {
        monitor.read_events().then(|| monitor.check())
    }

    fn repointed() -> RootChanges {
        RootChanges { repointed: vec![MIRROR], ..RootChanges::default() }
    }

    fn repoint(link: &Path, to: &str) {
        let next = link.with_extension("next");
        symlink(to, &next).unwrap();
        fs::rename(&next, link).unwrap();
    }

    #[test]
    fn a_repointed_link_anywhere_in_the_path_is_reported() {
        let (_temp, path, mut monitor) = monitor_link();
        repoint(&path.join("links/chain"), "../two");
        assert_eq!(seen(&mut monitor), Some(repointed()));
        repoint(&path.join("current"), "one");
        assert_eq!(seen(&mut monitor), Some(repointed()));
        repoint(&path.join("current"), "links/chain");
        assert_eq!(seen(&mut monitor), Some(repointed()));
        // The directory that holds a link is replaced.
        fs::rename(path.join("links"), path.join("old")).unwrap();
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
        fs::create_dir(path.join("links")).unwrap();
        symlink("../one", path.join("links/chain")).unwrap();
        assert_eq!(seen(&mut monitor), Some(repointed()));
        repoint(&path.join("links/chain"), "../two");
        assert_eq!(seen(&mut monitor), Some(repointed()));
    }

    #[test]
    fn a_temporarily_dangling_link_is_no_change() {
        let (_temp, path, mut monitor) = monitor_link();
        let link = path.join("current");
        fs::remove_file(&link).unwrap();
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
        // It leads to the same directory as before, ..
        symlink("one", &link).unwrap();
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
        // .. or to one that is created later.
        repoint(&link, "later/release");
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
        fs::create_dir(path.join("later")).unwrap();
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
        fs::write(path.join("later/file"), "").unwrap();
        assert_eq!(seen(&mut monitor), None);
        fs::create_dir(path.join("later/release")).unwrap();
        assert_eq!(seen(&mut monitor), Some(repointed()));
        fs::remove_dir(path.join("later/release")).unwrap();
        assert_eq!(seen(&mut monitor), Some(RootChanges::default()));
    }

    #[test]
    fn events_for_other_names_are_ignored() {
        let (_temp, path, mut monitor) = monitor_link();
        fs::write(path.join("file"), "").unwrap();
        fs::rename(path.join("file"), path.join("links/file")).unwrap();
        fs::write(path.join("one/chain"), "").unwrap();
        assert_eq!(seen(&mut monitor), None);
        // A sync that is no longer watched needs none of these watches.
        monitor.remove(MIRROR);
        repoint(&path.join("current"), "two");
        assert_eq!(seen(&mut monitor), None);
    }

    #[test]
    fn a_link_repointed_before_watching_is_reported() {
        let (_temp, path, mut monitor) = monitor_link();
        let add = |monitor: &mut RootMonitor, root: &str| {
            monitor.add(MIRROR, &path.join(root), Some(&path.join("current"))).unwrap()
        };
        repoint(&path.join("current"), "two");
        assert!(add(&mut monitor, "one"));
        assert!(!add(&mut monitor, "two"));
    }

    #[test]
    fn all_roots_of_a_repointed_link_are_reported() {
        let (_temp, path, mut monitor) = monitor_link();
        let link = path.join("current");
        monitor.add(MirrorId(1), &path.join("one"), Some(&link)).unwrap();
        repoint(&link, "two");
        let both = vec![MIRROR, MirrorId(1)];
        assert_eq!(
            seen(&mut monitor),
            Some(RootChanges { repointed: both, ..RootChanges::default() })
        );
        monitor.remove(MIRROR);
        repoint(&link, "one");
        let other = vec![MirrorId(1)];
        assert_eq!(
            seen(&mut monitor),
            Some(RootChanges { repointed: other, ..RootChanges::default() })
        );
    }
}
