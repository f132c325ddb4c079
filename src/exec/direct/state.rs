//! State of a direct executor that is kept while the daemon runs.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use mirror_core::path::TreePath;
use mirror_platform::dir::Dir;

use super::{
    super::target_identity::TargetIdentity, capabilities::TargetCapabilities,
    hardlink_index::HardlinkIndex, path_text, warnings::Warnings,
};
use crate::{
    exec::{lock, observed_holds::ObservedHolds},
    report::{Log, TransferMeter},
};

/// Maximum number of directories that are remembered as free of stale temporary files.
const MAX_SWEPT: usize = 65_536;

/// Facts about a source and its target. They survive a change of settings.
#[derive(Debug, Default)]
pub(crate) struct DirectState {
    pub(super) hardlinks: HardlinkIndex,
    pub(super) warnings: Warnings,
    pub(super) observed_holds: ObservedHolds,
    /// Counters of what was copied.
    pub(crate) meter: Arc<TransferMeter>,
    target_identity: OnceLock<Arc<TargetIdentity>>,
    capabilities: OnceLock<TargetCapabilities>,
    entry_count: Mutex<Option<u64>>,
    swept: Mutex<BTreeSet<TreePath>>,
    is_resumed: AtomicBool,
}

impl DirectState {
    /// Returns the identity record of the target directory.
    pub(super) fn target_identity(&self, target: &Path, log: &Log) -> Arc<TargetIdentity> {
        let new = || TargetIdentity::new(path_text(target), Some(target.into()), log.clone());
        Arc::clone(self.target_identity.get_or_init(|| Arc::new(new())))
    }

    /// Returns the identity record of the target directory, if there is an executor.
    pub(crate) fn known_target(&self) -> Option<Arc<TargetIdentity>> {
        self.target_identity.get().cloned()
    }

    /// Probes the capabilities of the target's file system, once.
    pub(super) fn probe(&self, target: &Dir, privileged: bool) {
        self.capabilities.get_or_init(|| TargetCapabilities::probe(target, privileged));
    }

    /// Sets the capabilities without probing.
    #[cfg(test)]
    pub(super) fn assume(&self, capabilities: TargetCapabilities) {
        let _ = self.capabilities.set(capabilities);
    }

    /// Returns the probed capabilities, or the assumed ones before the first probe.
    pub(super) fn capabilities(&self) -> TargetCapabilities {
        self.capabilities.get().copied().unwrap_or(TargetCapabilities::ASSUMED)
    }

    /// Returns the number of entries at the target, if known.
    pub(crate) fn entry_count(&self) -> Option<u64> {
        *lock(&self.entry_count)
    }

    /// Sets the number of entries at the target.
    pub(crate) fn set_entry_count(&self, total: u64) {
        *lock(&self.entry_count) = Some(total);
    }

    /// Notes that this run begins without a full transfer, which would remove stale temporary files
    /// of the last run.
    pub(crate) fn resume(&self) {
        self.is_resumed.store(true, Ordering::Relaxed);
    }

    /// Returns true if this run began without a full transfer.
    pub(super) fn is_resumed(&self) -> bool {
        self.is_resumed.load(Ordering::Relaxed)
    }

    /// Marks a directory as free of stale temporary files. Returns true if it was not marked
    /// before.
    pub(super) fn mark_swept(&self, path: &TreePath) -> bool {
        let mut swept = lock(&self.swept);
        if swept.len() >= MAX_SWEPT {
            swept.clear();
        }
        swept.insert(path.clone())
    }
}
