//! Whether the roots are still what they were: for all sources alike.
//!
//! A root, and each directory above it, is watched for its own renaming and removal, and the
//! table of mounts for changes. After each sign the roots themselves are looked at.

use std::{
    collections::BTreeMap,
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use mirror_core::notice::{Gone, MirrorId};
use mirror_linux::{
    dir::Dir,
    identity::Instance,
    inotify::{Inotify, Subject, WatchId},
    mounts::{Mount, Mounts},
};
use rustix::io::Errno;
use std::os::fd::AsFd;

use super::{
    limits::{no_instance, no_mounts},
    source::below,
};

/// Watches over roots.
#[derive(Debug)]
pub(super) struct Sentinel {
    kernel: Inotify,
    mounts: Mounts,
    /// The mounts below roots.
    known: BTreeMap<u64, Vec<u8>>,
    roots: Vec<Root>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Root {
    mirror: MirrorId,
    path: PathBuf,
    instance: Instance,
    /// The number of its mount in the table of mounts.
    mount: u64,
    watches: Vec<WatchId>,
}

/// What a look at the roots showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Mirrors whose root went, and how. They are watched over no more.
    pub(super) gone: Vec<(MirrorId, Gone)>,
    /// Where something was mounted below a root.
    pub(super) mounted: Vec<Vec<u8>>,
    /// Where nothing is mounted any more below a root.
    pub(super) unmounted: Vec<Vec<u8>>,
}

impl Sentinel {
    /// A sentinel without roots.
    ///
    /// # Errors
    ///
    /// As `inotify_init1(2)`, or if there is no `/proc`.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            kernel: Inotify::new().map_err(no_instance)?,
            mounts: Mounts::open().map_err(no_mounts)?,
            known: BTreeMap::new(),
            roots: Vec::new(),
            buffer: vec![0; 4096],
        })
    }

    /// What is readable when there may be signs.
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }

    /// What has priority data when there may be signs.
    pub(super) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }

    /// Watches over a root from now on.
    ///
    /// # Errors
    ///
    /// If it can't be opened. That it, or a directory above it, can't be watched is none: then
    /// only its mount is watched over.
    pub(super) fn add(&mut self, mirror: MirrorId, path: &Path) -> io::Result<()> {
        self.remove(mirror);
        let root = Dir::open_unlinked(path)?;
        let (instance, mount) = (Instance::of(&root)?, root.stat(b"")?.stx_mnt_id);
        let watches = path
            .ancestors()
            .filter_map(|above| self.kernel.watch(Dir::open(above).ok()?, Subject::Itself).ok())
            .collect();
        let table = self.mounts.read()?;
        // What appeared below the other roots since the last look is still to be told.
        let before = self.below_roots(&table);
        self.roots.push(Root { mirror, path: path.into(), instance, mount, watches });
        let now = self.below_roots(&table);
        self.known.extend(now.into_iter().filter(|(id, _)| !before.contains_key(id)));
        Ok(())
    }

    /// Watches over a root no more.
    pub(super) fn remove(&mut self, mirror: MirrorId) {
        let gone: Vec<Root> = self.roots.extract_if(.., |root| root.mirror == mirror).collect();
        for watch in gone.iter().flat_map(|root| &root.watches) {
            if !self.roots.iter().any(|root| root.watches.contains(watch)) {
                // It fails if the directory was deleted.
                let _ = self.kernel.unwatch(*watch);
            }
        }
    }

    /// Looks at all roots.
    pub(super) fn look(&mut self) -> Signs {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Ok(Some(_)) = self.kernel.read(&mut buffer) {}
        self.buffer = buffer;
        let mut signs = Signs::default();
        // Without the table it can't be told unmounted from replaced, which is no more than a word.
        let table = self.mounts.read().unwrap_or_default();
        for root in &self.roots {
            let is_mounted = table.iter().any(|mount| mount.id == root.mount);
            if let Some(gone) = root.gone(is_mounted) {
                signs.gone.push((root.mirror, gone));
            }
        }
        for (mirror, _) in &signs.gone {
            self.remove(*mirror);
        }
        let now = self.below_roots(&table);
        let before = std::mem::replace(&mut self.known, now);
        let new = self.known.iter().filter(|(id, _)| !before.contains_key(id));
        signs.mounted = new.map(|(_, point)| point.clone()).collect();
        let old = before.iter().filter(|(id, _)| !self.known.contains_key(id));
        signs.unmounted = old.map(|(_, point)| point.clone()).collect();
        signs
    }

    fn below_roots(&self, table: &[Mount]) -> BTreeMap<u64, Vec<u8>> {
        let is_below = |mount: &&Mount| {
            self.roots.iter().any(|root| {
                let root = root.path.as_os_str().as_bytes();
                below(root, &mount.point).is_some_and(|path| !path.is_empty())
            })
        };
        table.iter().filter(is_below).map(|mount| (mount.id, mount.point.clone())).collect()
    }
}

impl Root {
    fn gone(&self, is_mounted: bool) -> Option<Gone> {
        match Dir::find_unlinked(&self.path).and_then(Instance::of) {
            Ok(now) if now == self.instance => None,
            Ok(_) if is_mounted => Some(Gone::Replaced),
            Ok(_) => Some(Gone::Unmounted),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => Some(Gone::Linked),
                Some(Errno::NOENT | Errno::NOTDIR) if is_mounted => Some(Gone::Removed),
                Some(Errno::NOENT | Errno::NOTDIR) => Some(Gone::Unmounted),
                // It can't be told. Whoever reads the tree will see.
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const MIRROR: MirrorId = MirrorId(0);

    /// What is seen after `change` to a place with the root `a/b`.
    fn after(change: impl FnOnce(&Path)) -> Signs {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        let mut sentinel = Sentinel::new().unwrap();
        sentinel.add(MIRROR, &path.join("a/b")).unwrap();
        assert_eq!(sentinel.look(), Signs::default());
        change(&path);
        let mut buffer = vec![0; 4096];
        assert!(sentinel.kernel.read(&mut buffer).unwrap().is_some(), "there is no sign");
        sentinel.look()
    }

    fn gone(how: Gone) -> Signs {
        Signs { gone: vec![(MIRROR, how)], ..Signs::default() }
    }

    #[test]
    fn a_root_that_is_removed_is_gone() {
        let remove = |path: &Path| fs::remove_dir_all(path.join("a/b")).unwrap();
        assert_eq!(after(remove), gone(Gone::Removed));
    }

    #[test]
    fn a_root_that_is_renamed_is_gone() {
        let rename = |path: &Path| fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
        assert_eq!(after(rename), gone(Gone::Removed));
    }

    #[test]
    fn a_root_is_gone_when_a_directory_above_it_is_renamed() {
        let rename = |path: &Path| fs::rename(path.join("a"), path.join("x")).unwrap();
        assert_eq!(after(rename), gone(Gone::Removed));
    }

    #[test]
    fn a_root_that_is_replaced_is_gone() {
        let replace = |path: &Path| {
            fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
            fs::create_dir(path.join("a/b")).unwrap();
        };
        assert_eq!(after(replace), gone(Gone::Replaced));
    }

    #[test]
    fn a_root_that_is_made_again_is_gone() {
        let make_again = |path: &Path| {
            fs::remove_dir_all(path.join("a/b")).unwrap();
            // On ext4 it gets the number of the first one.
            fs::create_dir(path.join("a/b")).unwrap();
        };
        assert_eq!(after(make_again), gone(Gone::Replaced));
    }

    #[test]
    fn a_root_is_gone_when_a_link_is_in_its_path() {
        let link = |path: &Path| {
            fs::rename(path.join("a"), path.join("x")).unwrap();
            std::os::unix::fs::symlink("x", path.join("a")).unwrap();
        };
        assert_eq!(after(link), gone(Gone::Linked));
    }

    #[test]
    fn a_root_that_is_renamed_and_back_is_not_gone() {
        let there_and_back = |path: &Path| {
            fs::rename(path.join("a/b"), path.join("a/x")).unwrap();
            fs::rename(path.join("a/x"), path.join("a/b")).unwrap();
        };
        assert_eq!(after(there_and_back), Signs::default());
    }
}
