//! Status of the snapshots, for operators.

use std::time::Duration;

use mirror_core::{
    fs_event::MirrorId,
    log_event::{LogEvent, MirrorEvent, StartupEvent},
};

use crate::{control::status::SnapshotReport, engine::Engine};

/// Use of the last snapshot by the start of a mirror.
#[derive(Clone, Debug)]
pub(super) enum SnapshotUse {
    /// Only this number of paths was compared.
    Reduced(usize),
    /// Everything is transferred, for this reason.
    Full(String),
}

impl Engine {
    /// Notes how the start of a mirror uses the last snapshot.
    pub(in crate::engine) fn note_snapshot_use(&mut self, event: &LogEvent) {
        let (Some(snapshots), LogEvent::Mirror(mirror, MirrorEvent::Startup(event))) =
            (&mut self.snapshots, event)
        else {
            return;
        };
        let found = match event {
            StartupEvent::Full(reason) => SnapshotUse::Full(reason.clone()),
            StartupEvent::Reduced(count) => SnapshotUse::Reduced(*count),
            StartupEvent::Finished(_)
            | StartupEvent::Retry(..)
            | StartupEvent::GivenUp(_)
            | StartupEvent::Fatal(..) => return,
        };
        snapshots.starts.insert(*mirror, found);
    }

    /// Forgets the start of a mirror that does not exist any more.
    pub(in crate::engine) fn forget_snapshot_use(&mut self, mirror: MirrorId) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.starts.remove(&mirror);
        }
    }

    /// Returns the state of the snapshot for a mirror. `None` if its source has none.
    pub(in crate::engine) fn snapshot_report(&self, mirror: MirrorId) -> Option<SnapshotReport> {
        let instance = self.registry.get(mirror).filter(|instance| instance.has_snapshots)?;
        let snapshots = self.snapshots.as_ref()?;
        let footer =
            snapshots.sources.get(instance.source.path()).and_then(|source| source.footer.as_ref());
        let (compared_paths, full_reason) = match snapshots.starts.get(&mirror) {
            None => (None, None),
            Some(SnapshotUse::Reduced(count)) => (Some(*count as u64), None),
            Some(SnapshotUse::Full(reason)) => (None, Some(reason.clone())),
        };
        let taken = footer.map(|footer| Duration::from_secs(footer.taken).as_secs_f64());
        Some(SnapshotReport { taken, compared_paths, full_reason })
    }
}
