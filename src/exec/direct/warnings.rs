//! Warnings that are logged once, not for each of a million files.

use std::{collections::BTreeSet, sync::Mutex};

use crate::exec::lock;

/// Subject of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WarningTopic {
    /// The root of the source lists nothing.
    EmptySource,
    /// Devices and special files cannot be created.
    Special,
    /// The target does not support extended attributes.
    Attributes,
    /// The target does not support owners.
    Owner,
    /// The attributes of symbolic links cannot be set.
    Links,
    /// The target is inside the source.
    TargetInSource,
    /// The `max-delete` quota is used up.
    MaxDelete,
}

/// Warnings that were logged.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    given: Mutex<BTreeSet<WarningTopic>>,
}

impl Warnings {
    /// Marks a warning as logged. Returns true if it was not logged before.
    pub(super) fn mark_given(&self, topic: WarningTopic) -> bool {
        lock(&self.given).insert(topic)
    }

    /// Rearms a warning after its cause is gone.
    pub(super) fn rearm(&self, topic: WarningTopic) {
        lock(&self.given).remove(&topic);
    }
}
