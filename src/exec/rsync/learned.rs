//! What was found out about a target.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mirror_core::{
    path::Escaped,
    plan::{rsync::Equal, target::Target},
};
use mirror_platform::dir::Dir;

use super::{existing::Existing, links::Links};
use crate::{
    exec::{direct::step_of_times, target_identity::Presence},
    report::Log,
};

/// What was found out about a target and its rsync, so that an executor with other settings for the
/// same source and target need not find it out again, or forget it.
#[derive(Debug)]
pub struct Learned {
    /// Whether the target is still the one to which all went.
    pub(super) presence: Presence,
    /// Whether the other side takes the words of a call to a target that has to be there.
    pub(super) existing: Existing,
    /// The receiver refuses deletions by a list.
    pub(super) broken_receiver: Flag,
    /// The other side is `rrsync`, which does not know all options.
    pub(super) restricted: Flag,
    /// The other side takes no bound for deletions.
    pub(super) unbounded: Flag,
    /// Deletions are held: the target has what the source does not.
    pub(super) holds: Flag,
    /// Somebody was told that the source is empty.
    pub(super) told_empty: Flag,
    /// The names of files that have several.
    pub(super) links: Links,
    /// The path of a target on this machine.
    path: Option<PathBuf>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// How many entries the target held when all of it was compared last.
    total: Option<u64>,
    /// What the times of the target tell.
    equal: Option<Equal>,
}

impl Learned {
    /// Nothing yet. Relative targets count from `directory`.
    #[must_use]
    pub fn new(target: &Target, directory: &Path, log: Log) -> Self {
        let path = target.local().map(|path| directory.join(OsStr::from_bytes(path)));
        Self {
            presence: Presence::new(Escaped(target.word()).to_string(), path.clone(), log),
            existing: Existing::default(),
            broken_receiver: Flag::default(),
            restricted: Flag::default(),
            unbounded: Flag::default(),
            holds: Flag::default(),
            told_empty: Flag::default(),
            links: Links::default(),
            path,
            facts: Mutex::default(),
        }
    }

    /// The target, if it is on this machine and can be read.
    pub(super) fn local(&self) -> Option<Dir> {
        Dir::open(self.path.as_deref()?).ok()
    }

    /// How many entries the target held.
    pub(super) fn total(&self) -> Option<u64> {
        self.facts().total
    }

    pub(super) fn learn_total(&self, total: u64) {
        self.facts().total = Some(total);
    }

    /// What makes files equal there, as far as it is known. A target on this machine is tried.
    pub(super) fn equal(&self) -> Option<Equal> {
        let known = self.facts().equal;
        known.or_else(|| {
            let equal = of_step(step_of_times(&self.local()?));
            self.facts().equal = Some(equal);
            Some(equal)
        })
    }

    /// What was found out makes files equal there.
    pub(super) fn learn_equal(&self, equal: Equal) {
        self.facts().equal = Some(equal);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What times tell that are multiples of `step` nanoseconds.
fn of_step(step: u64) -> Equal {
    const SECOND: u64 = 1_000_000_000;
    match step {
        ..=1 => Equal::Nanoseconds,
        2..=SECOND => Equal::Seconds,
        _ => Equal::Within(u32::try_from((step - 1) / SECOND).unwrap_or(u32::MAX)),
    }
}

/// Something that is found out once.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns what it was before.
    pub(super) fn set(&self, is: bool) -> bool {
        self.0.swap(is, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_times_tell_less() {
        for (step, equal) in [
            (1, Equal::Nanoseconds),
            (100, Equal::Seconds),
            (1_000_000_000, Equal::Seconds),
            (2_000_000_000, Equal::Within(1)),
        ] {
            assert_eq!(of_step(step), equal, "{step}");
        }
    }
}
