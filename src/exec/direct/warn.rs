//! Warnings that are given once, not for each of a million files.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The root of the source lists nothing.
    EmptySource,
    /// Devices and the like can't be made.
    Special,
    /// The target holds no extended attributes.
    Attributes,
    /// The target holds no owners.
    Owner,
    /// The target lies in the source.
    Within,
    /// The user allows no more deletions.
    MaxDelete,
}

/// Which warnings were given.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    given: Mutex<BTreeSet<Topic>>,
}

impl Warnings {
    /// Whether this warning is due; from now on it is not.
    pub(super) fn take(&self, topic: Topic) -> bool {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(topic)
    }

    /// The reason is gone: if it comes back, the warning is due again.
    pub(super) fn renew(&self, topic: Topic) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&topic);
    }
}
