//! Warnings that are given once, not for each of a million files.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use mirror_core::path::TreePath;

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// What was mounted here in the source is not any more.
    Unmounted(TreePath),
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
    pub(super) fn renew(&self, topic: &Topic) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}
