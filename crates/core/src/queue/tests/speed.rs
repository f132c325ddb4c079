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

fn mark(queue: &mut Places, files: &[TreePath]) {
    for file in files {
        queue.mark(file, Scope::Entry, at(0));
    }
}

/// Marked, taken, read, put back.
fn once(files: &[TreePath]) -> usize {
    let mut queue = queue();
    count(|| {
        mark(&mut queue, files);
        let batch = queue.take_due(at(1_000)).unwrap();
        assert_eq!(batch.places().iter().count(), files.len());
        queue.settle(batch, Settled::Nothing, at(2_000));
        assert_eq!(queue.waiting(), files.len());
    })
}

/// Marked again while in flight, and let go of.
fn behind(files: &[TreePath]) -> usize {
    let mut queue = queue();
    mark(&mut queue, files);
    let batch = queue.take_due(at(1_000)).unwrap();
    count(|| {
        mark(&mut queue, files);
        assert_eq!(queue.counts().behind, files.len());
        queue.settle(batch, Settled::All, at(1_000));
        assert_eq!(queue.waiting(), files.len());
    })
}

/// `work` takes a few steps for each of `many` files, and no more than for few of them.
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
fn a_mark_costs_the_same_behind_a_flight() {
    check(behind, MANY / 8, 1);
    check(behind, MANY / 8, 1_000);
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
