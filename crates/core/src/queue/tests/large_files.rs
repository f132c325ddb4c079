//! Random histories with large files.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::{fmt::Write as _, time::Duration};

use crate::{
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::{Batch, Debounce, DirtySet, QueueLimits, Settled},
    sim::random::SimRng,
    time::Moment,
};

/// The state of a history.
struct LargeFileHistory {
    random: SimRng,
    queue: DirtySet,
    in_flight: Vec<Batch>,
    now: Moment,
    script: String,
}

impl LargeFileHistory {
    fn new(seed: u64) -> Self {
        let mut random = SimRng::new(seed);
        let debounce = Debounce::FixedDelay { delay: Duration::from_millis(10), max_waiting: 6 };
        let small = QueueLimits { per_directory: 3, paths: 8, failed: 4, hints: 3 };
        let queue = DirtySet::with_limits(debounce, random.pick(&[small, QueueLimits::default()]));
        let (in_flight, now, script) = (Vec::new(), Moment::ORIGIN, String::new());
        Self { random, queue, in_flight, now, script }
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.random.pick(&[0, 1, 20, 1500]));
        match self.random.below(12) {
            0..4 => {
                let mut path = TreePath::root();
                for _ in 0..=self.random.below(2) {
                    path.push(self.random.pick(&[b"a", b"b", b"c"])).unwrap();
                }
                let scope = self.random.pick(&[Scope::Entry, Scope::Entry, Scope::Tree]);
                self.queue.mark(&path, scope, self.now);
                writeln!(self.script, "{} mark {path} {scope:?}", self.now).unwrap();
            }
            4..6 => {
                let batch = self.queue.take_due(self.now);
                self.take(batch);
            }
            6 => {
                let batch = self.queue.take_large();
                self.take(batch);
            }
            7 => {
                self.queue.retry_now(self.now);
                writeln!(self.script, "{} retry", self.now).unwrap();
            }
            _ => self.settle(),
        }
    }

    fn take(&mut self, batch: Option<Batch>) {
        if let Some(batch) = batch {
            writeln!(self.script, "{} take {:?}", self.now, batch.paths()).unwrap();
            self.in_flight.push(batch);
        }
    }

    /// Settles a batch with some failed paths and some large files.
    fn settle(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let batch = self.in_flight.remove(self.random.below(self.in_flight.len()));
        let (mut failed, mut large) = (Vec::new(), BTreeSet::new());
        for dirty in &**batch.paths() {
            let is_tree = dirty.scope == Scope::Tree;
            let below = |name: &[u8]| dirty.path.join(name).unwrap();
            match self.random.below(4) {
                0 => failed.push(dirty),
                1 if !batch.is_large() => {
                    large.insert(if is_tree { below(b"a") } else { dirty.path });
                }
                2 if is_tree => failed.push(DirtyPath { path: below(b"b"), scope: Scope::Entry }),
                _ => {}
            }
        }
        let settled = match self.random.below(4) {
            0 => Settled::Nothing,
            1 => Settled::All,
            _ => Settled::Except(failed),
        };
        if settled == Settled::Nothing {
            large.clear();
        }
        let paths = batch.paths();
        writeln!(self.script, "{} settle {paths:?} {settled:?} large {large:?}", self.now).unwrap();
        self.queue.settle_with_large(batch, settled, large, self.now);
    }
}

#[test]
fn an_empty_queue_has_no_oldest_change() {
    for seed in 0..3_000 {
        let mut history = LargeFileHistory::new(seed);
        for _ in 0..80 {
            history.step();
            let LargeFileHistory { queue, script, .. } = &history;
            assert!(!queue.is_empty() || queue.oldest().is_none(), "seed {seed}:\n{script}");
        }
    }
}
