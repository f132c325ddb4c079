//! The snapshots of the source, in the order of `src/engine/snapshots/`.

use alloc::{vec, vec::Vec};
use core::mem;

use crate::{
    fleet::Fleet,
    job::{DirtyPath, Job, Scope},
    mirror::{Mirror, SyncMember},
    queue::PathSet,
    sim::{
        random::SimRng,
        restarts::{
            disk::SourceDisk,
            walk::{SimRecords, SimWalk},
        },
    },
    snapshot::{DifferenceKind, SourceComparison, SourceDifference, Unconfirmed},
    time::Moment,
};

/// A part of the order that is left out, to show that the simulation finds that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omission {
    Nothing,
    /// The journal of the trees that jobs may change.
    Journal,
    /// The paths in the journal that are no trees.
    JournalOfEntries,
    /// The trees in the journal.
    JournalOfTrees,
    /// The paths that were touched since the comparison, if its records are used.
    TouchedSinceComparison,
    /// The entries of the journal since the present snapshot began.
    RecentJournal,
    /// The barrier between the reading and the question to the mirrors.
    Barrier,
    /// The paths that are not known to be on the target.
    Unconfirmed,
}

/// A snapshot as it is stored.
#[derive(Clone, Debug)]
pub(super) struct SimSnapshot {
    records: SimRecords,
    /// For each target what is not known to be there. `None`: everything.
    unconfirmed: Vec<Option<Vec<SourceDifference>>>,
    /// Trees that jobs may have changed, each with the target.
    journal: Vec<(usize, SourceDifference)>,
}

/// Progress of a snapshot.
#[derive(Debug)]
pub(super) enum SimPhase {
    Idle,
    Comparing(SimWalk),
    Reading(SimWalk),
    AtBarrier(SimRecords),
    Writing(SimSnapshot),
}

/// The end of a walk.
#[derive(Debug)]
pub(super) enum WalkEnd {
    None,
    Compared(SimWalk),
    Read(SimWalk),
}

/// The snapshots of a running daemon.
#[derive(Debug)]
pub(super) struct SimSnapshots {
    omission: Omission,
    pub(super) phase: SimPhase,
    pub(super) is_compared: bool,
    touched: PathSet,
    reading: PathSet,
    journal: Vec<(usize, SourceDifference)>,
    fresh: Option<SimRecords>,
    /// True if the records of the present snapshot are those of the comparison.
    is_older: bool,
    has_changed: bool,
}

impl SimSnapshots {
    pub(super) fn new(omission: Omission) -> Self {
        Self {
            omission,
            phase: SimPhase::Idle,
            is_compared: false,
            touched: PathSet::new(),
            reading: PathSet::new(),
            journal: vec![],
            fresh: None,
            is_older: false,
            has_changed: false,
        }
    }

    /// Notes that a job begins.
    pub(super) fn note_job(&mut self, at: usize, job: &Job, stored: &mut Option<SimSnapshot>) {
        self.has_changed = true;
        if self.omission == Omission::Journal {
            return;
        }
        let paths = job.work.paths();
        let noted = paths.iter().filter(|dirty| match dirty.scope {
            Scope::Entry => self.omission != Omission::JournalOfEntries,
            Scope::Tree => self.omission != Omission::JournalOfTrees || dirty.path.is_root(),
        });
        let kind = DifferenceKind::Written;
        let entries: Vec<_> = noted.map(|dirty| (at, SourceDifference { dirty, kind })).collect();
        if self.omission != Omission::RecentJournal {
            self.journal.extend_from_slice(&entries);
        }
        if let Some(stored) = stored {
            stored.journal.extend(entries);
        }
    }

    /// Begins to compare the source with the last snapshot.
    pub(super) fn start_comparison(&mut self, stored: Option<&SimSnapshot>) {
        self.is_compared = true;
        let old = stored.map(|stored| stored.records.clone());
        self.phase = SimPhase::Comparing(SimWalk::everything(old));
    }

    /// Ends the comparison. Returns the answer for each target.
    pub(super) fn end_comparison(
        &mut self,
        walk: SimWalk,
        stored: Option<&SimSnapshot>,
        targets: usize,
    ) -> Vec<SourceComparison> {
        self.touch(&walk.unsettled);
        let answer = |at| match stored {
            None => SourceComparison::unknown("there is no snapshot yet"),
            Some(stored) => decide(stored, at, &walk.differences),
        };
        let answers: Vec<_> = (0..targets).map(answer).collect();
        let unchanged = SourceComparison::Differences(vec![]);
        if !answers.iter().all(|answer| *answer == unchanged) {
            self.fresh = Some(walk.records);
            self.has_changed = true;
        }
        answers
    }

    /// Begins a snapshot, if one is due.
    pub(super) fn begin(&mut self, fleet: &mut Fleet, stored: Option<&SimSnapshot>) {
        let is_idle = matches!(self.phase, SimPhase::Idle);
        let is_busy = fleet.mirrors().any(SyncMember::is_busy);
        let is_known = fleet.mirrors().any(Mirror::has_known_target);
        if !self.has_changed || !self.is_compared || !is_idle || is_busy || !is_known {
            return;
        }
        self.take_touched(fleet);
        self.has_changed = false;
        self.journal.clear();
        self.is_older = self.fresh.is_some();
        if let Some(records) = self.fresh.take() {
            self.has_changed = !self.touched.is_empty();
            self.reading = [DirtyPath::root_tree()].iter().collect();
            self.phase = SimPhase::AtBarrier(records);
            return;
        }
        self.reading = mem::take(&mut self.touched);
        self.phase = SimPhase::Reading(read(&self.reading, stored));
    }

    /// Ends the reading. The barrier begins.
    pub(super) fn end_reading(&mut self, walk: SimWalk) {
        self.touch(&walk.unsettled);
        self.has_changed |= !walk.unsettled.is_empty();
        self.phase = SimPhase::AtBarrier(walk.records);
    }

    /// Asks the mirrors what is not known to be on their targets.
    pub(super) fn write(&mut self, records: SimRecords, fleet: &mut Fleet) {
        let unconfirmed = self.unconfirmed(fleet);
        let stored = SimSnapshot { records, unconfirmed, journal: vec![] };
        self.phase = SimPhase::Writing(stored);
    }

    fn unconfirmed(&mut self, fleet: &mut Fleet) -> Vec<Option<Vec<SourceDifference>>> {
        let newer = self.newer(fleet);
        let ask = |mirror: &Mirror| match mirror.unconfirmed() {
            Unconfirmed::Everything { .. } => None,
            Unconfirmed::Paths(_) if self.omission == Omission::Unconfirmed => Some(vec![]),
            Unconfirmed::Paths(paths) => Some([paths, newer.clone()].concat()),
        };
        fleet.mirrors().map(ask).collect()
    }

    /// Returns the paths of which the target may have a newer state than the records.
    fn newer(&mut self, fleet: &mut Fleet) -> Vec<SourceDifference> {
        if !self.is_older || self.omission == Omission::TouchedSinceComparison {
            return vec![];
        }
        self.take_touched(fleet);
        let compared = |dirty| SourceDifference { dirty, kind: DifferenceKind::Compared };
        self.touched.iter().map(compared).collect()
    }

    /// Replaces the last snapshot.
    pub(super) fn commit(&mut self, new: SimSnapshot, stored: &mut Option<SimSnapshot>) {
        *stored = Some(SimSnapshot { journal: self.journal.clone(), ..new });
        self.reading = PathSet::new();
        self.phase = SimPhase::Idle;
    }

    pub(super) fn fail(&mut self) {
        self.phase = SimPhase::Idle;
        let reading = mem::take(&mut self.reading);
        self.touch(&reading);
        self.has_changed = true;
    }

    /// Begins to read for the last snapshot. `None`: the present one is
    /// good enough.
    pub(super) fn read_last(
        &mut self,
        fleet: &mut Fleet,
        stored: Option<&SimSnapshot>,
    ) -> Option<SimWalk> {
        self.take_touched(fleet);
        if !matches!(self.phase, SimPhase::Idle) {
            self.fail();
        }
        if !self.has_changed && self.touched.is_empty() && self.fresh.is_none() {
            return None;
        }
        self.is_older = self.fresh.is_some();
        if let Some(records) = self.fresh.take() {
            return Some(SimWalk::new(&PathSet::new(), None, records));
        }
        Some(read(&mem::take(&mut self.touched), stored))
    }

    /// Writes the last snapshot.
    pub(super) fn write_last(
        &mut self,
        records: SimRecords,
        fleet: &mut Fleet,
        stored: &mut Option<SimSnapshot>,
    ) {
        let unconfirmed = self.unconfirmed(fleet);
        if unconfirmed.iter().any(Option::is_some) {
            *stored = Some(SimSnapshot { records, unconfirmed, journal: vec![] });
        }
    }

    fn take_touched(&mut self, fleet: &mut Fleet) {
        let ids: Vec<_> = fleet.mirrors().map(SyncMember::id).collect();
        for id in ids {
            let touched = fleet.mirror_mut(id).unwrap().take_touched();
            self.touch(&touched);
        }
    }

    fn touch(&mut self, paths: &PathSet) {
        self.touched.append(paths.clone());
    }

    /// Executes a part of the walk that is going on.
    pub(super) fn walk(&mut self, disk: &SourceDisk, now: Moment, random: &mut SimRng) -> WalkEnd {
        let (SimPhase::Comparing(walk) | SimPhase::Reading(walk)) = &mut self.phase else {
            return WalkEnd::None;
        };
        let steps = 1 + random.below(12);
        if !(0..steps).any(|_| walk.step(disk, now, random)) {
            return WalkEnd::None;
        }
        match mem::replace(&mut self.phase, SimPhase::Idle) {
            SimPhase::Comparing(walk) => WalkEnd::Compared(walk),
            SimPhase::Reading(walk) => WalkEnd::Read(walk),
            SimPhase::Idle | SimPhase::AtBarrier(_) | SimPhase::Writing(_) => WalkEnd::None,
        }
    }
}

/// Begins to read what was touched, or everything if there is no snapshot.
fn read(touched: &PathSet, stored: Option<&SimSnapshot>) -> SimWalk {
    match stored {
        None => SimWalk::everything(None),
        Some(stored) => SimWalk::refresh(touched, &stored.records),
    }
}

/// Decides what a target lacks: as `src/engine/snapshots/decision.rs`.
fn decide(
    stored: &SimSnapshot,
    target: usize,
    differences: &[SourceDifference],
) -> SourceComparison {
    let Some(unconfirmed) = &stored.unconfirmed[target] else {
        return SourceComparison::unknown("the target was not complete");
    };
    let journal = stored.journal.iter().filter(|(at, _)| *at == target).map(|(_, tree)| tree);
    let all: Vec<_> = differences.iter().chain(unconfirmed).chain(journal).cloned().collect();
    if all.iter().any(SourceDifference::is_everything) {
        return SourceComparison::unknown("the last full transfer was not finished");
    }
    SourceComparison::Differences(all)
}
