//! Whether the roots are still what they were: for all sources alike.
//!
//! A root, and each directory above it, is watched for its own renaming and removal, and the
//! table of mounts for changes. Where the user names a root by way of symbolic links, the directories
//! that hold these are watched for their names. After each sign the roots themselves are looked at.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use mirror_core::notice::{Gone, MirrorId};
use mirror_platform::{
    dir::Dir,
    identity::Instance,
    inotify::{Event, Inotify, Subject, WatchId, What},
    mounts::{Mount, Mounts},
};
use rustix::io::Errno;
use std::os::fd::AsFd;

use super::{
    limits::{no_instance, no_mounts},
    resolution::Resolution,
    source::below,
};

/// How often a name is resolved that leads elsewhere each time.
const MOST_TURNS: usize = 10;

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
    /// Those of it and of what lies above it.
    watches: Vec<WatchId>,
    name: Option<Name>,
}

/// Name of a root that may lead elsewhere one day.
#[derive(Debug)]
struct Name {
    given: PathBuf,
    /// The directory to which it led when it led to one last.
    leads_to: PathBuf,
    /// Those of what it is found by, each with the name in that directory that matters, if one does.
    watches: Vec<(WatchId, Option<OsString>)>,
}

/// What a look at the roots showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Mirrors whose root went, and how. They are watched over no more.
    pub(super) gone: Vec<(MirrorId, Gone)>,
    /// Mirrors of which the given name leads to another directory than before.
    pub(super) elsewhere: Vec<MirrorId>,
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

    /// Watches over a root from now on, and over where `given` leads, a name of it. Returns true if
    /// that is already elsewhere.
    ///
    /// # Errors
    ///
    /// If it can't be opened. That it, or a directory above it, can't be watched is none: then
    /// only its mount is watched over.
    pub(super) fn add(
        &mut self,
        mirror: MirrorId,
        path: &Path,
        given: Option<&Path>,
    ) -> io::Result<bool> {
        self.remove(mirror);
        let root = Dir::open_unlinked(path)?;
        let (instance, mount) = (Instance::of(&root)?, root.stat(b"")?.stx_mnt_id);
        let watch = |above| watch(&self.kernel, above, Subject::Itself);
        let watches = path.ancestors().filter_map(watch).collect();
        let mut name = given.map(|given| Name::new(given, path));
        let is_elsewhere = name.as_mut().is_some_and(|name| name.look(&self.kernel));
        let table = self.mounts.read()?;
        // What appeared below the other roots since the last look is still to be told.
        let before = self.below_roots(&table);
        self.roots.push(Root { mirror, path: path.into(), instance, mount, watches, name });
        let now = self.below_roots(&table);
        self.known.extend(now.into_iter().filter(|(id, _)| !before.contains_key(id)));
        Ok(is_elsewhere)
    }

    /// Watches over a root no more.
    pub(super) fn remove(&mut self, mirror: MirrorId) {
        let gone: Vec<Root> = self.roots.extract_if(.., |root| root.mirror == mirror).collect();
        self.unwatch(&gone.iter().flat_map(Root::watches).collect());
    }

    /// Ends those of these watches that no root needs.
    fn unwatch(&self, watches: &HashSet<WatchId>) {
        let needed: HashSet<WatchId> = self.roots.iter().flat_map(Root::watches).collect();
        for watch in watches.difference(&needed) {
            // It fails if the directory was deleted.
            let _ = self.kernel.unwatch(*watch);
        }
    }

    /// Reads what the watches tell. Returns true if any of it may concern a root.
    pub(super) fn has_sign(&mut self) -> bool {
        let Self { kernel, roots, buffer, .. } = self;
        let matters = |event: &Event<'_>| {
            let names = roots.iter().filter_map(|root| root.name.as_ref());
            let mut watches = names.flat_map(|name| &name.watches);
            watches.any(|(watch, name)| {
                let name = name.as_ref().map(|name| name.as_bytes());
                *watch == event.watch && name == Some(event.name)
            })
        };
        let is_sign = |event: Event<'_>| match event.what {
            What::Ignored => false,
            _ => event.name.is_empty() || matters(&event),
        };
        let mut has_sign = false;
        while let Ok(Some(mut events)) = kernel.read(buffer) {
            has_sign = has_sign || events.any(is_sign);
        }
        has_sign
    }

    /// Looks at all roots.
    pub(super) fn look(&mut self) -> Signs {
        self.has_sign();
        let mut signs = Signs::default();
        let before = self.roots.iter().flat_map(Root::watches).collect();
        for root in &mut self.roots {
            if root.name.as_mut().is_some_and(|name| name.look(&self.kernel)) {
                signs.elsewhere.push(root.mirror);
            }
        }
        self.unwatch(&before);
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
    fn watches(&self) -> impl Iterator<Item = WatchId> {
        let of_name = self.name.iter().flat_map(|name| &name.watches);
        self.watches.iter().copied().chain(of_name.map(|(watch, _)| *watch))
    }

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

impl Name {
    /// The name `given` of a root, which is not watched yet.
    fn new(given: &Path, root: &Path) -> Self {
        Self { given: given.into(), leads_to: root.into(), watches: Vec::new() }
    }

    /// Watches the way on which it is found, as that is now. Returns true if it leads to another
    /// directory than before.
    fn look(&mut self, kernel: &Inotify) -> bool {
        let mut resolution = Resolution::of(&self.given);
        self.watches.clear();
        for _ in 0..MOST_TURNS {
            for step in &resolution.steps {
                let subject = if step.name().is_some() { Subject::Names } else { Subject::Itself };
                let watched = watch(kernel, step.directory(), subject);
                let name = step.name().map(OsStr::to_owned);
                self.watches.extend(watched.map(|watch| (watch, name)));
            }
            // What changed before it was watched is told by nobody.
            let before = std::mem::replace(&mut resolution, Resolution::of(&self.given));
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

/// Watches a directory. That this can't be done is no error: who begins a transfer looks at the
/// root and its name as well.
fn watch(kernel: &Inotify, directory: &Path, subject: Subject) -> Option<WatchId> {
    kernel.watch(Dir::open(directory).ok()?, subject).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    const MIRROR: MirrorId = MirrorId(0);

    /// What is seen after `change` to a place with the root `a/b`.
    fn after(change: impl FnOnce(&Path)) -> Signs {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        let mut sentinel = Sentinel::new().unwrap();
        sentinel.add(MIRROR, &path.join("a/b"), None).unwrap();
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
            symlink("x", path.join("a")).unwrap();
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

    /// A place with the directories `one` and `two` and the links `current` to `chain` to `one`, of
    /// which the root is known as `current`.
    fn named() -> (tempfile::TempDir, PathBuf, Sentinel) {
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        for name in ["links", "one", "two"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        symlink("../one", path.join("links/chain")).unwrap();
        symlink("links/chain", path.join("current")).unwrap();
        let mut sentinel = Sentinel::new().unwrap();
        let given = path.join("current");
        assert!(!sentinel.add(MIRROR, &path.join("one"), Some(&given)).unwrap());
        assert_eq!(seen(&mut sentinel), None);
        (place, path, sentinel)
    }

    /// What is seen, if there is a sign.
    fn seen(sentinel: &mut Sentinel) -> Option<Signs> {
        sentinel.has_sign().then(|| sentinel.look())
    }

    fn elsewhere() -> Signs {
        Signs { elsewhere: vec![MIRROR], ..Signs::default() }
    }

    fn repoint(link: &Path, to: &str) {
        let next = link.with_extension("next");
        symlink(to, &next).unwrap();
        fs::rename(&next, link).unwrap();
    }

    #[test]
    fn a_link_that_is_repointed_leads_elsewhere_wherever_it_is_in_the_name() {
        let (_place, path, mut sentinel) = named();
        repoint(&path.join("links/chain"), "../two");
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
        repoint(&path.join("current"), "one");
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
        repoint(&path.join("current"), "links/chain");
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
        // What holds a link is another directory now.
        fs::rename(path.join("links"), path.join("old")).unwrap();
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
        fs::create_dir(path.join("links")).unwrap();
        symlink("../one", path.join("links/chain")).unwrap();
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
        repoint(&path.join("links/chain"), "../two");
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
    }

    #[test]
    fn a_link_that_leads_nowhere_for_a_while_is_waited_for() {
        let (_place, path, mut sentinel) = named();
        let link = path.join("current");
        fs::remove_file(&link).unwrap();
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
        // It leads where it led before, ..
        symlink("one", &link).unwrap();
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
        // .. or to what comes only later.
        repoint(&link, "later/release");
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
        fs::create_dir(path.join("later")).unwrap();
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
        fs::write(path.join("later/file"), "").unwrap();
        assert_eq!(seen(&mut sentinel), None);
        fs::create_dir(path.join("later/release")).unwrap();
        assert_eq!(seen(&mut sentinel), Some(elsewhere()));
        fs::remove_dir(path.join("later/release")).unwrap();
        assert_eq!(seen(&mut sentinel), Some(Signs::default()));
    }

    #[test]
    fn what_happens_beside_a_link_is_no_sign() {
        let (_place, path, mut sentinel) = named();
        fs::write(path.join("file"), "").unwrap();
        fs::rename(path.join("file"), path.join("links/file")).unwrap();
        fs::write(path.join("one/chain"), "").unwrap();
        assert_eq!(seen(&mut sentinel), None);
        // A sync that is not watched any more needs none of it.
        sentinel.remove(MIRROR);
        repoint(&path.join("current"), "two");
        assert_eq!(seen(&mut sentinel), None);
    }

    #[test]
    fn a_link_that_is_repointed_before_it_is_watched_leads_elsewhere() {
        let (_place, path, mut sentinel) = named();
        let add = |sentinel: &mut Sentinel, root: &str| {
            sentinel.add(MIRROR, &path.join(root), Some(&path.join("current"))).unwrap()
        };
        repoint(&path.join("current"), "two");
        assert!(add(&mut sentinel, "one"));
        assert!(!add(&mut sentinel, "two"));
    }

    #[test]
    fn several_roots_of_one_name_are_told_of_each() {
        let (_place, path, mut sentinel) = named();
        let link = path.join("current");
        sentinel.add(MirrorId(1), &path.join("one"), Some(&link)).unwrap();
        repoint(&link, "two");
        let both = vec![MIRROR, MirrorId(1)];
        assert_eq!(seen(&mut sentinel), Some(Signs { elsewhere: both, ..Signs::default() }));
        sentinel.remove(MIRROR);
        repoint(&link, "one");
        let other = vec![MirrorId(1)];
        assert_eq!(seen(&mut sentinel), Some(Signs { elsewhere: other, ..Signs::default() }));
    }
}
