//! Complexity: the steps grow linearly with the marks, whatever their order.

use alloc::{format, vec::Vec};

use super::script::at;
use crate::{
    job::Scope,
    path::TreePath,
    queue::{Debounce, DirtySet, MAX_PATHS, QueueLimits, Settled, steps::count},
};

/// Below [`MAX_PATHS`], so that no paths are replaced.
const MANY: usize = 98_300;

/// `count` files of depth 3 in `directories`, in ascending or descending order.
fn files(count: usize, directories: usize, up: bool) -> Vec<TreePath> {
    let path = |n: usize| {
        let text = format!("some/d{:04}/f{:06}", n % directories, n / directories);
        TreePath::new(text.as_bytes()).unwrap()
    };
    if up { (0..count).map(path).collect() } else { (0..count).rev().map(path).collect() }
}

/// A queue without a limit for a directory.
fn queue() -> DirtySet {
    let limits = QueueLimits { per_directory: usize::MAX, ..QueueLimits::default() };
    DirtySet::with_limits(Debounce::default(), limits)
}

fn mark(queue: &mut DirtySet, files: &[TreePath]) {
    for file in files {
        queue.mark(file, Scope::Entry, at(0));
    }
}

/// Marks, takes, iterates and settles.
fn once(files: &[TreePath]) -> usize {
    let mut queue = queue();
    count(|| {
        mark(&mut queue, files);
        let batch = queue.take_due(at(1_000)).unwrap();
        assert_eq!(batch.paths().iter().count(), files.len());
        queue.settle(batch, Settled::Nothing, at(2_000));
        assert_eq!(queue.waiting(), files.len());
    })
}

/// Marks again while in flight, and settles.
fn deferred(files: &[TreePath]) -> usize {
    let mut queue = queue();
    mark(&mut queue, files);
    let batch = queue.take_due(at(1_000)).unwrap();
    count(|| {
        mark(&mut queue, files);
        assert_eq!(queue.counts().deferred, files.len());
        queue.settle(batch, Settled::All, at(1_000));
        assert_eq!(queue.waiting(), files.len());
    })
}

/// Checks that `work` takes few steps for each of `many` files, and no more than for few of them.
fn check(work: impl Fn(&[TreePath]) -> usize, many: usize, directories: usize) {
    for up in [true, false] {
        let few = work(&files(many / 20, directories, up));
        let steps = work(&files(many, directories, up));
        // A hash table doubles now and then, so not exactly 20 times.
        assert!(steps <= few * 25, "{few} steps grew to {steps}");
        assert!(steps / many <= 12, "{} steps for each file", steps / many);
    }
}

#[test]
fn a_mark_costs_the_same_in_a_full_directory() {
    check(once, MANY, 1);
}

#[test]
fn a_mark_costs_the_same_over_many_directories() {
    check(once, MANY, 1_000);
}

#[test]
fn a_deferred_mark_costs_the_same() {
    check(deferred, MANY / 8, 1);
    check(deferred, MANY / 8, 1_000);
}

#[test]
fn an_endless_burst_costs_constant_steps_and_memory() {
    let mut queue = DirtySet::new(Debounce::default());
    let mut most = 0;
    let marks = MAX_PATHS + 100_000;
    let steps = count(|| {
        for n in 0..marks {
            let text = format!("d{}/e{}/f{n}", n % 7, n % 1_009);
            queue.mark(&TreePath::new(text.as_bytes()).unwrap(), Scope::Entry, at(0));
            most = most.max(queue.waiting());
        }
    });
    assert_eq!(most, MAX_PATHS);
    assert!(steps / marks <= 10, "{} steps for each mark", steps / marks);
    assert!(queue.memory() < 1_000_000, "{} bytes", queue.memory());
}

#[test]
fn the_runs_of_paths_are_forgotten() {
    let mut queue = DirtySet::new(Debounce::default());
    for n in 0..1_000 {
        let now = n * 1_000;
        queue.mark(&TreePath::new(format!("f{n}").as_bytes()).unwrap(), Scope::Entry, at(now));
        let batch = queue.take_all(at(now)).unwrap();
        queue.settle(batch, Settled::All, at(now));
        assert!(queue.counted() <= 32, "{} after {n} batches", queue.counted());
    }
}

#[test]
fn repeated_failures_take_bounded_memory() {
    let mut queue = DirtySet::new(Debounce::default());
    for round in 0..30 {
        let now = round * 1_000;
        for n in 0..500 {
            let text = format!("d{round}/f{n}");
            queue.mark(&TreePath::new(text.as_bytes()).unwrap(), Scope::Entry, at(now));
        }
        let batch = queue.take_all(at(now)).unwrap();
        let failed = batch.paths().iter().collect();
        queue.settle(batch, Settled::Except(failed), at(now));
        assert!(queue.counts().backing_off <= crate::queue::MAX_FAILED);
    }
    assert_eq!(queue.oldest(), Some(at(0)));
}
