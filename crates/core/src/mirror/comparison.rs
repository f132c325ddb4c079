//! The comparison of a source with its last snapshot, and what a new snapshot has to know.

use alloc::{string::String, vec::Vec};

use super::{Mirror, SyncMember, TargetState, settings::FirstTransfer};
use crate::{
    effect::Effect,
    fs_event::{Edit, EntryKind},
    job::{DirtyPath, Scope},
    log_event::{MirrorEvent, StartupEvent},
    path::TreePath,
    queue::PathSet,
    snapshot::{DifferenceKind, SourceComparison, SourceDifference, Unconfirmed},
    time::Moment,
};

/// The most paths that are listed before they count as everything.
const MAX_UNCONFIRMED: usize = 50_000;

impl Mirror {
    /// Handles the result of a comparison that this mirror has asked for.
    pub fn compared(
        &mut self,
        comparison: SourceComparison,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        // The source may have been lost meanwhile: then it is transferred when it is back.
        if self.first != FirstTransfer::Unknown || !self.source.is_covered() {
            return;
        }
        let differences = match comparison {
            SourceComparison::Differences(differences) => differences,
            SourceComparison::Unknown { reason, written } => {
                let kind = DifferenceKind::Written;
                let written = written.into_iter().map(|dirty| SourceDifference { dirty, kind });
                self.mark_differences(&written.collect::<Vec<_>>(), now);
                return self.begin_full(reason, now, effects);
            }
        };
        self.first = FirstTransfer::Differences;
        self.mark_differences(&differences, now);
        self.recount_restored(now);
        if self.queue.covers_root() {
            let reason = "events of the source were lost meanwhile".into();
            return self.begin_full(reason, now, effects);
        }
        self.queue.make_due(now);
        let count = self.delay_count() - 1;
        self.report(MirrorEvent::Startup(StartupEvent::Reduced(count)), effects);
        if self.queue.is_empty() {
            self.target = TargetState::Live;
            self.report(MirrorEvent::Startup(StartupEvent::Finished(0)), effects);
        }
    }

    fn begin_full(&mut self, reason: String, now: Moment, effects: &mut Vec<Effect>) {
        self.first = FirstTransfer::Full;
        self.report(MirrorEvent::Startup(StartupEvent::Full(reason)), effects);
        self.queue.mark_due(&TreePath::root(), Scope::Tree, now);
    }

    fn mark_differences(&mut self, differences: &[SourceDifference], now: Moment) {
        // The walk found the names of its time, and some may have been renamed since.
        if differences.iter().any(|it| it.kind == DifferenceKind::Written) {
            self.queue.mark_renamed_written(now);
        }
        for difference in differences {
            self.mark_difference(difference, now);
        }
    }

    fn mark_difference(&mut self, difference: &SourceDifference, now: Moment) {
        let SourceDifference { dirty: DirtyPath { path, scope }, kind } = difference;
        let entry_kind = match scope {
            Scope::Tree => EntryKind::Directory,
            Scope::Entry => EntryKind::Other,
        };
        let edit = match kind {
            DifferenceKind::Written => Edit::Create,
            DifferenceKind::Missing | DifferenceKind::Compared => Edit::Delete,
        };
        if self.ignores(path, entry_kind, edit) {
            return;
        }
        match kind {
            DifferenceKind::Written => self.queue.mark_written(path, *scope, now),
            // A missing entry may be the old name of something, or on a disk that is not mounted:
            // its deletion has to be counted.
            DifferenceKind::Missing | DifferenceKind::Compared => {
                self.queue.mark(path, *scope, now);
            }
        }
    }

    /// Returns true if a start of this mirror can be reduced to the differences from a snapshot.
    #[must_use]
    pub fn uses_snapshots(&self) -> bool {
        self.settings.first_transfer() == FirstTransfer::Unknown
    }

    /// Returns true if it is known what the target lacks: not everything has to be transferred.
    #[must_use]
    pub fn has_known_target(&self) -> bool {
        let is_known = !self.is_starting() || self.first == FirstTransfer::Differences;
        is_known && self.source.is_covered() && !self.queue.covers_root()
    }

    /// The paths that are not known to be on the target.
    #[must_use]
    pub fn unconfirmed(&self) -> Unconfirmed {
        if !self.has_known_target() {
            return self.everything_unconfirmed();
        }
        let pending = self.queue.iter().map(|(dirty, _)| dirty).chain(self.open_paths());
        let pending =
            pending.map(|dirty| SourceDifference { dirty, kind: DifferenceKind::Written });
        let held = self.held().flat_map(|held| held.paths.iter().cloned());
        let uncertain = held.chain(self.lost_receivers.paths());
        let uncertain =
            uncertain.map(|dirty| SourceDifference { dirty, kind: DifferenceKind::Compared });
        let paths: Vec<_> = pending.chain(uncertain).take(MAX_UNCONFIRMED + 1).collect();
        if paths.len() > MAX_UNCONFIRMED || paths.iter().any(SourceDifference::is_everything) {
            return self.everything_unconfirmed();
        }
        Unconfirmed::Paths(paths)
    }

    fn open_paths(&self) -> impl Iterator<Item = DirtyPath> {
        self.open.paths().cloned().map(|path| DirtyPath { path, scope: Scope::Entry })
    }

    fn everything_unconfirmed(&self) -> Unconfirmed {
        let written = self.queue.written().chain(self.open_paths());
        let mut written: Vec<_> = written.take(MAX_UNCONFIRMED + 1).collect();
        if written.len() > MAX_UNCONFIRMED {
            written = Vec::from([DirtyPath::root_tree()]);
        }
        Unconfirmed::Everything { written }
    }

    /// Takes the paths that were reported to change since the last call: a snapshot that is taken
    /// now has to read them again.
    pub fn take_touched(&mut self) -> PathSet {
        self.queue.take_touched()
    }
}
