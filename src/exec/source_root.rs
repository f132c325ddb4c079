//! Root of a source, with a check that it is still the intended directory.

mod note;

use std::{
    ffi::OsString,
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use mirror_core::{
    guard::ReplacedSource,
    job::{Failure, Outcome, Work},
    path::{Escaped, TreePath},
};
use mirror_platform::{
    dir::Dir,
    identity::{DirIdentity, FileSystem, InodeIdentity},
    stat::Stat,
    stored_name::HAS_OTHER_FORMS,
};
use rustix::io::Errno;

use super::{
    lock,
    nested_mounts::{NestedMounts, ProtectedPaths},
};
use crate::report::{Category, Log};
pub(crate) use note::SourceNote;

/// Root of a source.
///
/// An executor opens it for each job, so that an unmounted, removed or replaced root is detected
/// before anything is deleted at the target.
#[derive(Debug)]
pub(crate) struct SourceRoot {
    path: PathBuf,
    pin_state: Mutex<PinState>,
    mounts: NestedMounts,
}

#[derive(Debug, Default)]
struct PinState {
    rules: SourceRules,
    /// Directory that the source was pinned to.
    pinned: Option<PinnedRoot>,
    /// Directory that a person has accepted, until the next pin.
    accepted: Option<PinnedRoot>,
    /// True if the configured name leads to another directory, which was reported.
    is_moved: bool,
    /// True if names that differ in case lead to the same entry. `None` if nothing has shown that.
    ignores_case: Option<bool>,
}

/// Configured rules for a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceRules {
    /// Name of a file that must exist in the root.
    pub marker: Option<OsString>,
    /// Reaction to another file system in place of the source.
    pub replaced: ReplacedSource,
    /// Name in the configuration, which may contain symbolic links.
    pub given: Option<PathBuf>,
}

/// Directory to which a source is pinned.
#[derive(Clone, Debug)]
struct PinnedRoot {
    path: PathBuf,
    instance: DirIdentity,
    file_system: FileSystem,
    /// Mount that contains the directory: its mount point and the directory that is mounted there.
    mount: Option<(PathBuf, InodeIdentity)>,
    /// True if it was pinned by an earlier run.
    is_earlier: bool,
}

/// Relation of the directory at the path of a source to the directory pinned before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Nothing was pinned before.
    First,
    /// It is the same directory.
    Same,
    /// It replaced the directory, on the same file system and with unchanged mounts.
    Replaced,
    /// It is on another mount, and the configuration accepts any.
    Snapshot,
    /// A person has accepted it.
    Accepted,
}

#[derive(Debug)]
enum MountChange {
    /// Nothing is mounted here any more.
    Unmounted(PathBuf),
    /// Something is mounted here that was not.
    Covered(PathBuf),
    /// Another file system is mounted here, or at an unknown mount point.
    OtherFileSystem(Option<PathBuf>),
    /// Another directory of the same file system is mounted here.
    OtherDirectory(PathBuf),
    /// The configured name leads to another path, which is in the mount at `is`.
    Elsewhere { was: PathBuf, is: PathBuf },
}

/// Identity of a directory among those that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirKey {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl DirKey {
    /// Returns the identity of the directory that `stat` describes.
    #[must_use]
    pub(super) const fn of(stat: &Stat) -> Self {
        Self { device: stat.device, inode: stat.inode, mount: stat.mount }
    }
}

impl SourceRoot {
    /// Creates a root at a canonical, absolute path, not pinned yet.
    #[must_use]
    pub(crate) fn new(path: PathBuf, rules: SourceRules) -> Self {
        let pin_state = PinState { rules, ..PinState::default() };
        Self { path, pin_state: Mutex::new(pin_state), mounts: NestedMounts::default() }
    }

    /// Replaces the rules.
    pub(crate) fn set_rules(&self, rules: SourceRules) {
        self.pin_state().rules = rules;
    }

    /// Accepts the present directory as the source, and unmounted file systems inside it as
    /// deleted. Later changes are not covered.
    pub(crate) fn accept(&self) {
        let now = self.open_path().and_then(|dir| PinnedRoot::of(&dir, &self.path)).ok();
        self.pin_state().accepted = now;
        self.accept_lost_mounts();
    }

    /// Returns the mount points inside the source whose file systems were unmounted.
    pub(crate) fn lost_mounts(&self) -> Vec<TreePath> {
        self.mounts.lost()
    }

    /// Accepts unmounted file systems inside the source as deleted. Returns their mount points.
    pub(crate) fn accept_lost_mounts(&self) -> Vec<TreePath> {
        self.mounts.accept()
    }

    /// Returns true if another file system or directory is mounted at the path, which an operator
    /// may accept. An empty mount point is none.
    pub(crate) fn is_replaced(&self) -> bool {
        let Ok(now) = self.open_path().and_then(|dir| PinnedRoot::of(&dir, &self.path)) else {
            return false;
        };
        let state = self.pin_state();
        let change = state.pinned.as_ref().and_then(|pinned| pinned.compare(&now).err());
        change.is_some_and(|change| change.is_other_mount())
    }

    /// Returns the path, without a trailing slash.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Inherits the pinned directory of `other`, a root for the same path: only a directory that
    /// could follow it can be pinned.
    pub(crate) fn inherit(&self, other: &Self) {
        let pinned = other.pin_state().pinned.clone();
        self.pin_state().pinned = pinned;
        self.mounts.inherit(&other.mounts);
    }

    /// Pins the source to the present directory. Watches have to be added afterwards.
    ///
    /// If a directory was pinned before, only a legitimate successor is accepted: the same
    /// directory, whatever device it is on now, or a directory on the same file system with
    /// unchanged mounts. Thus neither an empty mount point nor another disk is mistaken for a
    /// source in which everything was deleted.
    ///
    /// # Errors
    ///
    /// A message if there is no such directory, or if it lacks the marker.
    pub(crate) fn pin(&self) -> Result<Succession, String> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let dir = self.open_path().map_err(|error| format!("cannot open {path}: {error}"))?;
        self.check_marker(&dir)?;
        let now = PinnedRoot::of(&dir, &self.path);
        let now = now.map_err(|error| format!("cannot stat {path}: {error}"))?;
        let found = self.pin_state().pin(now)?;
        self.pin_state().ignores_case = None;
        self.refresh_mounts(&dir);
        Ok(found)
    }

    /// Opens the root if it is still the pinned directory.
    ///
    /// # Errors
    ///
    /// The outcome for the job: [`Outcome::SourceGone`], or [`Outcome::Retry`] if the state cannot
    /// be determined.
    pub(crate) fn open(&self) -> Result<Dir, Outcome> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let gone = |why: String| Outcome::SourceGone(Failure::new(why));
        let dir = match self.open_path() {
            Ok(dir) => dir,
            Err(error) if is_gone(&error) || is_link(&error) => {
                return Err(gone(format!("cannot open {path}: {error}")));
            }
            Err(error) => {
                return Err(Outcome::Retry(Failure::new(format!("cannot open {path}: {error}"))));
            }
        };
        self.check_marker(&dir).map_err(gone)?;
        let now = DirIdentity::of(&dir);
        let now = now.map_err(|error| gone(format!("cannot stat {path}: {error}")))?;
        if self.pin_state().pinned.as_ref().is_some_and(|pinned| pinned.instance != now) {
            return Err(gone(format!(
                "{path} is another directory than before: it was replaced or unmounted"
            )));
        }
        self.refresh_mounts(&dir);
        Ok(if self.has_other_forms(&dir) { dir.with_stored_names() } else { dir })
    }

    /// Returns true if other names than those that directories keep may lead to an entry. A source
    /// that mixes file systems is judged by that of its root.
    fn has_other_forms(&self, dir: &Dir) -> bool {
        let name = self.path.file_name().map(OsStrExt::as_bytes);
        let known = &mut self.pin_state().ignores_case;
        *known =
            known.or_else(|| if HAS_OTHER_FORMS { Some(true) } else { dir.ignores_case(name) });
        *known == Some(true)
    }

    /// Opens the root for a job; see [`open`](Self::open). Logs each file system that was unmounted
    /// inside the source once.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(super) fn open_for(&self, work: &Work, log: &Log) -> Result<Dir, Outcome> {
        let dir = self.open()?;
        if let Work::Batch { renames: moves, .. } = work {
            self.mounts.follow_renames(moves);
        }
        self.warn_if_moved(log);
        self.report_lost_mounts(log);
        Ok(dir)
    }

    /// Logs each file system that was unmounted inside the source once.
    pub(crate) fn report_lost_mounts(&self, log: &Log) {
        for path in self.mounts.take_unreported() {
            let root = Escaped(self.path.as_os_str().as_bytes());
            log.say(
                Category::Warn,
                format_args!(
                    "the file system on {root}{path} was unmounted: the target keeps its files \
                     until it is mounted again or released by an operator (lsyncctl release)"
                ),
            );
        }
    }

    /// Logs once that the configured name leads to another directory, if no watch can report it.
    fn warn_if_moved(&self, log: &Log) {
        let Some(given) = self.pin_state().rules.given.clone() else { return };
        let now = given.canonicalize().ok().filter(|now| *now != self.path);
        if let (true, Some(now)) = (self.has_newly_moved(now.is_some()), now) {
            let text = |path: &Path| Escaped(path.as_os_str().as_bytes()).to_string();
            let (given, path, now) = (text(&given), text(&self.path), text(&now));
            log.say(
                Category::Warn,
                format_args!(
                    "source {given} now leads to {now} instead of {path}: send SIGHUP to follow it"
                ),
            );
        }
    }

    /// Records whether the configured name leads to another directory. Returns true if it does and
    /// did not before.
    pub(crate) fn has_newly_moved(&self, is_moved: bool) -> bool {
        let was_moved = std::mem::replace(&mut self.pin_state().is_moved, is_moved);
        is_moved && !was_moved
    }

    /// Returns true if a directory was pinned, by this root or by its predecessor.
    #[must_use]
    pub(crate) fn was_pinned(&self) -> bool {
        self.pin_state().pinned.is_some()
    }

    /// Returns the mount points inside the source that were in use in this run and are not now.
    pub(super) fn unmounted_paths(&self, root: &Dir) -> ProtectedPaths {
        self.refresh_mounts(root);
        self.mounts.unmounted_paths(root)
    }

    /// Returns the former mount points whose file systems were mounted at other paths. No event
    /// reports that the target may delete what it has there.
    pub(super) fn vacated_paths(&self) -> Vec<TreePath> {
        self.mounts.vacated_paths()
    }

    /// Forgets vacated paths after they were compared.
    pub(super) fn settle_vacated(&self, paths: &[TreePath]) {
        self.mounts.settle_vacated(paths);
    }

    /// Returns true if anything was mounted inside the source in this run.
    pub(super) fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Returns true if `path` is, or is below, a lost mount point inside the source, which is open
    /// as `root`.
    pub(super) fn is_unmounted(&self, root: &Dir, path: &TreePath) -> bool {
        self.mounts.is_unmounted(root, path)
    }

    /// Returns true if `path` is a lost mount point inside the source, which is open as `root`.
    pub(super) fn is_lost_mount_point(&self, root: &Dir, path: &TreePath) -> bool {
        self.mounts.is_lost_mount_point(root, path)
    }

    fn open_path(&self) -> io::Result<Dir> {
        Dir::open_no_symlinks(&self.path).map_err(|error| {
            if is_link(&error) { io::Error::new(error.kind(), LinkInPath) } else { error }
        })
    }

    fn check_marker(&self, dir: &Dir) -> Result<(), String> {
        let Some(marker) = self.pin_state().rules.marker.clone() else { return Ok(()) };
        dir.stat(marker.as_bytes()).map(drop).map_err(|error| {
            let (path, marker) = (self.path.as_os_str().as_bytes(), marker.as_bytes());
            let (path, marker) = (Escaped(path), Escaped(marker));
            format!("cannot find the marker {marker} in {path}: {error}")
        })
    }

    fn refresh_mounts(&self, root: &Dir) {
        let replaced = self.pin_state().rules.replaced;
        self.mounts.refresh(root, &self.path, replaced);
    }

    fn pin_state(&self) -> MutexGuard<'_, PinState> {
        lock(&self.pin_state)
    }
}

impl PinState {
    /// Pins the source to `now`, if it is a legitimate successor of the pinned directory.
    fn pin(&mut self, now: PinnedRoot) -> Result<Succession, String> {
        let found = match self.pinned.as_ref().map(|was| was.compare(&now)) {
            None => Succession::First,
            Some(Ok(found)) => found,
            Some(Err(why)) => self.accept_change(&now, &why).ok_or_else(|| {
                format!(
                    "{why}; mount the right one, or accept the present one with lsyncctl release, \
                     with replacedSource = \"accept\" and SIGHUP, or by a start with -full"
                )
            })?,
        };
        (self.pinned, self.accepted) = (Some(now), None);
        Ok(found)
    }

    /// Returns the relation if a person or the configuration accepts this change of mounts.
    fn accept_change(&self, now: &PinnedRoot, why: &MountChange) -> Option<Succession> {
        let is_it = |accepted: &PinnedRoot| matches!(accepted.compare(now), Ok(Succession::Same));
        if self.accepted.as_ref().is_some_and(is_it) {
            return Some(Succession::Accepted);
        }
        let is_right = why.is_other_mount() && self.rules.replaced == ReplacedSource::Budget;
        is_right.then_some(Succession::Snapshot)
    }
}

impl MountChange {
    /// Returns true if something else is mounted now than before.
    fn is_other_mount(&self) -> bool {
        match self {
            Self::OtherFileSystem(Some(_)) | Self::OtherDirectory(_) => true,
            // One mount replaced another one.
            Self::Elsewhere { was, is } => was.parent().is_some() && is.parent().is_some(),
            Self::OtherFileSystem(None) | Self::Unmounted(_) | Self::Covered(_) => false,
        }
    }
}

impl PinnedRoot {
    fn of(dir: &Dir, path: &Path) -> io::Result<Self> {
        let mount = path.ancestors().find_map(|above| {
            let instance = DirIdentity::at(above).ok().filter(DirIdentity::is_mount_root)?;
            Some((above.to_owned(), instance.inode().clone()))
        });
        let (instance, file_system) = (DirIdentity::of(dir)?, FileSystem::of(dir)?);
        Ok(Self { path: path.to_owned(), instance, file_system, mount, is_earlier: false })
    }

    /// Compares the pinned directory with the one that has its path now.
    fn compare(&self, now: &Self) -> Result<Succession, MountChange> {
        let is_same = self.instance.inode().is_same(now.instance.inode())
            && self.file_system.is_same_part(&now.file_system);
        if self.is_earlier && is_same {
            // Since then the mounts may have been arranged otherwise, as by a unit of systemd.
            return Ok(Succession::Same);
        }
        if let (Some((was, _)), Some((is, _))) = (&self.mount, &now.mount)
            && was != is
        {
            let is_deeper = is.starts_with(was);
            return Err(if self.path != now.path {
                MountChange::Elsewhere { was: was.clone(), is: is.clone() }
            } else if is_deeper {
                MountChange::Covered(is.clone())
            } else {
                MountChange::Unmounted(was.clone())
            });
        }
        let point = || now.mount.as_ref().map(|(point, _)| point.clone());
        if !self.file_system.is_same(&now.file_system) {
            return Err(MountChange::OtherFileSystem(point()));
        }
        if let (Some((_, was)), Some((point, is))) = (&self.mount, &now.mount)
            && !was.is_same(is)
        {
            return Err(MountChange::OtherDirectory(point.clone()));
        }
        Ok(if is_same { Succession::Same } else { Succession::Replaced })
    }
}

impl fmt::Display for MountChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |path: &Path| Escaped(path.as_os_str().as_bytes()).to_string();
        match self {
            Self::Unmounted(point) => {
                write!(f, "no file system is mounted on {} any more", text(point))
            }
            Self::Covered(point) => {
                write!(f, "a file system was mounted on {}", text(point))
            }
            Self::OtherFileSystem(Some(point)) => {
                write!(f, "another file system than before is mounted on {}", text(point))
            }
            Self::OtherFileSystem(None) => f.write_str("it is on another file system than before"),
            Self::OtherDirectory(point) => {
                write!(f, "another directory than before is mounted on {}", text(point))
            }
            Self::Elsewhere { was, is } => {
                write!(
                    f,
                    "it is in the mount on {} now, and was in that on {}",
                    text(is),
                    text(was)
                )
            }
        }
    }
}

/// Error for a symbolic link in a path that was canonical before.
#[derive(Debug)]
struct LinkInPath;

impl fmt::Display for LinkInPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "its path contains a new symbolic link, which is not followed; restart lsyncd to \
             accept it",
        )
    }
}

impl std::error::Error for LinkInPath {}

/// Returns true if the error means that the directory does not exist.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_link(error: &io::Error) -> bool {
    let is_ours =
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<LinkInPath>);
    is_ours || Errno::from_io_error(error) == Some(Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::test_mounts::{TestMount, make_image};
    use std::{fs, os::unix::fs::symlink};

    /// Temporary directory with the directories `s`, which is the source, and `other`.
    struct SourceFixture {
        dir: tempfile::TempDir,
        source: SourceRoot,
    }

    impl SourceFixture {
        fn new(replaced: ReplacedSource) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = fs::canonicalize(dir.path()).unwrap();
            for name in ["s", "other", "disk"] {
                fs::create_dir(path.join(name)).unwrap();
            }
            let rules = SourceRules { replaced, ..SourceRules::default() };
            Self { dir, source: SourceRoot::new(path.join("s"), rules) }
        }

        fn at(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.dir.path()).unwrap().join(name)
        }

        #[track_caller]
        fn refuses(&self, why: &str) {
            let refused = self.source.pin().unwrap_err();
            assert!(refused.contains(why), "{refused}");
            assert!(matches!(self.source.open(), Err(Outcome::SourceGone(_))));
        }

        /// Pins the source again and expects this relation.
        #[track_caller]
        fn finds(&self, found: &Succession) {
            assert_eq!(self.source.pin().as_ref(), Ok(found));
            assert!(self.source.open().is_ok());
        }
    }

    #[test]
    fn a_replacement_on_the_same_file_system_is_accepted() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        fixture.finds(&Succession::First);
        fixture.finds(&Succession::Same);
        fs::rename(fixture.at("s"), fixture.at("old")).unwrap();
        fixture.refuses("cannot open");
        fs::rename(fixture.at("old"), fixture.at("s")).unwrap();
        fixture.finds(&Succession::Same);
        fs::remove_dir(fixture.at("s")).unwrap();
        fs::create_dir(fixture.at("s")).unwrap();
        assert!(matches!(fixture.source.open(), Err(Outcome::SourceGone(_))));
        fixture.finds(&Succession::Replaced);
        fs::remove_dir(fixture.at("s")).unwrap();
        fs::rename(fixture.at("other"), fixture.at("s")).unwrap();
        fixture.finds(&Succession::Replaced);
    }

    #[test]
    fn a_symlink_in_the_path_is_not_followed() {
        let fixture = SourceFixture::new(ReplacedSource::Budget);
        fixture.finds(&Succession::First);
        fs::rename(fixture.at("s"), fixture.at("old")).unwrap();
        symlink("old", fixture.at("s")).unwrap();
        fixture.refuses("its path contains a new symbolic link");
        fs::remove_file(fixture.at("s")).unwrap();
        fs::rename(fixture.at("old"), fixture.at("s")).unwrap();
        fixture.finds(&Succession::Same);
    }

    #[test]
    fn only_the_same_directory_of_a_file_system_is_accepted_as_the_mount() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        let Some(mounted) = TestMount::bind(&fixture.at("disk"), &fixture.at("s")) else { return };
        fixture.finds(&Succession::First);
        drop(mounted);
        fixture.refuses("no file system is mounted on");
        let other = TestMount::bind(&fixture.at("other"), &fixture.at("s")).unwrap();
        fixture.refuses("another directory than before is mounted");
        drop(other);
        let again = TestMount::bind(&fixture.at("disk"), &fixture.at("s")).unwrap();
        assert!(matches!(fixture.source.open(), Err(Outcome::SourceGone(_))), "it is not watched");
        fixture.finds(&Succession::Same);
        let above = TestMount::tmpfs(&fixture.at("s")).unwrap();
        fixture.refuses("another file system");
        drop((above, again));
    }

    #[test]
    fn a_directory_below_a_lost_mount_is_not_accepted() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        for name in ["s/data", "disk/data"] {
            fs::create_dir(fixture.at(name)).unwrap();
        }
        let source = SourceRoot::new(fixture.at("s/data"), SourceRules::default());
        let Some(mounted) = TestMount::bind(&fixture.at("disk"), &fixture.at("s")) else { return };
        assert_eq!(source.pin(), Ok(Succession::First));
        drop(mounted);
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("no file system is mounted on"), "{refused}");
        // While the file system is mounted, the directory can be replaced as anywhere.
        let _mounted = TestMount::bind(&fixture.at("disk"), &fixture.at("s")).unwrap();
        fs::remove_dir(fixture.at("s/data")).unwrap();
        fs::create_dir(fixture.at("s/data")).unwrap();
        assert_eq!(source.pin(), Ok(Succession::Replaced));
        // Something new is mounted on it.
        let _above = TestMount::bind(&fixture.at("other"), &fixture.at("s/data"));
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("a file system was mounted on"), "{refused}");
    }

    #[test]
    fn with_replaced_source_budget_any_mount_is_accepted_but_no_missing_one() {
        let fixture = SourceFixture::new(ReplacedSource::Budget);
        let Some(first) = TestMount::tmpfs(&fixture.at("s")) else { return };
        fixture.finds(&Succession::First);
        drop(first);
        fixture.refuses("no file system is mounted on");
        let second = TestMount::tmpfs(&fixture.at("s")).unwrap();
        fixture.finds(&Succession::Snapshot);
        drop(second);
        let _third = TestMount::bind(&fixture.at("other"), &fixture.at("s")).unwrap();
        fixture.finds(&Succession::Snapshot);
    }

    #[test]
    fn disks_with_the_same_device_number_are_distinguished() {
        for kind in ["ext4", "vfat"] {
            let fixture = SourceFixture::new(ReplacedSource::Wait);
            let images = ["a", "b"].map(|name| fixture.at(name));
            let is_root = rustix::process::geteuid().is_root();
            if !is_root || !images.iter().all(|image| make_image(kind, image)) {
                return;
            }
            let mount = |image: &Path| TestMount::image(image, &fixture.at("s"));
            let Some(first) = mount(&images[0]) else { return };
            fixture.finds(&Succession::First);
            drop(first);
            fixture.refuses("no file system is mounted on");
            // The second image often gets the loop device of the first one, and vice versa.
            let second = mount(&images[1]).unwrap();
            if kind == "ext4" {
                fixture.refuses("another file system");
            }
            drop(second);
            let _other_device = mount(&images[1]).unwrap();
            let _again = mount(&images[0]).unwrap();
            if kind == "ext4" {
                fixture.finds(&Succession::Same);
            }
        }
    }

    #[test]
    fn a_source_without_its_marker_is_missing() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        let rules = SourceRules { marker: Some(".mounted".into()), ..SourceRules::default() };
        let source = SourceRoot::new(fixture.at("s"), rules);
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("cannot find the marker .mounted in "), "{refused}");
        symlink("nowhere", fixture.at("s/.mounted")).unwrap();
        assert_eq!(source.pin(), Ok(Succession::First));
        assert!(source.open().is_ok());
        fs::remove_file(fixture.at("s/.mounted")).unwrap();
        assert!(matches!(source.open(), Err(Outcome::SourceGone(_))));
    }

    #[test]
    fn a_successor_accepts_no_other_mount_until_told() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        let Some(mounted) = TestMount::tmpfs(&fixture.at("s")) else { return };
        fixture.finds(&Succession::First);
        drop(mounted);
        let successor = SourceRoot::new(fixture.at("s"), SourceRules::default());
        successor.inherit(&fixture.source);
        assert!(successor.pin().is_err());
        assert_eq!(
            SourceRoot::new(fixture.at("s"), SourceRules::default()).pin(),
            Ok(Succession::First)
        );
        // Accepted once by a person.
        successor.accept();
        assert_eq!(successor.pin(), Ok(Succession::Accepted));
        successor.accept();
        let _other = TestMount::tmpfs(&fixture.at("s")).unwrap();
        assert!(successor.pin().is_err());
    }

    /// Returns a source of a later run.
    fn later(source: &SourceRoot, rules: SourceRules) -> SourceRoot {
        let text = serde_json::to_string(&source.note()).unwrap();
        let later = SourceRoot::new(source.path().to_owned(), rules);
        later.restore(&serde_json::from_str(&text).unwrap(), true);
        later
    }

    #[test]
    fn a_later_run_accepts_no_other_mount() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        let next = |source| later(source, SourceRules::default());
        fixture.finds(&Succession::First);
        assert_eq!(next(&fixture.source).pin(), Ok(Succession::Same));
        let Some(mounted) = TestMount::bind(&fixture.at("disk"), &fixture.at("s")) else { return };
        let refused = next(&fixture.source).pin().unwrap_err();
        assert!(refused.starts_with("a file system was mounted on "), "{refused}");
        let source = SourceRoot::new(fixture.at("s"), SourceRules::default());
        assert_eq!(source.pin(), Ok(Succession::First));
        // The notes survive runs in which it is not there.
        let unused = next(&source);
        let source = next(&unused);
        drop(mounted);
        let refused = next(&source).pin().unwrap_err();
        assert!(refused.starts_with("no file system is mounted on "), "{refused}");
        let other = TestMount::bind(&fixture.at("other"), &fixture.at("s")).unwrap();
        assert!(next(&source).is_replaced() && next(&source).pin().is_err());
        let budget = SourceRules { replaced: ReplacedSource::Budget, ..SourceRules::default() };
        assert_eq!(later(&source, budget).pin(), Ok(Succession::Snapshot));
        drop(other);
        let _again = TestMount::bind(&fixture.at("disk"), &fixture.at("s")).unwrap();
        assert_eq!(next(&source).pin(), Ok(Succession::Same));
        // The same directory, in a mount of its own.
        let _own = TestMount::bind(&fixture.at("s"), &fixture.at("s")).unwrap();
        assert_eq!(next(&source).pin(), Ok(Succession::Same));
    }

    #[test]
    fn an_unmounted_path_is_protected_until_it_is_mounted_again() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        fs::create_dir_all(fixture.at("s/a/m")).unwrap();
        fixture.finds(&Succession::First);
        let path = |path: &str| TreePath::new(path.as_bytes()).unwrap();
        let absent = || {
            let absent = fixture.source.unmounted_paths(&fixture.source.open().unwrap());
            absent.paths().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let Some(mounted) = TestMount::bind(&fixture.at("disk"), &fixture.at("s/a/m")) else {
            return;
        };
        assert_eq!(absent(), "");
        // The mount point moves with its parent directory.
        fs::rename(fixture.at("s/a"), fixture.at("s/b")).unwrap();
        assert_eq!(absent(), "");
        let root = fixture.source.open().unwrap();
        drop(mounted.moved_to(&fixture.at("s/b/m")));
        assert!(fixture.source.is_unmounted(&root, &path("b/m/file")), "at once");
        assert!(!fixture.source.is_unmounted(&root, &path("b/n")));
        assert_eq!(absent(), "/b/m");
        let other = TestMount::bind(&fixture.at("other"), &fixture.at("s/b/m")).unwrap();
        assert_eq!(absent(), "/b/m");
        drop(other);
        let again = TestMount::bind(&fixture.at("disk"), &fixture.at("s/b/m")).unwrap();
        // The files of the other one are on the target, too.
        assert_eq!(absent(), "/b/m");
        drop(again);
        let other = TestMount::bind(&fixture.at("other"), &fixture.at("s/b/m")).unwrap();
        assert_eq!(absent(), "/b/m");
        drop(other);
        assert_eq!(absent(), "/b/m");
        assert_eq!(fixture.source.accept_lost_mounts().len(), 2);
        let _again = TestMount::bind(&fixture.at("disk"), &fixture.at("s/b/m")).unwrap();
        assert_eq!(absent(), "");
        // Hidden by another mount.
        let _above = TestMount::bind(&fixture.at("other"), &fixture.at("s/b/m")).unwrap();
        assert_eq!(absent(), "/b/m");
    }

    #[test]
    fn a_name_that_leads_to_another_mount_is_not_accepted() {
        let fixture = SourceFixture::new(ReplacedSource::Wait);
        let at = |path: &str| SourceRoot::new(fixture.at(path), SourceRules::default());
        let follows = |one: &SourceRoot, next: SourceRoot, replaced| {
            next.set_rules(SourceRules { replaced, ..SourceRules::default() });
            next.inherit(one);
            next.pin()
        };
        let one = at("s");
        assert!(!one.was_pinned());
        assert_eq!(one.pin(), Ok(Succession::First));
        assert_eq!(follows(&one, at("other"), ReplacedSource::Wait), Ok(Succession::Replaced));
        let Some(_disk) = TestMount::bind(&fixture.at("disk"), &fixture.at("disk")) else { return };
        for replaced in [ReplacedSource::Wait, ReplacedSource::Budget] {
            let refused = follows(&one, at("disk"), replaced).unwrap_err();
            assert!(refused.starts_with("it is in the mount on "), "{refused}");
        }
        // One mount in place of another.
        let _other = TestMount::bind(&fixture.at("other"), &fixture.at("other")).unwrap();
        let disk = at("disk");
        assert_eq!(disk.pin(), Ok(Succession::First));
        assert!(follows(&disk, at("other"), ReplacedSource::Wait).is_err());
        assert!(follows(&disk, at("s"), ReplacedSource::Wait).is_err());
        assert_eq!(follows(&disk, at("other"), ReplacedSource::Budget), Ok(Succession::Snapshot));
    }
}
