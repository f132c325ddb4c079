//! What was found out about a source and its target while the daemon runs.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use mirror_core::path::TreePath;
use mirror_platform::dir::Dir;

use super::{
    super::target_identity::Presence, links::Links, path_text, traits::Traits, warn::Warnings,
};
use crate::report::Log;

/// How many directories are remembered in which nothing was left over.
const MOST_SWEPT: usize = 65_536;

/// What was found out about a source and its target. It outlives a change of settings.
#[derive(Debug, Default)]
pub struct Learned {
    pub(super) links: Links,
    pub(super) warnings: Warnings,
    presence: OnceLock<Arc<Presence>>,
    traits: OnceLock<Traits>,
    total: Mutex<Option<u64>>,
    swept: Mutex<BTreeSet<TreePath>>,
}

impl Learned {
    /// What is known of the directory that is the target.
    pub(super) fn presence(&self, target: &Path, log: &Log) -> Arc<Presence> {
        let new = || Presence::new(path_text(target), Some(target.into()), log.clone());
        Arc::clone(self.presence.get_or_init(|| Arc::new(new())))
    }

    /// Finds out what the target can hold, once.
    pub(super) fn probe(&self, target: &Dir, privileged: bool) {
        self.traits.get_or_init(|| Traits::of(target, privileged));
    }

    /// Takes this for what the target can hold.
    #[cfg(test)]
    pub(super) fn assume(&self, traits: Traits) {
        let _ = self.traits.set(traits);
    }

    /// What the target can hold.
    pub(super) fn traits(&self) -> Traits {
        self.traits.get().copied().unwrap_or(Traits::USUAL)
    }

    /// How many entries the target holds, as far as it is known.
    pub(super) fn total(&self) -> Option<u64> {
        *lock(&self.total)
    }

    /// From now on the target holds so many entries.
    pub(super) fn set_total(&self, total: u64) {
        *lock(&self.total) = Some(total);
    }

    /// Whether it is not known yet that nothing was left over in this directory; from now on it is.
    pub(super) fn is_unswept(&self, path: &TreePath) -> bool {
        let mut swept = lock(&self.swept);
        if swept.len() >= MOST_SWEPT {
            swept.clear();
        }
        swept.insert(path.clone())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
