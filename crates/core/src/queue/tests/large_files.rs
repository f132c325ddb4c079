//! Random histories with large files.

use alloc::{collections::BTreeSet, string::String, vec, vec::Vec};
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
                let is_ready = self.queue.has_large();
                let batch = self.queue.take_large(self.now);
                assert_eq!(batch.is_some(), is_ready, "{}", self.script);
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

fn at(millis: u64) -> Moment {
    Moment::new(Duration::from_millis(millis))
}

/// A queue in which the batch of `/d/` is settled except for large files of these names.
fn with_large(names: &[&[u8]]) -> DirtySet {
    let debounce = Debounce::FixedDelay { delay: Duration::from_millis(10), max_waiting: 6 };
    let mut queue =
        DirtySet::with_limits(debounce, QueueLimits { failed: 4, ..QueueLimits::default() });
    let directory = TreePath::new(b"/d").unwrap();
    queue.mark(&directory, Scope::Tree, at(0));
    let batch = queue.take_due(at(10)).unwrap();
    assert!(!batch.is_large());
    let large = names.iter().map(|name| directory.join(name).unwrap()).collect();
    queue.settle_with_large(batch, Settled::All, large, at(20));
    queue
}

#[test]
fn a_large_file_counts_until_its_own_job_is_done() {
    let mut queue = with_large(&[b"a"]);
    let path = TreePath::new(b"/d/a").unwrap();
    assert_eq!((queue.counts().waiting, queue.oldest()), (1, Some(at(0))));
    // Its job transfers its new changes, too.
    queue.mark(&path, Scope::Entry, at(30));
    assert_eq!((queue.counts().waiting, queue.waiting()), (1, 0));
    let batch = queue.take_large(at(30)).unwrap();
    assert!(batch.is_large());
    assert_eq!((queue.counts().in_flight, queue.oldest()), (1, Some(at(0))));
    queue.settle(batch, Settled::All, at(40));
    assert!(queue.is_empty() && queue.oldest().is_none());
}

#[test]
fn a_large_file_is_transferred_with_its_directory_if_that_is_marked() {
    let mut queue = with_large(&[b"a"]);
    queue.mark(&TreePath::new(b"/d").unwrap(), Scope::Tree, at(30));
    assert!(!queue.has_large());
    let batch = queue.take_due(at(40)).unwrap();
    assert_eq!(queue.counts().total(), 1);
    assert_eq!(queue.oldest(), Some(at(0)));
    queue.settle(batch, Settled::All, at(50));
    assert!(queue.is_empty());
}

#[test]
fn beyond_the_limit_of_large_files_their_directory_is_compared_again() {
    for (names, directories) in
        [(&[b"a", b"b", b"c", b"e"][..], 0), (&[b"a", b"b", b"c", b"e", b"f"], 1)]
    {
        let names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
        let queue = with_large(&names);
        assert_eq!((queue.waiting(), queue.counts().waiting), (directories, 4 + directories));
        assert_eq!(queue.next_due(), (directories > 0).then(|| at(0)));
    }
}

#[test]
fn changes_observed_at_a_large_file_are_known_to_its_own_job() {
    let [file, other] = ["/d/a", "/d/b"].map(|path| TreePath::new(path.as_bytes()).unwrap());
    for failed in [vec![], vec![DirtyPath { path: other.clone(), scope: Scope::Entry }]] {
        let mut queue = DirtySet::new(Debounce::default());
        queue.mark_written(&file, Scope::Entry, at(0));
        queue.mark_written(&other, Scope::Entry, at(0));
        let batch = queue.take_due(at(1_000)).unwrap();
        let large = BTreeSet::from([file.clone()]);
        queue.settle_with_large(batch, Settled::Except(failed), large, at(1_000));
        let batch = queue.take_large(at(1_000)).unwrap();
        assert!(batch.observed().is_written(&file, || false));
        assert!(!batch.observed().is_written(&other, || false));
        queue.settle(batch, Settled::All, at(1_000));
    }
}
