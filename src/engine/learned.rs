//! State that executors learn while they run, and that outlives them.

use std::sync::{Arc, OnceLock};

use crate::{
    config::SyncKind,
    exec::{direct, rsync, ssh::MarkState, target_identity::TargetIdentity},
    report::TransferMeter,
};

/// State that an rsync executor has learned of its target, set once there is an executor. All
/// routes through a tunnel lead to one target.
pub(super) type SharedRsyncState = Arc<OnceLock<Arc<rsync::RsyncState>>>;

/// State that executors have learned of a source and a target.
#[derive(Clone, Default)]
pub(super) struct LearnedState {
    pub(super) direct: Arc<direct::DirectState>,
    pub(super) rsync: SharedRsyncState,
    pub(super) mark: Arc<MarkState>,
}

impl LearnedState {
    /// Returns the counters of what was transferred. `None` if only a script knows.
    pub(super) fn meter(&self, kind: SyncKind) -> Option<&TransferMeter> {
        match kind {
            SyncKind::Direct => Some(&self.direct.meter),
            SyncKind::Rsync | SyncKind::Rsyncssh => Some(&self.rsync.get()?.meter),
            SyncKind::Script => None,
        }
    }

    /// Returns what is known of the target itself. `None` if it depends on a tunnel, or only a
    /// script knows it.
    pub(super) fn target_identity(&self, kind: SyncKind) -> Option<Arc<TargetIdentity>> {
        match kind {
            SyncKind::Direct => self.direct.known_target(),
            SyncKind::Rsync | SyncKind::Rsyncssh => {
                Some(Arc::clone(&self.rsync.get()?.target_identity))
            }
            SyncKind::Script => None,
        }
    }

    /// Returns the number of entries on the target, if known.
    pub(super) fn entry_count(&self, kind: SyncKind) -> Option<u64> {
        match kind {
            SyncKind::Direct => self.direct.entry_count(),
            SyncKind::Rsync | SyncKind::Rsyncssh => self.rsync.get()?.entry_count(),
            SyncKind::Script => None,
        }
    }

    /// Continues as if the last transfer had been made in this run. `entries` is the number of
    /// entries on the target, if known.
    pub(super) fn resume(&self, kind: SyncKind, entries: Option<u64>) {
        if let Some(identity) = self.target_identity(kind) {
            identity.resume();
        }
        self.direct.resume();
        let Some(entries) = entries else { return };
        match kind {
            SyncKind::Direct => self.direct.set_entry_count(entries),
            SyncKind::Rsync | SyncKind::Rsyncssh => {
                if let Some(state) = self.rsync.get() {
                    state.set_entry_count(entries);
                }
            }
            SyncKind::Script => {}
        }
    }
}
