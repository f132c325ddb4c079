//! Identity of a target: detects that its directory was removed or replaced.
//!
//! A transfer of single changes creates a removed directory again, and does not notice that a
//! directory was replaced by another one. Files that did not change would be missing there. From
//! then on the target needs a full sync, whatever the number of attempts.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use mirror_core::{
    guard::MaxDelete,
    job::{Failure, Outcome, Work},
    path::Escaped,
};
use mirror_platform::identity::{DirIdentity, FileSystem, InodeIdentity};

use super::{
    lock,
    source_root::is_gone,
    trusted_path::{self, TrustedOpenError},
};
use crate::report::{Category, Log};

/// Identity of a target, as observed before and after its jobs.
#[derive(Debug)]
pub(crate) struct TargetIdentity {
    /// Name of the target in messages.
    name: String,
    /// Path of the target, if it is on this machine.
    path: Option<PathBuf>,
    log: Log,
    record: Mutex<TargetRecord>,
}

#[derive(Clone, Debug, Default)]
struct TargetRecord {
    /// True if the target existed at the end of a successful job.
    was_present: bool,
    /// Directory that was the target after the last full sync.
    instance: Option<DirIdentity>,
    /// Mount point of its file system.
    mounted_on: Option<PathBuf>,
    /// True if the target was lost and has not been fully synced since.
    needs_full_sync: bool,
    /// Directory that this mirror has filled, or that a person has accepted.
    own_directory: Option<MountIndependentId>,
    /// Directory that was observed last.
    last_observed: Option<DirIdentity>,
    /// True if the directory observed last is not the own one.
    foreign: bool,
    /// Budget that was configured when the foreign directory was detected.
    refused_budget: Option<MaxDelete>,
}

/// State of the target's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObservedTarget {
    /// The state cannot be determined, for example because the target is on another machine.
    Unknown,
    Missing,
    Present(DirIdentity),
}

/// Identity of a directory that is independent of where its file system is mounted.
#[derive(Clone, Debug)]
struct MountIndependentId {
    file_system: FileSystem,
    node: InodeIdentity,
}

impl TargetIdentity {
    /// Creates a record without observations.
    pub(super) fn new(name: String, path: Option<PathBuf>, log: Log) -> Self {
        Self { name, path, log, record: Mutex::default() }
    }

    /// Returns the path of the target, if it is on this machine.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Continues with what `other` knows, if that is of a target at the same path on this machine.
    pub(crate) fn inherit(&self, other: &Self) {
        if self.path.is_some() && self.path == other.path {
            let known = other.record().clone();
            *self.record() = known;
        }
    }

    /// Observes the target before a job. If it was lost, a full sync replaces the `work`.
    ///
    /// # Errors
    ///
    /// The outcome of the job if nothing may be written there: the disk of the target is no longer
    /// mounted, and the file system below may be too small for the whole source; or the target was
    /// there, and can't be opened any more.
    pub(super) fn check_before(&self, work: &mut Work) -> Result<ObservedTarget, Outcome> {
        let now = self.observe()?;
        self.update(&now)?;
        if self.needs_full_sync() && !matches!(work, Work::Full { .. }) {
            *work = Work::full_batch(Arc::clone(work.observed()));
        }
        Ok(now)
    }

    fn update(&self, now: &ObservedTarget) -> Result<(), Outcome> {
        let mut record = self.record();
        if let ObservedTarget::Present(now) = now
            && record.last_observed.as_ref() != Some(now)
        {
            let own = record.own_directory.as_ref();
            record.foreign =
                !own.is_none_or(|own| self.current_id().is_ok_and(|it| own.is_same(&it)));
            record.last_observed = Some(now.clone());
        }
        let how = match now {
            ObservedTarget::Missing if record.was_present => "disappeared",
            ObservedTarget::Present(now)
                if record.instance.as_ref().is_some_and(|was| was != now) =>
            {
                "is another directory than before"
            }
            ObservedTarget::Unknown | ObservedTarget::Missing | ObservedTarget::Present(_) => {
                return Ok(());
            }
        };
        if let Some(point) = record.mounted_on.as_ref().filter(|point| !is_mount_point(point)) {
            let (name, point) = (&self.name, Escaped(point.as_os_str().as_encoded_bytes()));
            return Err(Outcome::Retry(Failure::new(format!(
                "no file system is mounted on {point} any more, where the target {name} was: mount \
                 it, or restart lsyncd to use the present directory"
            ))));
        }
        self.require_full_sync(record, how);
        Ok(())
    }

    /// Returns the budget for unobserved deletions, given the configured `budget`.
    ///
    /// The budget is zero if somebody has replaced the directory that this mirror has filled: the
    /// entries of the foreign directory were never in the source. It is restored when the
    /// configured budget changes, and when the target is [adopted](Self::adopt).
    pub(super) fn budget(&self, budget: MaxDelete) -> MaxDelete {
        let mut record = self.record();
        if !record.foreign {
            record.refused_budget = None;
            return budget;
        }
        let is_agreed = *record.refused_budget.get_or_insert(budget) != budget;
        if is_agreed || budget == MaxDelete::Unlimited { budget } else { MaxDelete::Count(0) }
    }

    /// Adopts the present directory: it is equal to the source without held deletions, or a person
    /// has agreed that it becomes so.
    pub(super) fn adopt(&self) {
        let own = self.current_id().ok();
        let mut record = self.record();
        if std::mem::take(&mut record.foreign) {
            record.own_directory = own.or_else(|| record.own_directory.take());
        }
    }

    /// Checks that the path contains no symbolic link that a less trusted user could have planted.
    ///
    /// # Errors
    ///
    /// The outcome of the job if there is such a link.
    pub(super) fn check_path(&self) -> Result<(), Outcome> {
        self.observe().map(drop)
    }

    /// Observes the target after a successful job. `before` is the observation before the job, and
    /// `all` is true for a full sync.
    ///
    /// # Errors
    ///
    /// The outcome of the job if it may have written to another directory.
    pub(super) fn check_after(&self, before: &ObservedTarget, all: bool) -> Result<(), Outcome> {
        let now = self.observe()?;
        if matches!(before, ObservedTarget::Present(_))
            && now != ObservedTarget::Unknown
            && now != *before
        {
            self.update(&now)?;
            let why = format!("target {} was replaced during the transfer: retrying", self.name);
            return Err(Outcome::Retry(Failure::new(why)));
        }
        let mut record = self.record();
        record.was_present = true;
        if all {
            record.needs_full_sync = false;
        }
        // A missing directory was created by this job.
        if record.own_directory.is_none() || *before == ObservedTarget::Missing {
            record.own_directory = self.current_id().ok();
            record.foreign = false;
        }
        if all || record.instance.is_none() {
            record.mounted_on = self.path.as_deref().and_then(mount_point);
            record.instance = match now {
                ObservedTarget::Present(now) => Some(now),
                ObservedTarget::Unknown | ObservedTarget::Missing => None,
            };
        }
        Ok(())
    }

    /// Checks that this is the directory of the last full sync, if there was one.
    ///
    /// # Errors
    ///
    /// A message if it is not.
    pub(super) fn check_instance(&self, directory: impl AsFd) -> Result<(), String> {
        let now = DirIdentity::of(directory).map_err(|error| error.to_string())?;
        match &self.record().instance {
            Some(was) if *was != now => Err("it is another directory than before".into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Records the present directory as that of the last full sync, because a snapshot says that
    /// the target has everything.
    pub(crate) fn resume(&self) {
        let now = self.observe();
        let own = self.current_id().ok();
        let mut record = self.record();
        record.was_present = true;
        record.own_directory = own;
        if let Ok(ObservedTarget::Present(now)) = now {
            record.mounted_on = self.path.as_deref().and_then(mount_point);
            record.instance = Some(now);
        }
    }

    /// Returns true if the target existed at the end of a successful job.
    pub(super) fn was_present(&self) -> bool {
        self.record().was_present
    }

    /// Records that the target was found missing. Ignored as long as it never existed.
    pub(super) fn mark_missing(&self) {
        let record = self.record();
        if record.was_present {
            self.require_full_sync(record, "disappeared");
        }
    }

    /// Returns true if the target needs a full sync.
    pub(super) fn needs_full_sync(&self) -> bool {
        self.record().needs_full_sync
    }

    fn require_full_sync(&self, mut record: MutexGuard<'_, TargetRecord>, how: &str) {
        if !std::mem::replace(&mut record.needs_full_sync, true) {
            let text = format!("target {} {how}: full resync scheduled", self.name);
            self.log.say(Category::Warn, text);
        }
    }

    fn observe(&self) -> Result<ObservedTarget, Outcome> {
        let Some(path) = self.path.as_deref() else { return Ok(ObservedTarget::Unknown) };
        let found = trusted_path::open_path(path);
        match found.and_then(|found| Ok(DirIdentity::of(found)?)) {
            Ok(found) => Ok(ObservedTarget::Present(found)),
            Err(TrustedOpenError::System(error)) if is_gone(&error) => Ok(ObservedTarget::Missing),
            // It may be unmounted at any moment, and rsync would then fill the directory below.
            Err(TrustedOpenError::System(error)) if self.record().instance.is_some() => {
                let name = &self.name;
                let why = format!("cannot open the target {name}: {error}");
                Err(Outcome::Retry(Failure::new(why)))
            }
            Err(TrustedOpenError::System(_)) => Ok(ObservedTarget::Unknown),
            Err(planted @ TrustedOpenError::UntrustedLink(_)) => {
                let why = format!("the target {} is not written to: {planted}", self.name);
                Err(Outcome::Retry(Failure::new(why)))
            }
        }
    }

    fn current_id(&self) -> Result<MountIndependentId, TrustedOpenError> {
        let path = self.path.as_deref().ok_or(io::Error::from(io::ErrorKind::Unsupported))?;
        MountIndependentId::of(trusted_path::open_path(path)?)
    }

    fn record(&self) -> MutexGuard<'_, TargetRecord> {
        lock(&self.record)
    }
}

impl MountIndependentId {
    fn of(directory: OwnedFd) -> Result<Self, TrustedOpenError> {
        let node = DirIdentity::of(&directory)?.inode().clone();
        // An unreadable directory has a less precise identity.
        let file_system = match trusted_path::readable(&directory) {
            Ok(directory) => FileSystem::of(directory)?,
            Err(_) => FileSystem::of(directory)?,
        };
        Ok(Self { file_system, node })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.file_system.is_same_part(&other.file_system) && self.node.is_same(&other.node)
    }
}

fn is_mount_point(path: &Path) -> bool {
    DirIdentity::at(path).is_ok_and(|found| found.is_mount_root())
}

/// Returns the mount point of the file system that contains `path`.
fn mount_point(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.ancestors().find(|above| is_mount_point(above)).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::{job::Scope, path::TreePath};
    use std::{fs, os::unix::fs::symlink};

    /// Creates a directory `dst` and its record after a full sync.
    fn with_all() -> (tempfile::TempDir, PathBuf, TargetIdentity) {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("dst");
        fs::create_dir(&target).unwrap();
        let identity = at(&target);
        bring(&identity, true);
        (temp, target, identity)
    }

    fn at(target: &Path) -> TargetIdentity {
        TargetIdentity::new("dst".into(), Some(target.into()), Log::default())
    }

    /// Simulates a successful job.
    fn bring(identity: &TargetIdentity, all: bool) {
        let before = identity.check_before(&mut Work::full()).unwrap();
        identity.check_after(&before, all).unwrap();
    }

    /// Returns true if a partial job finds that the target was lost.
    fn is_lost(identity: &TargetIdentity) -> bool {
        let mut work = Work::Large { path: TreePath::root(), observed: Arc::default() };
        identity.check_before(&mut work).unwrap();
        let is_all = matches!(
            work,
            Work::Batch { paths, .. } if paths.covers(&TreePath::root(), Scope::Tree)
        );
        assert_eq!(is_all, identity.needs_full_sync());
        is_all
    }

    #[test]
    fn a_removed_or_replaced_target_needs_a_full_sync() {
        type TargetChange = fn(&Path);
        let changes: [(TargetChange, bool); 6] = [
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
            // Some file systems reuse the inode number.
            (
                |target| {
                    fs::remove_dir(target).unwrap();
                    fs::create_dir(target).unwrap();
                },
                true,
            ),
        ];
        for (number, (change, lost)) in changes.into_iter().enumerate() {
            let (_temp, target, identity) = with_all();
            assert!(!is_lost(&identity));
            change(&target);
            assert_eq!(is_lost(&identity), lost, "{number}");
            fs::create_dir_all(&target).unwrap();
            bring(&identity, false);
            assert_eq!(identity.needs_full_sync(), lost, "{number}");
            bring(&identity, true);
            assert!(!is_lost(&identity), "{number}");
        }
    }

    #[test]
    fn a_symlink_is_identified_by_its_target() {
        let (temp, target, _) = with_all();
        let other = temp.path().join("other");
        let link = temp.path().join("link");
        fs::create_dir(&other).unwrap();
        symlink(&target, &link).unwrap();
        let identity = at(&link);
        bring(&identity, true);
        fs::remove_file(&link).unwrap();
        symlink("dst", &link).unwrap();
        assert!(!is_lost(&identity));
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        assert!(is_lost(&identity));
    }

    #[test]
    fn a_replacement_is_foreign_until_it_is_adopted() {
        let (_temp, target, identity) = with_all();
        let old = target.with_extension("old");
        let is_foreign = || {
            identity.check_before(&mut Work::full()).unwrap();
            identity.budget(MaxDelete::default()) == MaxDelete::Count(0)
        };
        assert!(!is_foreign());
        fs::rename(&target, &old).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(is_foreign());
        bring(&identity, true);
        assert!(is_foreign(), "it has all, and more");
        for agreed in [MaxDelete::Count(7), MaxDelete::Unlimited] {
            assert_eq!(identity.budget(agreed), agreed);
        }
        identity.adopt();
        assert!(!is_foreign());
        // The adopted directory is replaced by the first one and then restored.
        let adopted = target.with_extension("adopted");
        fs::rename(&target, &adopted).unwrap();
        fs::rename(&old, &target).unwrap();
        assert!(is_foreign());
        fs::rename(&target, &old).unwrap();
        fs::rename(&adopted, &target).unwrap();
        assert!(!is_foreign());
    }

    #[test]
    fn a_directory_created_by_a_job_is_not_foreign() {
        let (_temp, target, identity) = with_all();
        fs::remove_dir(&target).unwrap();
        let before = identity.check_before(&mut Work::full()).unwrap();
        fs::create_dir(&target).unwrap();
        identity.check_after(&before, true).unwrap();
        identity.check_before(&mut Work::full()).unwrap();
        assert_eq!(identity.budget(MaxDelete::default()), MaxDelete::default());
    }

    #[test]
    fn an_untrusted_link_to_the_target_is_not_followed() {
        use std::os::unix::fs::PermissionsExt;
        let (temp, target, identity) = with_all();
        let before = identity.check_before(&mut Work::full()).unwrap();
        fs::rename(&target, target.with_extension("old")).unwrap();
        symlink("/", &target).unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for outcome in [
            identity.check_before(&mut Work::full()).map(drop),
            identity.check_path(),
            identity.check_after(&before, true),
        ] {
            let Err(Outcome::Retry(failure)) = outcome else { panic!("{outcome:?}") };
            assert!(failure.message.contains("is a symbolic link"), "{}", failure.message);
        }
    }

    #[test]
    fn nothing_is_written_to_a_target_that_was_there_and_cannot_be_opened() {
        let (_temp, target, identity) = with_all();
        let before = identity.check_before(&mut Work::full()).unwrap();
        let old = target.with_extension("old");
        fs::rename(&target, &old).unwrap();
        // The error of a dead FUSE program is of the same class.
        symlink(&target, &target).unwrap();
        for outcome in [
            identity.check_before(&mut Work::full()).map(drop),
            identity.check_path(),
            identity.check_after(&before, true),
        ] {
            let Err(Outcome::Retry(failure)) = outcome else { panic!("{outcome:?}") };
            assert!(failure.message.starts_with("cannot open the target dst: "), "{failure:?}");
        }
        fs::remove_file(&target).unwrap();
        fs::rename(&old, &target).unwrap();
        assert!(!is_lost(&identity), "it is known as before");
    }

    #[test]
    fn the_target_is_known_after_the_first_successful_job() {
        let (_temp, target, _) = with_all();
        fs::remove_dir(&target).unwrap();
        let identity = at(&target);
        identity.mark_missing();
        assert!(!is_lost(&identity) && !identity.was_present());
        let before = identity.check_before(&mut Work::full()).unwrap();
        fs::create_dir(&target).unwrap();
        identity.check_after(&before, false).unwrap();
        assert!(!is_lost(&identity) && identity.was_present());
        fs::rename(&target, target.with_extension("old")).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(is_lost(&identity));
    }

    #[test]
    fn a_replacement_during_a_job_is_retried() {
        for all in [true, false] {
            let (_temp, target, identity) = with_all();
            let before = identity.check_before(&mut Work::full()).unwrap();
            fs::rename(&target, target.with_extension("old")).unwrap();
            fs::create_dir(&target).unwrap();
            let settled = identity.check_after(&before, all);
            assert!(matches!(settled, Err(Outcome::Retry(_))), "{settled:?}");
            assert!(identity.needs_full_sync());
        }
    }

    #[test]
    fn a_remote_target_is_lost_when_marked_missing() {
        let identity = TargetIdentity::new("host:dst".into(), None, Log::default());
        bring(&identity, true);
        assert!(!is_lost(&identity));
        identity.mark_missing();
        assert!(is_lost(&identity));
        bring(&identity, true);
        assert!(!is_lost(&identity));
    }
}
