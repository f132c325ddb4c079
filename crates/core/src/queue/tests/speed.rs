//! How the work grows: in proportion to the marks, whatever their order and number.

use alloc::{format, vec::Vec};

use super::script::at;
use crate::{
    job::Scope,
    path::TreePath,
    queue::{Limits, MOST_PLACES, Pace, Places, Settled, steps::count},
};

/// Below [`MOST_PLACES`], so that nothing is joined.
const MANY: usize = 262_140;

/// `count` files of depth 3 over `directories`, up or down.
fn files(count: usize, directories: usize, up: bool) -> Vec<TreePath> {
    let path = |n: usize| {
        let text = format!("some/d{:04}/f{:06}", n % directories, n / directories);
        TreePath::new(text.as_bytes()).unwrap()
    };
    if up { (0..count).map(path).collect() } else { (0..count).rev().map(path).collect() }
}

/// A queue that joins nothing in a directory.
fn queue() -> Places {
    let limits = Limits { in_directory: usize::MAX, ..Limits::default() };
    Places::with_limits(Pace::default(), limits)
}

/// All the way through the queue: marked, taken, marked again, settled, taken.
fn steps(files: &[TreePath]) -> usize {
    let mut queue = queue();
    count(|| {
        for file in files {
            queue.mark(file, Scope::Entry, at(0));
        }
        let batch = queue.take_due(at(1_000)).unwrap();
        assert_eq!(batch.places().len(), files.len());
        for file in files {
            queue.mark(file, Scope::Entry, at(1_000));
        }
        queue.settle(batch, Settled::All, at(1_000));
        let batch = queue.take_due(at(2_000)).unwrap();
        assert_eq!(batch.places().iter().count(), files.len());
        queue.settle(batch, Settled::Nothing, at(2_000));
        assert_eq!(queue.waiting(), files.len());
    })
}

#[test]
fn a_mark_costs_the_same_in_a_long_queue() {
    for directories in [1, 1_000] {
        for up in [true, false] {
            let few = steps(&files(MANY / 20, directories, up));
            let many = steps(&files(MANY, directories, up));
            // A hash table doubles now and then, so not exactly 20 times.
            assert!(many <= few * 25, "{directories} directories: {few} steps grew to {many}");
            let each = many / MANY;
            assert!(each <= 25, "{directories} directories: {each} steps for each file");
        }
    }
}

#[test]
fn a_storm_without_end_costs_the_same_for_each_mark() {
    let mut queue = Places::new(Pace::default());
    let mut most = 0;
    let marks = MOST_PLACES + 100_000;
    let steps = count(|| {
        for n in 0..marks {
            let text = format!("d{}/e{}/f{n}", n % 7, n % 1_009);
            queue.mark(&TreePath::new(text.as_bytes()).unwrap(), Scope::Entry, at(0));
            most = most.max(queue.waiting());
        }
    });
    assert_eq!(most, MOST_PLACES);
    assert!(steps / marks <= 10, "{} steps for each mark", steps / marks);
    assert!(queue.memory() < 1_000_000, "{} bytes", queue.memory());
}

#[test]
fn what_fails_again_and_again_takes_bounded_memory() {
    let mut queue = Places::new(Pace::default());
    for round in 0..30 {
        let now = round * 1_000;
        for n in 0..500 {
            let text = format!("d{round}/f{n}");
            queue.mark(&TreePath::new(text.as_bytes()).unwrap(), Scope::Entry, at(now));
        }
        let batch = queue.take_all(at(now)).unwrap();
        let failed = batch.places().iter().collect();
        queue.settle(batch, Settled::Except(failed), at(now));
        assert!(queue.counts().resting <= crate::queue::MOST_FAILURES);
    }
    assert_eq!(queue.oldest(), Some(at(0)));
}
