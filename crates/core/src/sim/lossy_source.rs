//! A source of file system events that loses, repeats and reorders them, as real sources do.

use alloc::{vec, vec::Vec};
use core::mem;

use crate::{
    fs_event::{Change, Edit, FsEventKind},
    path::TreePath,
    sim::random::SimRng,
};

/// Handling of lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A loss is reported: an ancestor has to be rescanned.
    Reported,
    /// A loss is not reported. Real sources must never do this; tests check that it would be
    /// detected.
    Silent,
    /// Nothing is lost, and events are reported in order, as by inotify.
    Never,
}

/// Watches a tree and reports its changes late and imprecisely.
#[derive(Clone, Debug)]
pub(crate) struct LossySource {
    pending: Vec<FsEventKind>,
    loss: Loss,
}

impl LossySource {
    pub(crate) const fn new(loss: Loss) -> Self {
        Self { pending: Vec::new(), loss }
    }

    /// Records events.
    pub(crate) fn record(&mut self, events: impl IntoIterator<Item = FsEventKind>) {
        self.pending.extend(events);
    }

    /// Takes the recorded events of another source of the same tree, which are later ones.
    pub(crate) fn append(&mut self, later: &mut Self) {
        self.pending.append(&mut later.pending);
    }

    /// Discards the recorded events.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
    }

    /// Returns true if all events were reported.
    pub(crate) const fn is_drained(&self) -> bool {
        self.pending.is_empty()
    }

    /// Reports all recorded events, as imprecisely as a source may.
    pub(crate) fn drain(&mut self, random: &mut SimRng) -> Vec<FsEventKind> {
        let mut reported = Vec::new();
        for event in mem::take(&mut self.pending) {
            match random.below(8) {
                0 => reported.extend(self.lose(event, random)),
                1 => reported.extend([event.clone(), event]),
                2 => reported.extend(degrade(event)),
                _ => reported.push(event),
            }
        }
        for at in 1..reported.len() {
            if self.loss != Loss::Never && random.once_in(4) {
                reported.swap(at, random.below(at));
            }
        }
        reported
    }

    fn lose(&self, event: FsEventKind, random: &mut SimRng) -> Vec<FsEventKind> {
        let mut top = match &event {
            FsEventKind::Changed(change) => change.path.clone(),
            FsEventKind::Renamed { from, to, .. } => common(from, to),
            FsEventKind::Lost(_) | FsEventKind::RootGone(_) => return vec![event],
        };
        match self.loss {
            Loss::Silent => return vec![],
            Loss::Never => return vec![event],
            Loss::Reported => {}
        }
        for _ in 0..random.below(3) {
            top.pop();
        }
        vec![FsEventKind::Lost(top)]
    }
}

/// Returns the deepest common ancestor.
fn common(one: &TreePath, other: &TreePath) -> TreePath {
    let mut top = one.clone();
    while !top.contains(other) {
        top.pop();
    }
    top
}

/// Reports an event as a source does that does not pair the halves of a move, or that merges the
/// events of one entry.
fn degrade(event: FsEventKind) -> Vec<FsEventKind> {
    match event {
        FsEventKind::Renamed { from, to, kind } => vec![
            FsEventKind::Changed(Change { edit: Edit::Create, kind, path: to }),
            FsEventKind::Changed(Change { edit: Edit::Delete, kind, path: from }),
        ],
        FsEventKind::Changed(change) if change.edit == Edit::Create => {
            let before = Change { edit: Edit::Delete, ..change.clone() };
            vec![FsEventKind::Changed(change), FsEventKind::Changed(before)]
        }
        FsEventKind::Changed(change) => vec![FsEventKind::Changed(change)],
        FsEventKind::Lost(_) | FsEventKind::RootGone(_) => vec![event],
    }
}
