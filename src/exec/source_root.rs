//! The root of a source, and the guard that it is still the right one.

use std::{
    ffi::OsString,
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mirror_core::{
    guard::ReplacedSource,
    job::{Failure, Outcome, Work},
    path::{Escaped, TreePath},
};
use mirror_platform::{
    dir::{Dir, Stat, device},
    identity::{FileSystem, Instance, Node},
};
use rustix::io::Errno;

use super::absent::{Absent, NestedMounts};
use crate::report::{Category, Log};

/// The root of a source.
///
/// An executor opens it anew for each job, so that a root that was unmounted, removed or replaced
/// is noticed before anything is deleted on the target.
#[derive(Debug)]
pub struct SourceRoot {
    path: PathBuf,
    known: Mutex<Known>,
    mounts: NestedMounts,
}

#[derive(Debug, Default)]
struct Known {
    rules: Rules,
    /// What it was taken to be.
    agreed: Option<Agreed>,
    /// What stood there when a person said that this is right.
    accepted: Option<Agreed>,
    /// Whether the name that the user gave leads elsewhere, which was told.
    is_elsewhere: bool,
}

/// What the user says of a source.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// A name that has to be in it.
    pub marker: Option<OsString>,
    /// What to do when another file system stands in its place.
    pub replaced: ReplacedSource,
    /// How the user named it, maybe by way of symbolic links.
    pub given: Option<PathBuf>,
}

/// The directory that a source was taken to be.
#[derive(Clone, Debug)]
struct Agreed {
    path: PathBuf,
    instance: Instance,
    file_system: FileSystem,
    /// The mount in which it lies: where that is, and which directory is mounted there.
    mount: Option<(PathBuf, Node)>,
}

/// Relation of the directory at the path of a source to the one that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Succession {
    /// There was none before.
    First,
    /// It is the same one.
    Same,
    /// It took the place of the other one, on the same file system and without a change of mounts.
    Replaced,
    /// It is on another mount, and the user has said that each one is right.
    Snapshot,
    /// A person has accepted it.
    Accepted,
}

/// Change of mounts.
#[derive(Debug)]
enum Remounted {
    /// Nothing is mounted here any more.
    Unmounted(PathBuf),
    /// Something is mounted here that was not.
    Covered(PathBuf),
    /// Another file system is mounted here, or nowhere known.
    OtherFileSystem(Option<PathBuf>),
    /// Another directory of the same file system is mounted here.
    OtherDirectory(PathBuf),
    /// The name leads to another place, which lies in the mount at `is`.
    Elsewhere { was: PathBuf, is: PathBuf },
}

/// Which directory it is, among those of this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

impl Identity {
    /// The directory that `stat` describes.
    #[must_use]
    pub const fn of(stat: &Stat) -> Self {
        Self { device: device(stat), inode: stat.stx_ino, mount: stat.stx_mnt_id }
    }
}

impl SourceRoot {
    /// A root at a canonical, absolute path. It is pinned to nothing yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self::with_rules(path, Rules::default())
    }

    /// As [`new`](Self::new), with what the user says of it.
    #[must_use]
    pub fn with_rules(path: PathBuf, rules: Rules) -> Self {
        let known = Known { rules, ..Known::default() };
        Self { path, known: Mutex::new(known), mounts: NestedMounts::default() }
    }

    /// From now on this is what the user says of it.
    pub fn set_rules(&self, rules: Rules) {
        self.known().rules = rules;
    }

    /// A person has said that what stands there now is right, and that what is not mounted in it
    /// is gone. What comes later is not meant.
    pub fn accept(&self) {
        let now = self.open_path().and_then(|dir| Agreed::of(&dir, &self.path)).ok();
        self.known().accepted = now;
        self.mounts.accept();
    }

    /// Its path, without a trailing slash.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the place of `other` for the same path: only what could follow that one is accepted
    /// when this one is pinned.
    pub fn succeed(&self, other: &Self) {
        let agreed = other.known().agreed.clone();
        self.known().agreed = agreed;
        self.mounts.succeed(&other.mounts);
    }

    /// From now on the directory that is there now is the source. The watches have to be set
    /// after this.
    ///
    /// If one was pinned before, only one that can have taken its place will do: the same one,
    /// whatever device it is on now, or one on the same file system while the mounts are the same.
    /// So neither the empty place under a lost mount nor another disk is taken for a source from
    /// which everything was deleted.
    ///
    /// # Errors
    ///
    /// If there is no such directory, or it lacks the marker: a sentence for people.
    pub fn pin(&self) -> Result<Succession, String> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let dir = self.open_path().map_err(|error| format!("cannot open {path}: {error}"))?;
        self.check_marker(&dir)?;
        let now = Agreed::of(&dir, &self.path);
        let now = now.map_err(|error| format!("cannot look at {path}: {error}"))?;
        let found = self.known().judge(now)?;
        self.look_at_mounts(&dir);
        Ok(found)
    }

    /// Opens the root, if it is still the directory that was pinned.
    ///
    /// # Errors
    ///
    /// The outcome for a job that asked: [`Outcome::SourceGone`], or [`Outcome::Again`] if it
    /// can't be told.
    pub fn open(&self) -> Result<Dir, Outcome> {
        let path = Escaped(self.path.as_os_str().as_bytes());
        let gone = |why: String| Outcome::SourceGone(Failure::new(why));
        let dir = match self.open_path() {
            Ok(dir) => dir,
            Err(error) if is_gone(&error) || is_link(&error) => {
                return Err(gone(format!("cannot open {path}: {error}")));
            }
            Err(error) => {
                return Err(Outcome::Again(Failure::new(format!("cannot open {path}: {error}"))));
            }
        };
        self.check_marker(&dir).map_err(gone)?;
        let now = Instance::of(&dir);
        let now = now.map_err(|error| gone(format!("cannot look at {path}: {error}")))?;
        if self.known().agreed.as_ref().is_some_and(|agreed| agreed.instance != now) {
            return Err(gone(format!(
                "{path} is not the directory it was: it was replaced or unmounted"
            )));
        }
        self.look_at_mounts(&dir);
        Ok(dir)
    }

    /// As [`open`](Self::open), for this work. What was unmounted inside the source is told once.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(super) fn open_for(&self, work: &Work, log: &Log) -> Result<Dir, Outcome> {
        let dir = self.open()?;
        if let Work::Batch { moves, .. } = work {
            self.mounts.follow(moves);
        }
        self.tell_elsewhere(log);
        for path in self.mounts.untold() {
            let root = Escaped(self.path.as_os_str().as_bytes());
            log.say(
                Category::Warn,
                format_args!(
                    "what was mounted on {root}{path} is not mounted any more: the target keeps what \
                     it has of that, until it is mounted again or lsyncd is restarted"
                ),
            );
        }
        Ok(dir)
    }

    /// Tells once when the name that the user gave leads to another directory, where nobody could
    /// watch over that.
    fn tell_elsewhere(&self, log: &Log) {
        let Some(given) = self.known().rules.given.clone() else { return };
        let now = given.canonicalize().ok().filter(|now| *now != self.path);
        if let (true, Some(now)) = (self.is_newly_elsewhere(now.is_some()), now) {
            let text = |path: &Path| Escaped(path.as_os_str().as_bytes()).to_string();
            let (given, path, now) = (text(&given), text(&self.path), text(&now));
            log.say(
                Category::Warn,
                format_args!(
                    "source {given} leads to {now} now, and no more to {path}: SIGHUP follows it"
                ),
            );
        }
    }

    /// Notes whether the name that the user gave leads elsewhere. Returns true if it does and did not
    /// before.
    pub fn is_newly_elsewhere(&self, is_elsewhere: bool) -> bool {
        let was_elsewhere = std::mem::replace(&mut self.known().is_elsewhere, is_elsewhere);
        is_elsewhere && !was_elsewhere
    }

    /// Returns true if a directory was taken for it, by this one or by the one before.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known().agreed.is_some()
    }

    /// What was a mount inside the source in this run, and is not mounted now.
    pub(super) fn absent(&self, root: &Dir) -> Absent {
        self.look_at_mounts(root);
        self.mounts.absent(root)
    }

    /// Where something was absent that is mounted again elsewhere: nobody else tells that what the
    /// target has there may go.
    pub(super) fn left(&self) -> Vec<TreePath> {
        self.mounts.left()
    }

    /// These places were compared since.
    pub(super) fn settle_left(&self, places: &[TreePath]) {
        self.mounts.settle_left(places);
    }

    /// Returns true if anything was found to be mounted inside the source in this run.
    pub(super) fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Returns true if `path` is, or lies below, what was mounted inside the source, which is open
    /// as `root`, and is not now.
    pub(super) fn is_absent(&self, root: &Dir, path: &TreePath) -> bool {
        self.mounts.is_absent(root, path)
    }

    /// Returns true if `path` is where something was mounted inside the source, which is open as
    /// `root`, and is not now.
    pub(super) fn is_absent_place(&self, root: &Dir, path: &TreePath) -> bool {
        self.mounts.is_absent_place(root, path)
    }

    fn open_path(&self) -> io::Result<Dir> {
        Dir::open_unlinked(&self.path).map_err(|error| {
            if is_link(&error) { io::Error::new(error.kind(), LinkInPath) } else { error }
        })
    }

    fn check_marker(&self, dir: &Dir) -> Result<(), String> {
        let Some(marker) = self.known().rules.marker.clone() else { return Ok(()) };
        dir.stat(marker.as_bytes()).map(drop).map_err(|error| {
            let (path, marker) = (self.path.as_os_str().as_bytes(), marker.as_bytes());
            let (path, marker) = (Escaped(path), Escaped(marker));
            format!("the marker {marker} is not in {path}: {error}")
        })
    }

    fn look_at_mounts(&self, root: &Dir) {
        let replaced = self.known().rules.replaced;
        self.mounts.look(root, &self.path, replaced);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes `now` for the source, if it can follow what was that up to now.
    fn judge(&mut self, now: Agreed) -> Result<Succession, String> {
        let found = match self.agreed.as_ref().map(|was| was.compare(&now)) {
            None => Succession::First,
            Some(Ok(found)) => found,
            Some(Err(why)) => self.excuse(&now, &why).ok_or_else(|| {
                format!(
                    "{why}; mount the right one, or accept what is there now with replacedSource = \
                     \"accept\" and SIGHUP, or with a restart"
                )
            })?,
        };
        (self.agreed, self.accepted) = (Some(now), None);
        Ok(found)
    }

    /// Returns what the user has said about a change of mounts, if that is anything.
    fn excuse(&self, now: &Agreed, why: &Remounted) -> Option<Succession> {
        let is_it = |accepted: &Agreed| matches!(accepted.compare(now), Ok(Succession::Same));
        if self.accepted.as_ref().is_some_and(is_it) {
            return Some(Succession::Accepted);
        }
        let is_mounted = match why {
            Remounted::OtherFileSystem(Some(_)) | Remounted::OtherDirectory(_) => true,
            // In the place of a mount that was one.
            Remounted::Elsewhere { was, is } => was.parent().is_some() && is.parent().is_some(),
            Remounted::OtherFileSystem(None) | Remounted::Unmounted(_) | Remounted::Covered(_) => {
                false
            }
        };
        let is_right = is_mounted && self.rules.replaced == ReplacedSource::Budget;
        is_right.then_some(Succession::Snapshot)
    }
}

impl Agreed {
    fn of(dir: &Dir, path: &Path) -> io::Result<Self> {
        let mount = path.ancestors().find_map(|above| {
            let instance = Instance::at(above).ok().filter(Instance::is_mount_root)?;
            Some((above.to_owned(), instance.node().clone()))
        });
        let (instance, file_system) = (Instance::of(dir)?, FileSystem::of(dir)?);
        Ok(Self { path: path.to_owned(), instance, file_system, mount })
    }

    /// Tells what `now` is, which stands where this one was.
    fn compare(&self, now: &Self) -> Result<Succession, Remounted> {
        if let (Some((was, _)), Some((is, _))) = (&self.mount, &now.mount)
            && was != is
        {
            let is_deeper = is.starts_with(was);
            return Err(if self.path != now.path {
                Remounted::Elsewhere { was: was.clone(), is: is.clone() }
            } else if is_deeper {
                Remounted::Covered(is.clone())
            } else {
                Remounted::Unmounted(was.clone())
            });
        }
        let point = || now.mount.as_ref().map(|(point, _)| point.clone());
        if !self.file_system.is(&now.file_system) {
            return Err(Remounted::OtherFileSystem(point()));
        }
        if let (Some((_, was)), Some((point, is))) = (&self.mount, &now.mount)
            && !was.is(is)
        {
            return Err(Remounted::OtherDirectory(point.clone()));
        }
        let is_same = self.instance.node().is(now.instance.node())
            && self.file_system.is_same_part(&now.file_system);
        Ok(if is_same { Succession::Same } else { Succession::Replaced })
    }
}

impl fmt::Display for Remounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |path: &Path| Escaped(path.as_os_str().as_bytes()).to_string();
        match self {
            Self::Unmounted(point) => {
                write!(f, "nothing is mounted on {} any more", text(point))
            }
            Self::Covered(point) => {
                write!(f, "something is mounted on {} that was not there before", text(point))
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
                    "it lies in the mount on {}, and before in that on {}",
                    text(is),
                    text(was)
                )
            }
        }
    }
}

/// Reason why a path is not opened that was canonical once.
#[derive(Debug)]
struct LinkInPath;

impl fmt::Display for LinkInPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a symbolic link is in its way that was not there before, and is not followed; restart \
             lsyncd if it is right",
        )
    }
}

impl std::error::Error for LinkInPath {}

/// Whether this says that there is no directory there any more.
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
    use crate::exec::test_mounts::{Mounted, make_image};
    use std::{fs, os::unix::fs::symlink};

    /// A place with the directories `s`, which is the source, and `other`.
    struct Place {
        dir: tempfile::TempDir,
        source: SourceRoot,
    }

    impl Place {
        fn new(replaced: ReplacedSource) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = fs::canonicalize(dir.path()).unwrap();
            for name in ["s", "other", "disk"] {
                fs::create_dir(path.join(name)).unwrap();
            }
            let rules = Rules { replaced, ..Rules::default() };
            Self { dir, source: SourceRoot::with_rules(path.join("s"), rules) }
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

        /// It was lost, and another one, the same one, or nothing stands there now.
        #[track_caller]
        fn finds(&self, found: &Succession) {
            assert_eq!(self.source.pin().as_ref(), Ok(found));
            assert!(self.source.open().is_ok());
        }
    }

    #[test]
    fn what_was_put_in_its_place_on_the_same_file_system_is_the_source() {
        let place = Place::new(ReplacedSource::Wait);
        place.finds(&Succession::First);
        place.finds(&Succession::Same);
        fs::rename(place.at("s"), place.at("old")).unwrap();
        place.refuses("cannot open");
        fs::rename(place.at("old"), place.at("s")).unwrap();
        place.finds(&Succession::Same);
        fs::remove_dir(place.at("s")).unwrap();
        fs::create_dir(place.at("s")).unwrap();
        assert!(matches!(place.source.open(), Err(Outcome::SourceGone(_))));
        place.finds(&Succession::Replaced);
        fs::remove_dir(place.at("s")).unwrap();
        fs::rename(place.at("other"), place.at("s")).unwrap();
        place.finds(&Succession::Replaced);
    }

    #[test]
    fn no_link_is_followed_to_it() {
        let place = Place::new(ReplacedSource::Budget);
        place.finds(&Succession::First);
        fs::rename(place.at("s"), place.at("old")).unwrap();
        symlink("old", place.at("s")).unwrap();
        place.refuses("a symbolic link is in its way");
        fs::remove_file(place.at("s")).unwrap();
        fs::rename(place.at("old"), place.at("s")).unwrap();
        place.finds(&Succession::Same);
    }

    #[test]
    fn only_the_same_mount_of_a_part_of_a_disk_is_taken_for_it() {
        let place = Place::new(ReplacedSource::Wait);
        let Some(mounted) = Mounted::bind(&place.at("disk"), &place.at("s")) else { return };
        place.finds(&Succession::First);
        drop(mounted);
        place.refuses("nothing is mounted on");
        let other = Mounted::bind(&place.at("other"), &place.at("s")).unwrap();
        place.refuses("another directory than before is mounted");
        drop(other);
        let again = Mounted::bind(&place.at("disk"), &place.at("s")).unwrap();
        assert!(matches!(place.source.open(), Err(Outcome::SourceGone(_))), "it is not watched");
        place.finds(&Succession::Same);
        let above = Mounted::tmpfs(&place.at("s")).unwrap();
        place.refuses("another file system");
        drop((above, again));
    }

    #[test]
    fn a_directory_below_a_lost_mount_is_not_taken_for_it() {
        let place = Place::new(ReplacedSource::Wait);
        for name in ["s/data", "disk/data"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        let source = SourceRoot::new(place.at("s/data"));
        let Some(mounted) = Mounted::bind(&place.at("disk"), &place.at("s")) else { return };
        assert_eq!(source.pin(), Ok(Succession::First));
        drop(mounted);
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("nothing is mounted on"), "{refused}");
        // While the mount is there, it can be replaced as anywhere.
        let _mounted = Mounted::bind(&place.at("disk"), &place.at("s")).unwrap();
        fs::remove_dir(place.at("s/data")).unwrap();
        fs::create_dir(place.at("s/data")).unwrap();
        assert_eq!(source.pin(), Ok(Succession::Replaced));
        // Something is mounted on it that was not.
        let _above = Mounted::bind(&place.at("other"), &place.at("s/data"));
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("something is mounted on"), "{refused}");
    }

    #[test]
    fn each_mount_is_taken_for_it_where_the_user_says_so_and_no_missing_one() {
        let place = Place::new(ReplacedSource::Budget);
        let Some(first) = Mounted::tmpfs(&place.at("s")) else { return };
        place.finds(&Succession::First);
        drop(first);
        place.refuses("nothing is mounted on");
        let second = Mounted::tmpfs(&place.at("s")).unwrap();
        place.finds(&Succession::Snapshot);
        drop(second);
        let _third = Mounted::bind(&place.at("other"), &place.at("s")).unwrap();
        place.finds(&Succession::Snapshot);
    }

    #[test]
    fn disks_on_one_device_are_told_from_each_other_and_known_again() {
        for kind in ["ext4", "vfat"] {
            let place = Place::new(ReplacedSource::Wait);
            let images = ["a", "b"].map(|name| place.at(name));
            let is_root = rustix::process::geteuid().is_root();
            if !is_root || !images.iter().all(|image| make_image(kind, image)) {
                return;
            }
            let mount = |image: &Path| Mounted::image(image, &place.at("s"));
            let Some(first) = mount(&images[0]) else { return };
            place.finds(&Succession::First);
            drop(first);
            place.refuses("nothing is mounted on");
            // The second one often gets the loop device of the first one, then the other way round.
            let second = mount(&images[1]).unwrap();
            if kind == "ext4" {
                place.refuses("another file system");
            }
            drop(second);
            let _other_device = mount(&images[1]).unwrap();
            let _again = mount(&images[0]).unwrap();
            if kind == "ext4" {
                place.finds(&Succession::Same);
            }
        }
    }

    #[test]
    fn without_its_marker_it_is_not_there() {
        let place = Place::new(ReplacedSource::Wait);
        let rules = Rules { marker: Some(".mounted".into()), ..Rules::default() };
        let source = SourceRoot::with_rules(place.at("s"), rules);
        let refused = source.pin().unwrap_err();
        assert!(refused.starts_with("the marker .mounted is not in "), "{refused}");
        symlink("nowhere", place.at("s/.mounted")).unwrap();
        assert_eq!(source.pin(), Ok(Succession::First));
        assert!(source.open().is_ok());
        fs::remove_file(place.at("s/.mounted")).unwrap();
        assert!(matches!(source.open(), Err(Outcome::SourceGone(_))));
    }

    #[test]
    fn who_takes_its_place_accepts_no_more() {
        let place = Place::new(ReplacedSource::Wait);
        let Some(mounted) = Mounted::tmpfs(&place.at("s")) else { return };
        place.finds(&Succession::First);
        drop(mounted);
        let heir = SourceRoot::new(place.at("s"));
        heir.succeed(&place.source);
        assert!(heir.pin().is_err());
        assert_eq!(SourceRoot::new(place.at("s")).pin(), Ok(Succession::First));
        // Until a person does, once.
        heir.accept();
        assert_eq!(heir.pin(), Ok(Succession::Accepted));
        heir.accept();
        let _other = Mounted::tmpfs(&place.at("s")).unwrap();
        assert!(heir.pin().is_err());
    }

    #[test]
    fn what_was_mounted_in_it_is_absent_until_it_is_back() {
        let place = Place::new(ReplacedSource::Wait);
        fs::create_dir_all(place.at("s/a/m")).unwrap();
        place.finds(&Succession::First);
        let path = |path: &str| TreePath::new(path.as_bytes()).unwrap();
        let absent = || {
            let absent = place.source.absent(&place.source.open().unwrap());
            absent.places().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let Some(mounted) = Mounted::bind(&place.at("disk"), &place.at("s/a/m")) else { return };
        assert_eq!(absent(), "");
        // It moves with the directory above it.
        fs::rename(place.at("s/a"), place.at("s/b")).unwrap();
        assert_eq!(absent(), "");
        let root = place.source.open().unwrap();
        drop(mounted.moved_to(&place.at("s/b/m")));
        assert!(place.source.is_absent(&root, &path("b/m/file")), "at once");
        assert!(!place.source.is_absent(&root, &path("b/n")));
        assert_eq!(absent(), "/b/m");
        let other = Mounted::bind(&place.at("other"), &place.at("s/b/m")).unwrap();
        assert_eq!(absent(), "/b/m");
        drop(other);
        let _again = Mounted::bind(&place.at("disk"), &place.at("s/b/m")).unwrap();
        assert_eq!(absent(), "");
        // Another one hides it.
        let _above = Mounted::bind(&place.at("other"), &place.at("s/b/m")).unwrap();
        assert_eq!(absent(), "/b/m");
    }

    #[test]
    fn what_its_name_leads_to_on_another_mount_is_not_taken_for_it() {
        let place = Place::new(ReplacedSource::Wait);
        let at = |path: &str| SourceRoot::new(place.at(path));
        let follows = |one: &SourceRoot, next: SourceRoot, replaced| {
            next.set_rules(Rules { replaced, ..Rules::default() });
            next.succeed(one);
            next.pin()
        };
        let one = at("s");
        assert!(!one.is_known());
        assert_eq!(one.pin(), Ok(Succession::First));
        assert_eq!(follows(&one, at("other"), ReplacedSource::Wait), Ok(Succession::Replaced));
        let Some(_disk) = Mounted::bind(&place.at("disk"), &place.at("disk")) else { return };
        for replaced in [ReplacedSource::Wait, ReplacedSource::Budget] {
            let refused = follows(&one, at("disk"), replaced).unwrap_err();
            assert!(refused.starts_with("it lies in the mount on "), "{refused}");
        }
        // One mount in the place of another one.
        let _other = Mounted::bind(&place.at("other"), &place.at("other")).unwrap();
        let disk = at("disk");
        assert_eq!(disk.pin(), Ok(Succession::First));
        assert!(follows(&disk, at("other"), ReplacedSource::Wait).is_err());
        assert!(follows(&disk, at("s"), ReplacedSource::Wait).is_err());
        assert_eq!(follows(&disk, at("other"), ReplacedSource::Budget), Ok(Succession::Snapshot));
    }
}
