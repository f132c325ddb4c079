//! Random histories with large files.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::{fmt::Write as _, time::Duration};

use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{Batch, Limits, Pace, Places, Settled},
    sim::random::Random,
    time::Moment,
};

/// A history as it unfolds.
struct History {
    random: Random,
    queue: Places,
    flights: Vec<Batch>,
    now: Moment,
    script: String,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let pace = Pace::Fixed { delay: Duration::from_millis(10), max_waiting: 6 };
        let small = Limits { in_directory: 3, places: 8, failures: 4, hints: 3 };
        let queue = Places::with_limits(pace, random.pick(&[small, Limits::default()]));
        let (flights, now, script) = (Vec::new(), Moment::ORIGIN, String::new());
        Self { random, queue, flights, now, script }
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
            writeln!(self.script, "{} take {:?}", self.now, batch.places()).unwrap();
            self.flights.push(batch);
        }
    }

    /// Some places failed, and some are files that are to go alone.
    fn settle(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let batch = self.flights.remove(self.random.below(self.flights.len()));
        let (mut failed, mut large) = (Vec::new(), BTreeSet::new());
        for place in &**batch.places() {
            let is_tree = place.scope == Scope::Tree;
            let below = |name: &[u8]| place.path.join(name).unwrap();
            match self.random.below(4) {
                0 => failed.push(place),
                1 if !batch.is_large() => {
                    large.insert(if is_tree { below(b"a") } else { place.path });
                }
                2 if is_tree => failed.push(Place { path: below(b"b"), scope: Scope::Entry }),
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
        let places = batch.places();
        writeln!(self.script, "{} settle {places:?} {settled:?} large {large:?}", self.now)
            .unwrap();
        self.queue.settle_but(batch, settled, large, self.now);
    }
}

#[test]
fn an_empty_queue_has_no_oldest_change() {
    for seed in 0..3_000 {
        let mut history = History::new(seed);
        for _ in 0..80 {
            history.step();
            let History { queue, script, .. } = &history;
            assert!(!queue.is_empty() || queue.oldest().is_none(), "seed {seed}:\n{script}");
        }
    }
}
