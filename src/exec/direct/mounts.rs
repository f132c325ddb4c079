//! What is mounted inside the source.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use mirror_core::path::TreePath;
use mirror_linux::dir::{Dir, Stat};
use rustix::fs::StatxAttributes;

/// The directories of the source on which something was seen mounted.
///
/// When it is unmounted, an empty directory shows: nobody deleted what was there (law 2).
#[derive(Debug, Default)]
pub(super) struct Mounts {
    seen: Mutex<BTreeSet<TreePath>>,
}

impl Mounts {
    /// Takes note of the directory of the source at `path`, if it is a mount point.
    pub(super) fn learn(&self, path: &TreePath, stat: &Stat) {
        if is_mounted(stat) && !path.is_root() {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    }

    /// The mount point at, above or below `path` from which the mount has gone, if there is one.
    pub(super) fn lost(&self, source: &Dir, path: &TreePath) -> Option<TreePath> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut near = seen.iter().filter(|mount| mount.contains(path) || path.contains(mount));
        near.find(|mount| {
            let dir = source.open_below(mount.as_bytes());
            !dir.and_then(|dir| dir.stat(b"")).is_ok_and(|stat| is_mounted(&stat))
        })
        .cloned()
    }
}

fn is_mounted(stat: &Stat) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}
