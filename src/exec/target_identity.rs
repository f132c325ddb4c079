//! Whether a target is still the one to which all of the source went.
//!
//! Who brings changes to a directory that was removed makes it again, and who brings them to one that
//! took its place does not see that it is another: what did not change is missing there. So from then
//! on all of the source is owed to it, however many tries that takes.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mirror_core::{
    guard::MaxDelete,
    job::{Failure, Outcome, Work},
    path::Escaped,
};
use mirror_platform::identity::{FileSystem, Instance, Node};

use super::{
    source_root::is_gone,
    trusted::{self, Refused},
};
use crate::report::{Category, Log};

/// What is known of a target.
#[derive(Debug)]
pub(super) struct Presence {
    /// How it is called.
    name: String,
    /// Where it is, if it is on this machine.
    path: Option<PathBuf>,
    log: Log,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// It was there once, ..
    seen: bool,
    /// .. and this is what was there.
    was: Option<Instance>,
    /// On this its file system was mounted.
    mounted_on: Option<PathBuf>,
    /// It was lost, and not all of the source is known to be there again.
    owed: bool,
    /// The directory whose content this mirror, or a person, has put there.
    own: Option<Lasting>,
    /// The last one that was looked at, ..
    looked_at: Option<Instance>,
    /// .. and whether it is another one.
    foreign: bool,
    /// The budget that was in force when it turned out to be another one.
    refused: Option<MaxDelete>,
}

/// What there is in the place of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It can't be told: it is on another machine, for one.
    Unknown,
    Nothing,
    Found(Instance),
}

/// Directory, wherever its file system is mounted.
#[derive(Clone, Debug)]
struct Lasting {
    file_system: FileSystem,
    node: Node,
}

impl Presence {
    /// A target that was not looked at yet.
    pub(super) fn new(name: String, path: Option<PathBuf>, log: Log) -> Self {
        Self { name, path, log, known: Mutex::default() }
    }

    /// Where it is, if it is on this machine.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Looks at it before a job. If it is not what it was, all of the source is owed to it, and that
    /// is its `work`.
    ///
    /// # Errors
    ///
    /// The outcome of the job if nothing may be written there: its disk is not mounted any more, and
    /// what lies below may be too small for all of the source.
    pub(super) fn look(&self, work: &mut Work) -> Result<Sight, Outcome> {
        let now = self.sight()?;
        self.compare(&now)?;
        if self.is_owed_all() && !matches!(work, Work::Full { .. }) {
            *work = Work::all(Arc::clone(work.heard()));
        }
        Ok(now)
    }

    fn compare(&self, now: &Sight) -> Result<(), Outcome> {
        let mut known = self.known();
        if let Sight::Found(now) = now
            && known.looked_at.as_ref() != Some(now)
        {
            let own = known.own.as_ref();
            known.foreign = !own.is_none_or(|own| self.lasting().is_ok_and(|it| own.is(&it)));
            known.looked_at = Some(now.clone());
        }
        let how = match (now, &known.was) {
            (Sight::Nothing, _) if known.seen => "is gone",
            (Sight::Found(now), Some(was)) if now != was => "is another directory than before",
            _ => return Ok(()),
        };
        if let Some(point) = known.mounted_on.as_ref().filter(|point| !is_mount_point(point)) {
            let (name, point) = (&self.name, Escaped(point.as_os_str().as_encoded_bytes()));
            return Err(Outcome::Again(Failure::new(format!(
                "nothing is mounted on {point} any more, where the target {name} was: mount it, or \
                 restart lsyncd to mirror to what is there now"
            ))));
        }
        self.lose(known, how);
        Ok(())
    }

    /// The budget for unseen deletions there, of which the user has set `budget`.
    ///
    /// It is zero if another directory stands there than the one that this mirror has filled, one that
    /// somebody put in its place: what it has of its own was never in the source. That ends when
    /// somebody sets another budget, and when the target is [adopted](Self::adopt).
    pub(super) fn budget(&self, budget: MaxDelete) -> MaxDelete {
        let mut known = self.known();
        if !known.foreign {
            known.refused = None;
            return budget;
        }
        let is_agreed = *known.refused.get_or_insert(budget) != budget;
        if is_agreed || budget == MaxDelete::Unlimited { budget } else { MaxDelete::Count(0) }
    }

    /// What stands there now is equal to the source, nothing being held back, or a person has
    /// agreed that it becomes so: from now on it is no foreign one.
    pub(super) fn adopt(&self) {
        let own = self.lasting().ok();
        let mut known = self.known();
        if std::mem::take(&mut known.foreign) {
            known.own = own.or_else(|| known.own.take());
        }
    }

    /// Checks that no link leads there that a less trusted user could have put in its way.
    ///
    /// # Errors
    ///
    /// The outcome of the job if there is one.
    pub(super) fn check_path(&self) -> Result<(), Outcome> {
        self.sight().map(drop)
    }

    /// Looks at it after a job that did what it should, and before which it was `before`. `all` of
    /// the source went there, or a part.
    ///
    /// # Errors
    ///
    /// The outcome of the job if it may have gone to another directory.
    pub(super) fn settle(&self, before: &Sight, all: bool) -> Result<(), Outcome> {
        let now = self.sight()?;
        if matches!(before, Sight::Found(_)) && now != Sight::Unknown && now != *before {
            self.compare(&now)?;
            let why = format!("the target {} was exchanged meanwhile", self.name);
            return Err(Outcome::Again(Failure::new(why)));
        }
        let mut known = self.known();
        known.seen = true;
        if all {
            known.owed = false;
        }
        // One that was missing was made by this job.
        if known.own.is_none() || *before == Sight::Nothing {
            known.own = self.lasting().ok();
            known.foreign = false;
        }
        if all || known.was.is_none() {
            known.mounted_on = self.path.as_deref().and_then(mount_point);
            known.was = match now {
                Sight::Found(now) => Some(now),
                Sight::Unknown | Sight::Nothing => None,
            };
        }
        Ok(())
    }

    /// Whether it was there once.
    pub(super) fn is_seen(&self) -> bool {
        self.known().seen
    }

    /// It is not there, as somebody else has seen. That says nothing as long as it never was.
    pub(super) fn lost(&self) {
        let known = self.known();
        if known.seen {
            self.lose(known, "is gone");
        }
    }

    /// Whether it has to get all of the source.
    pub(super) fn is_owed_all(&self) -> bool {
        self.known().owed
    }

    fn lose(&self, mut known: MutexGuard<'_, Known>, how: &str) {
        if !std::mem::replace(&mut known.owed, true) {
            let text =
                format!("the target {} {how}: all of the source goes there again", self.name);
            self.log.say(Category::Warn, text);
        }
    }

    fn sight(&self) -> Result<Sight, Outcome> {
        let Some(path) = self.path.as_deref() else { return Ok(Sight::Unknown) };
        let found = trusted::find(path);
        match found.and_then(|found| Ok(Instance::of(found)?)) {
            Ok(found) => Ok(Sight::Found(found)),
            Err(Refused::System(error)) if is_gone(&error) => Ok(Sight::Nothing),
            Err(Refused::System(_)) => Ok(Sight::Unknown),
            Err(planted @ Refused::Planted(_)) => {
                let why = format!("the target {} is not written: {planted}", self.name);
                Err(Outcome::Again(Failure::new(why)))
            }
        }
    }

    fn lasting(&self) -> Result<Lasting, Refused> {
        let path = self.path.as_deref().ok_or(io::Error::from(io::ErrorKind::Unsupported))?;
        Lasting::of(trusted::find(path)?)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lasting {
    fn of(directory: OwnedFd) -> Result<Self, Refused> {
        let node = Instance::of(&directory)?.node().clone();
        // What can't be read tells less of itself.
        let file_system = match trusted::readable(&directory) {
            Ok(directory) => FileSystem::of(directory)?,
            Err(_) => FileSystem::of(directory)?,
        };
        Ok(Self { file_system, node })
    }

    fn is(&self, other: &Self) -> bool {
        self.file_system.is_same_part(&other.file_system) && self.node.is(&other.node)
    }
}

fn is_mount_point(path: &Path) -> bool {
    Instance::at(path).is_ok_and(|found| found.is_mount_root())
}

/// On what the file system is mounted on which `path` lies.
fn mount_point(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.ancestors().find(|above| is_mount_point(above)).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::{job::Scope, path::TreePath};
    use std::{fs, os::unix::fs::symlink};

    /// A directory `dst` beside others, and what is known of it once all of the source went there.
    fn with_all() -> (tempfile::TempDir, PathBuf, Presence) {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("dst");
        fs::create_dir(&target).unwrap();
        let presence = at(&target);
        bring(&presence, true);
        (place, target, presence)
    }

    fn at(target: &Path) -> Presence {
        Presence::new("dst".into(), Some(target.into()), Log::default())
    }

    /// A job that goes well.
    fn bring(presence: &Presence, all: bool) {
        let before = presence.look(&mut Work::full()).unwrap();
        presence.settle(&before, all).unwrap();
    }

    /// Whether it is seen to be another one before a part goes there.
    fn is_lost(presence: &Presence) -> bool {
        let mut work = Work::Large { path: TreePath::root(), heard: Arc::default() };
        presence.look(&mut work).unwrap();
        let is_all = matches!(work, Work::Batch { places, .. } if places.covers(&TreePath::root(), Scope::Tree));
        assert_eq!(is_all, presence.is_owed_all());
        is_all
    }

    #[test]
    fn it_is_lost_when_it_is_removed_or_another_one_and_until_it_has_everything() {
        type Change = fn(&Path);
        let changes: [(Change, bool); 6] = [
            (|_| (), false),
            (|target| fs::write(target.join("file"), "").unwrap(), false),
            (|target| fs::remove_dir(target).unwrap(), true),
            (|target| fs::rename(target, target.with_extension("old")).unwrap(), true),
            (
                |target| {
                    fs::rename(target, target.with_extension("old")).unwrap();
                    fs::create_dir(target).unwrap();
                },
                true,
            ),
            // On some file systems the new one gets the number of the old one.
            (
                |target| {
                    fs::remove_dir(target).unwrap();
                    fs::create_dir(target).unwrap();
                },
                true,
            ),
        ];
        for (number, (change, lost)) in changes.into_iter().enumerate() {
            let (_place, target, presence) = with_all();
            assert!(!is_lost(&presence));
            change(&target);
            assert_eq!(is_lost(&presence), lost, "{number}");
            fs::create_dir_all(&target).unwrap();
            bring(&presence, false);
            assert_eq!(presence.is_owed_all(), lost, "{number}");
            bring(&presence, true);
            assert!(!is_lost(&presence), "{number}");
        }
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to() {
        let (place, target, _) = with_all();
        let other = place.path().join("other");
        let link = place.path().join("link");
        fs::create_dir(&other).unwrap();
        symlink(&target, &link).unwrap();
        let presence = at(&link);
        bring(&presence, true);
        fs::remove_file(&link).unwrap();
        symlink("dst", &link).unwrap();
        assert!(!is_lost(&presence));
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        assert!(is_lost(&presence));
    }

    #[test]
    fn one_that_somebody_put_there_is_foreign_until_it_is_adopted() {
        let (_place, target, presence) = with_all();
        let old = target.with_extension("old");
        let is_foreign = || {
            presence.look(&mut Work::full()).unwrap();
            presence.budget(MaxDelete::default()) == MaxDelete::Count(0)
        };
        assert!(!is_foreign());
        fs::rename(&target, &old).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(is_foreign());
        bring(&presence, true);
        assert!(is_foreign(), "it has all, and more");
        for agreed in [MaxDelete::Count(7), MaxDelete::Unlimited] {
            assert_eq!(presence.budget(agreed), agreed);
        }
        presence.adopt();
        assert!(!is_foreign());
        // The adopted one goes, and the first one comes back, and then the adopted one again.
        let adopted = target.with_extension("adopted");
        fs::rename(&target, &adopted).unwrap();
        fs::rename(&old, &target).unwrap();
        assert!(is_foreign());
        fs::rename(&target, &old).unwrap();
        fs::rename(&adopted, &target).unwrap();
        assert!(!is_foreign());
    }

    #[test]
    fn one_that_a_job_had_to_make_is_not_foreign() {
        let (_place, target, presence) = with_all();
        fs::remove_dir(&target).unwrap();
        let before = presence.look(&mut Work::full()).unwrap();
        fs::create_dir(&target).unwrap();
        presence.settle(&before, true).unwrap();
        presence.look(&mut Work::full()).unwrap();
        assert_eq!(presence.budget(MaxDelete::default()), MaxDelete::default());
    }

    #[test]
    fn a_link_of_others_is_not_followed() {
        use std::os::unix::fs::PermissionsExt;
        let (place, target, presence) = with_all();
        let before = presence.look(&mut Work::full()).unwrap();
        fs::rename(&target, target.with_extension("old")).unwrap();
        symlink("/", &target).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for outcome in [
            presence.look(&mut Work::full()).map(drop),
            presence.check_path(),
            presence.settle(&before, true),
        ] {
            let Err(Outcome::Again(failure)) = outcome else { panic!("{outcome:?}") };
            assert!(failure.why.contains("is a symbolic link"), "{}", failure.why);
        }
    }

    #[test]
    fn it_is_known_from_the_first_job_that_went_well() {
        let (_place, target, _) = with_all();
        fs::remove_dir(&target).unwrap();
        let presence = at(&target);
        presence.lost();
        assert!(!is_lost(&presence) && !presence.is_seen());
        let before = presence.look(&mut Work::full()).unwrap();
        fs::create_dir(&target).unwrap();
        presence.settle(&before, false).unwrap();
        assert!(!is_lost(&presence) && presence.is_seen());
        fs::rename(&target, target.with_extension("old")).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(is_lost(&presence));
    }

    #[test]
    fn what_went_there_while_it_was_exchanged_does_not_count() {
        for all in [true, false] {
            let (_place, target, presence) = with_all();
            let before = presence.look(&mut Work::full()).unwrap();
            fs::rename(&target, target.with_extension("old")).unwrap();
            fs::create_dir(&target).unwrap();
            let settled = presence.settle(&before, all);
            assert!(matches!(settled, Err(Outcome::Again(_))), "{settled:?}");
            assert!(presence.is_owed_all());
        }
    }

    #[test]
    fn what_is_elsewhere_is_lost_when_somebody_says_so() {
        let presence = Presence::new("host:dst".into(), None, Log::default());
        bring(&presence, true);
        assert!(!is_lost(&presence));
        presence.lost();
        assert!(is_lost(&presence));
        bring(&presence, true);
        assert!(!is_lost(&presence));
    }
}
