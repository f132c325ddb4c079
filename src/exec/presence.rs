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
    job::{Failure, Outcome, Work},
    path::Escaped,
};
use mirror_linux::handle::Handle;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use super::source::{Identity, is_gone};
use crate::report::{Category, Log};

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: a number of the mount that no later one gets. Older kernels
/// pass over it, and give the other one.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems that give a directory another number after they forgot it for a while: FAT, exFAT,
/// and those that are programs (`statfs(2)`).
const FORGETFUL: [u32; 3] = [0x4d44, 0x2011_bab0, 0x6573_5546];

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
    was: Option<Directory>,
    /// On this its file system was mounted.
    mounted_on: Option<PathBuf>,
    /// It was lost, and not all of the source is known to be there again.
    owed: bool,
}

/// What there is in the place of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It can't be told: it is on another machine, for one.
    Unknown,
    Nothing,
    Found(Directory),
}

/// A directory, as none before it and none after it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    identity: Identity,
    /// With it one that was given the number of another is told from that.
    handle: Option<Handle>,
}

impl Presence {
    /// A target that was not looked at yet.
    pub(super) fn new(name: String, path: Option<PathBuf>, log: Log) -> Self {
        Self { name, path, log, known: Mutex::default() }
    }

    /// Looks at it before a job. If it is not what it was, all of the source is owed to it, and that
    /// is its `work`.
    ///
    /// # Errors
    ///
    /// The outcome of the job if nothing may be written there: its disk is not mounted any more, and
    /// what lies below may be too small for all of the source.
    pub(super) fn look(&self, work: &mut Work) -> Result<Sight, Outcome> {
        let now = self.sight();
        self.compare(&now)?;
        if self.is_owed_all() && !matches!(work, Work::Full { .. }) {
            *work = Work::all(Arc::clone(work.heard()));
        }
        Ok(now)
    }

    fn compare(&self, now: &Sight) -> Result<(), Outcome> {
        let known = self.known();
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

    /// Looks at it after a job that did what it should, and before which it was `before`. `all` of
    /// the source went there, or a part.
    ///
    /// # Errors
    ///
    /// The outcome of the job if it may have gone to another directory.
    pub(super) fn settle(&self, before: &Sight, all: bool) -> Result<(), Outcome> {
        let now = self.sight();
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

    fn sight(&self) -> Sight {
        match self.path.as_deref().map(Directory::at) {
            Some(Ok(found)) => Sight::Found(found),
            Some(Err(error)) if is_gone(&error) => Sight::Nothing,
            Some(Err(_)) | None => Sight::Unknown,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    fn at(path: &Path) -> io::Result<Self> {
        let (identity, fd) = identity_at(path)?;
        let kind = rustix::fs::fstatfs(&fd)?.f_type;
        if FORGETFUL.iter().any(|&forgetful| i128::from(kind) == i128::from(forgetful)) {
            return Ok(Self { identity: identity.of_mount(), handle: None });
        }
        Ok(Self { identity, handle: Handle::of(&fd).ok() })
    }
}

fn identity_at(path: &Path) -> io::Result<(Identity, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let mask = StatxFlags::INO | StatxFlags::MNT_ID | UNIQUE_MOUNT;
    let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, mask)?;
    Ok((Identity::of(&stat), fd))
}

fn is_mount_point(path: &Path) -> bool {
    identity_at(path).is_ok_and(|(identity, _)| identity.is_mount())
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
