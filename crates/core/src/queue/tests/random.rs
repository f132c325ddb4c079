//! Random histories: the queue agrees with its reference implementation and keeps its invariants.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Write as _, ops::Range, time::Duration};

use super::{
    reference::{ReferenceQueue, covers},
    script::{QueueStep, RealQueue, StepRunner, at, play},
};
use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{Debounce, PathSet, QueueLimits, Settled, Stage},
    sim::random::SimRng,
};

/// The state of a history: the steps so far and the expected results.
struct QueueHistory {
    random: SimRng,
    now: u64,
    script: String,
    real: RealQueue,
    reference: ReferenceQueue,
    /// The marks that are not on the target: their number, path and time.
    open: Vec<(usize, DirtyPath, u64)>,
    /// The kind of each mark, by its number.
    kinds: Vec<MarkKind>,
    marks: usize,
    /// The batches so far: the number of marks before, the paths, and whether it is in flight.
    batches: Vec<(usize, PathSet, bool)>,
}

/// The observed change of a mark.
#[derive(Clone, Copy, Debug)]
enum MarkKind {
    Nothing,
    Written,
    Gone,
}

fn settings(random: &mut SimRng) -> (Debounce, QueueLimits) {
    let delay = Duration::from_millis(10);
    let debounce = random.pick(&[
        Debounce::FixedDelay { delay, max_waiting: 6 },
        Debounce::Quiet { quiet: delay, max_wait: delay * 5 },
    ]);
    let small = QueueLimits { per_directory: 3, paths: 8, failed: 4, hints: 3 };
    (debounce, random.pick(&[small, QueueLimits::default()]))
}

impl QueueHistory {
    fn new(seed: u64) -> Self {
        let mut random = SimRng::new(seed);
        let (debounce, limits) = settings(&mut random);
        Self {
            random,
            now: 0,
            script: format!("{debounce:?} {limits:?}\n"),
            real: RealQueue::new(debounce, limits),
            reference: ReferenceQueue::new(debounce, limits),
            open: Vec::new(),
            kinds: Vec::new(),
            marks: 0,
            batches: Vec::new(),
        }
    }

    fn path(&mut self) -> TreePath {
        let path = self.below();
        if self.random.once_in(50) { TreePath::root() } else { path }
    }

    /// A path other than the root, which is never deleted or renamed.
    fn below(&mut self) -> TreePath {
        let mut path = TreePath::root();
        for _ in 0..=self.random.below(3) {
            path.push(self.random.pick(&[b"a", b"b", b"c"])).unwrap();
        }
        path
    }

    fn dirty(&mut self) -> DirtyPath {
        let scope = if self.random.once_in(5) { Scope::Tree } else { Scope::Entry };
        DirtyPath { path: self.path(), scope }
    }

    /// Some paths of a batch, or below them.
    fn failed(&mut self, batch: usize) -> Vec<DirtyPath> {
        let mut failed = Vec::new();
        for dirty in &self.batches[batch - 1].1 {
            match self.random.below(4) {
                0 => failed.push(dirty),
                1 if dirty.scope == Scope::Tree => failed.push(DirtyPath {
                    path: dirty.path.join(b"a").unwrap(),
                    scope: self.random.pick(&[Scope::Entry, Scope::Tree]),
                }),
                _ => {}
            }
        }
        failed
    }

    fn settlement(&mut self) -> Option<QueueStep> {
        let flying =
            self.batches.iter().enumerate().filter(|(_, (.., is_in_flight))| *is_in_flight);
        let flying: Vec<_> = flying.map(|(at, _)| at + 1).collect();
        if flying.is_empty() {
            return None;
        }
        let batch = self.random.pick(&flying);
        let settled = match self.random.below(5) {
            0 => Settled::Nothing,
            1 | 2 => Settled::Except(self.failed(batch)),
            _ => Settled::All,
        };
        Some(QueueStep::Settle(batch, settled))
    }

    fn step(&mut self) -> QueueStep {
        match self.random.below(21) {
            20 => QueueStep::MakeDue,
            0..3 => QueueStep::Mark(self.dirty()),
            3..5 => QueueStep::Write(self.dirty()),
            5 | 6 => QueueStep::Remove(DirtyPath { path: self.below(), ..self.dirty() }),
            7 => QueueStep::Urgent(self.dirty()),
            8 | 9 => {
                let scope = self.random.pick(&[Scope::Tree, Scope::Entry]);
                let [from, to] = [self.below(), self.below()].map(|path| DirtyPath { path, scope });
                QueueStep::Move { from, to }
            }
            10..14 => QueueStep::Take,
            14 => QueueStep::Flush,
            15 => QueueStep::Oldest,
            _ => self.settlement().unwrap_or(QueueStep::Take),
        }
    }

    /// Runs a step on both.
    fn play(&mut self, step: &QueueStep) {
        let expected = self.reference.play(step, at(self.now));
        let arrow = if expected.is_empty() { "" } else { " -> " };
        writeln!(self.script, "{} {step}{arrow}{expected}", self.now).unwrap();
        let answer = self.real.play(step, at(self.now));
        assert_eq!(answer, expected, "at the last line of:\n{}", self.script);
        self.note(step, &answer);
    }

    /// Updates the expected results.
    fn note(&mut self, step: &QueueStep, answer: &str) {
        match step {
            QueueStep::Mark(dirty) | QueueStep::Urgent(dirty) => {
                self.mark(dirty, MarkKind::Nothing);
            }
            QueueStep::Write(dirty) => self.mark(dirty, MarkKind::Written),
            QueueStep::Remove(dirty) => self.mark(dirty, MarkKind::Gone),
            QueueStep::Move { from, to } => {
                self.mark(from, MarkKind::Gone);
                self.mark(to, MarkKind::Written);
            }
            QueueStep::Take | QueueStep::Flush if !answer.is_empty() => {
                let paths = answer.split('|').next().unwrap();
                let paths = super::script::paths(paths).into_iter().collect();
                self.check_apart(&paths);
                self.check_observed(&paths);
                self.batches.push((self.marks, paths, true));
            }
            QueueStep::Settle(batch, settled) => {
                let (marks, paths, is_in_flight) = &mut self.batches[batch - 1];
                *is_in_flight = false;
                let failed = match settled {
                    Settled::All => &[],
                    Settled::Except(failed) => &failed[..],
                    Settled::Nothing => return,
                };
                let (flown, mut open): (Vec<_>, Vec<_>) = core::mem::take(&mut self.open)
                    .into_iter()
                    .partition(|(mark, it, _)| mark <= marks && paths.covers(&it.path, it.scope));
                // A mark that failed in part stays open in that part.
                for (mark, it, time) in flown {
                    let within = failed.iter().filter(|one| covers(&it, one) || covers(one, &it));
                    open.extend(within.map(|one| {
                        (mark, if covers(&it, one) { one.clone() } else { it.clone() }, time)
                    }));
                }
                self.open = open;
            }
            _ => {}
        }
    }

    fn mark(&mut self, dirty: &DirtyPath, kind: MarkKind) {
        self.marks += 1;
        self.kinds.push(kind);
        self.open.push((self.marks, dirty.clone(), self.now));
    }

    /// No two batches in flight touch the same path.
    fn check_apart(&self, taken: &PathSet) {
        for (_, flying, _) in self.batches.iter().filter(|(.., is_in_flight)| *is_in_flight) {
            for DirtyPath { path, scope } in taken {
                assert!(!flying.overlaps(&path, scope), "{path} flies twice:\n{}", self.script);
            }
        }
    }

    /// The observed changes stay with their path until it is on the target.
    fn check_observed(&self, taken: &PathSet) {
        let observed = self.real.observed(self.batches.len() + 1);
        let open = self.open.iter().filter(|(_, it, _)| taken.covers(&it.path, it.scope));
        for (mark, DirtyPath { path, scope }, _) in open {
            let is_known = match self.kinds[mark - 1] {
                MarkKind::Nothing => true,
                MarkKind::Written => [&observed.written, &observed.renamed_to]
                    .iter()
                    .any(|set| set.covers(path, *scope)),
                MarkKind::Gone => observed.is_deleted(path),
            };
            assert!(is_known, "the observed change of {path} was forgotten:\n{}", self.script);
        }
        let something_went = self.kinds.iter().any(|kind| matches!(kind, MarkKind::Gone));
        assert!(something_went || observed.deleted.is_empty(), "nobody saw that:\n{}", self.script);
    }

    /// Every change that is not on the target is known to the queue, with its age.
    fn check(&mut self) {
        for step in [QueueStep::Due, QueueStep::QueueCounts, QueueStep::Waiting, QueueStep::Oldest]
        {
            self.play(&step);
        }
        let queue = &self.real.queue;
        let not_flying = |(_, stage): &(DirtyPath, Stage)| *stage != Stage::InFlight;
        let kept: PathSet = queue.iter().filter(not_flying).map(|(dirty, _)| dirty).collect();
        let in_flight = self.batches.iter().filter(|(.., is_in_flight)| *is_in_flight);
        for (mark, DirtyPath { path, scope }, time) in &self.open {
            let mut in_flight = in_flight.clone().filter(|(marks, ..)| marks >= mark);
            let known = kept.covers(path, *scope)
                || in_flight.any(|(_, paths, _)| paths.covers(path, *scope));
            assert!(known, "{path} was lost:\n{}", self.script);
            let oldest = queue.oldest().expect("a change is not on the target");
            assert!(oldest <= at(*time), "{path} is older than {oldest}:\n{}", self.script);
        }
    }

    /// Settles everything, until nothing is left.
    fn end(&mut self) {
        for _ in 0..100 {
            self.now += 400_000;
            self.play(&QueueStep::Take);
            while let Some(QueueStep::Settle(batch, _)) = self.settlement() {
                self.play(&QueueStep::Settle(batch, Settled::All));
            }
        }
        assert!(self.real.queue.is_empty(), "it never ends:\n{}", self.script);
        assert_eq!(self.real.queue.oldest(), None, "\n{}", self.script);
        assert_eq!(self.open, [], "\n{}", self.script);
    }
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let mut history = QueueHistory::new(seed);
        writeln!(history.script, "seed {seed}").unwrap();
        for _ in 0..60 {
            let rest = history.random.pick(&[0, 0, 1, 5, 20, 1_500]);
            history.now += u64::try_from(rest).unwrap();
            let step = history.step();
            history.play(&step);
            if history.random.once_in(4) {
                history.check();
            }
        }
        history.end();
    }
}

#[test]
fn the_queue_agrees_with_its_reference() {
    check(0..1_000);
}

#[test]
fn the_queue_agrees_with_its_reference_in_more_histories() {
    check(1_000..2_000);
}

/// For a night: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn the_queue_agrees_with_its_reference_for_long() {
    check(2_000..200_000);
}

#[test]
fn a_recorded_history_replays() {
    let mut history = QueueHistory::new(7);
    for _ in 0..60 {
        let step = history.step();
        history.play(&step);
        history.now += 3;
    }
    let (debounce, limits) = settings(&mut SimRng::new(7));
    let script: Vec<_> = history.script.lines().skip(1).collect();
    play(&mut RealQueue::new(debounce, limits), &script.join("\n"));
    play(&mut ReferenceQueue::new(debounce, limits), &script.join("\n"));
}
