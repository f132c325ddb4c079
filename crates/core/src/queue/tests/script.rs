//! The language of the scripts: one step a line, with its time in milliseconds, the operation, and
//! after `->` the expected answer of the queue.
//!
//! A tree is written `/d/`, an entry `/d`; for the root `/` and `.`.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::{fmt, str::FromStr, time::Duration};

use crate::{
    fs_event::EntryKind,
    job::{DirtyPath, Rename, Scope},
    path::TreePath,
    queue::{
        Batch, Debounce, DirtySet, ObservedChanges, PathSet, QueueCounts, QueueLimits, Settled,
    },
    time::Moment,
};

/// An operation on a queue. Batches are numbered in their order, from 1.
#[derive(Clone, Debug)]
pub(super) enum QueueStep {
    Mark(DirtyPath),
    Write(DirtyPath),
    Remove(DirtyPath),
    Urgent(DirtyPath),
    Move { from: DirtyPath, to: DirtyPath },
    Take,
    Flush,
    MakeDue,
    Settle(usize, Settled),
    Due,
    QueueCounts,
    Waiting,
    Oldest,
    Observed(usize),
}

/// A queue that runs the steps of a script.
pub(super) trait StepRunner {
    /// Runs a step, and returns the answer.
    fn play(&mut self, step: &QueueStep, now: Moment) -> String;
}

pub(super) fn at(milliseconds: u64) -> Moment {
    Moment::new(Duration::from_millis(milliseconds))
}

pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

pub(super) fn dirty(text: &str) -> DirtyPath {
    let scope = if text.ends_with('/') { Scope::Tree } else { Scope::Entry };
    DirtyPath { path: path(text.strip_prefix('.').unwrap_or(text)), scope }
}

pub(super) fn paths(text: &str) -> Vec<DirtyPath> {
    text.split_whitespace().map(dirty).collect()
}

/// The notation of a path in a script.
pub(super) struct Notation<'a>(pub(super) &'a DirtyPath);

impl fmt::Display for Notation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DirtyPath { path, scope } = self.0;
        match (path.is_root(), scope) {
            (true, Scope::Entry) => f.write_str("."),
            (false, Scope::Tree) => write!(f, "{path}/"),
            (true, Scope::Tree) | (false, Scope::Entry) => write!(f, "{path}"),
        }
    }
}

pub(super) fn written<'a>(paths: impl IntoIterator<Item = &'a DirtyPath>) -> String {
    let all: Vec<_> = paths.into_iter().map(|dirty| Notation(dirty).to_string()).collect();
    all.join(" ")
}

pub(super) fn written_moment(moment: Option<Moment>) -> String {
    moment.map_or("none".into(), |it| it.since_origin().as_millis().to_string())
}

pub(super) fn written_batch(paths: &[DirtyPath], renames: &[Rename]) -> String {
    let renames: Vec<_> = renames.iter().map(|it| format!("{}=>{}", it.from, it.to)).collect();
    [&written(paths), "|", &renames.join(" ")].join(" ").trim_end_matches([' ', '|']).into()
}

impl fmt::Display for QueueStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(dirty) => write!(f, "mark {}", Notation(dirty)),
            Self::Write(dirty) => write!(f, "write {}", Notation(dirty)),
            Self::Remove(dirty) => write!(f, "remove {}", Notation(dirty)),
            Self::Urgent(dirty) => write!(f, "urgent {}", Notation(dirty)),
            Self::Move { from, to } => write!(f, "move {} {}", Notation(from), Notation(to)),
            Self::Take => f.write_str("take"),
            Self::Flush => f.write_str("flush"),
            Self::MakeDue => f.write_str("make-due"),
            Self::Settle(batch, Settled::All) => write!(f, "settle {batch} all"),
            Self::Settle(batch, Settled::Nothing) => write!(f, "settle {batch} nothing"),
            Self::Settle(batch, Settled::Except(failed)) => {
                write!(f, "settle {batch} except {}", written(failed))
            }
            Self::Due => f.write_str("due"),
            Self::QueueCounts => f.write_str("counts"),
            Self::Waiting => f.write_str("waiting"),
            Self::Oldest => f.write_str("oldest"),
            Self::Observed(batch) => write!(f, "observed {batch}"),
        }
    }
}

impl FromStr for QueueStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        Ok(match *words {
            ["mark", it] => Self::Mark(dirty(it)),
            ["write", it] => Self::Write(dirty(it)),
            ["remove", it] => Self::Remove(dirty(it)),
            ["observed", batch] => Self::Observed(batch.parse().unwrap()),
            ["urgent", it] => Self::Urgent(dirty(it)),
            ["move", from, to] => Self::Move { from: dirty(from), to: dirty(to) },
            ["take"] => Self::Take,
            ["flush"] => Self::Flush,
            ["make-due"] => Self::MakeDue,
            ["settle", batch, "all"] => Self::Settle(batch.parse().unwrap(), Settled::All),
            ["settle", batch, "nothing"] => Self::Settle(batch.parse().unwrap(), Settled::Nothing),
            ["settle", batch, "except", ref failed @ ..] => {
                let failed = failed.iter().map(|it| dirty(it)).collect();
                Self::Settle(batch.parse().unwrap(), Settled::Except(failed))
            }
            ["due"] => Self::Due,
            ["counts"] => Self::QueueCounts,
            ["waiting"] => Self::Waiting,
            ["oldest"] => Self::Oldest,
            _ => return Err(format!("no step: {text}")),
        })
    }
}

fn written_observed(observed: &ObservedChanges) -> String {
    let sets = [
        ("written", &observed.written),
        ("renamed", &observed.renamed_to),
        ("deleted", &observed.deleted),
    ];
    let sets = sets.into_iter().filter(|(_, set)| !set.is_empty());
    let show = |(name, set): (&str, &PathSet)| {
        let paths: Vec<_> = set.iter().collect();
        [name, &written(&paths)].join(" ")
    };
    sets.map(show).collect::<Vec<_>>().join(", ")
}

pub(super) struct RealQueue {
    pub(super) queue: DirtySet,
    batches: Vec<Option<Batch>>,
}

impl RealQueue {
    pub(super) fn new(debounce: Debounce, limits: QueueLimits) -> Self {
        let queue = DirtySet::with_limits(debounce, limits);
        Self { queue, batches: Vec::new() }
    }

    /// The changes observed in a batch in flight.
    pub(super) fn observed(&self, batch: usize) -> &ObservedChanges {
        self.batches[batch - 1].as_ref().unwrap().observed()
    }

    fn taken(&mut self, batch: Option<Batch>) -> String {
        let Some(batch) = batch else { return String::new() };
        let paths: Vec<_> = batch.paths().iter().collect();
        let text = written_batch(&paths, batch.renames());
        self.batches.push(Some(batch));
        text
    }
}

impl StepRunner for RealQueue {
    fn play(&mut self, step: &QueueStep, now: Moment) -> String {
        match step {
            QueueStep::Mark(dirty) => self.queue.mark(&dirty.path, dirty.scope, now),
            QueueStep::Write(dirty) => self.queue.mark_written(&dirty.path, dirty.scope, now),
            QueueStep::Remove(dirty) => self.queue.mark_deleted(&dirty.path, dirty.scope, now),
            QueueStep::Urgent(dirty) => self.queue.mark_due(&dirty.path, dirty.scope, now),
            QueueStep::Move { from, to } => {
                let is_dir = from.scope == Scope::Tree;
                let kind = if is_dir { EntryKind::Directory } else { EntryKind::Other };
                self.queue.mark_rename(&from.path, &to.path, kind, now);
            }
            QueueStep::Take => {
                let batch = self.queue.take_due(now);
                return self.taken(batch);
            }
            QueueStep::MakeDue => self.queue.make_due(now),
            QueueStep::Flush => {
                let batch = self.queue.take_all(now);
                return self.taken(batch);
            }
            QueueStep::Settle(batch, settled) => {
                let batch = self.batches[batch - 1].take().unwrap();
                self.queue.settle(batch, settled.clone(), now);
            }
            QueueStep::Observed(batch) => return written_observed(self.observed(*batch)),
            QueueStep::Due => return written_moment(self.queue.next_due()),
            QueueStep::QueueCounts => {
                let QueueCounts { waiting, deferred, in_flight, backing_off } = self.queue.counts();
                return format!("{waiting} {deferred} {in_flight} {backing_off}");
            }
            QueueStep::Waiting => {
                let all = self.queue.iter();
                let waiting = all.filter(|(_, stage)| *stage == crate::queue::Stage::Waiting);
                return written(
                    &waiting
                        .map(|(dirty, _)| dirty)
                        .collect::<PathSet>()
                        .iter()
                        .collect::<Vec<_>>(),
                );
            }
            QueueStep::Oldest => return written_moment(self.queue.oldest()),
        }
        String::new()
    }
}

/// Runs a script and compares the answers.
pub(super) fn play(player: &mut impl StepRunner, script: &str) {
    let mut now = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, rest) = line.split_once(' ').unwrap();
        let (step, expected) = rest.split_once("->").unwrap_or((rest, ""));
        let time: u64 = time.parse().unwrap();
        assert!(time >= now, "time runs backwards at: {line}");
        now = time;
        let answer = player.play(&step.parse().unwrap(), at(time));
        assert_eq!(answer, expected.trim(), "at: {line}");
    }
}
