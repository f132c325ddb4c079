//! How the work grows: in proportion to the events, whoever waits for whom.

use alloc::{format, vec::Vec};
use core::time::Duration;

use super::twin::at;
use crate::{
    notice::{Change, Edit, Kind},
    path::TreePath,
    queue::{
        ordered::{Bond, Ended, Ordered, OrderedPace},
        steps::count,
    },
};

fn files(count: usize) -> Vec<Change> {
    let file = |n: usize| {
        let text = format!("some/d{:03}/f{:06}", n % 100, n / 100);
        let path = TreePath::new(text.as_bytes()).unwrap();
        Change { edit: Edit::Create, kind: Kind::Other, path }
    };
    (0..count).map(file).collect()
}

fn queue(bond: Bond) -> Ordered {
    Ordered::new(OrderedPace { delay: Duration::from_secs(1), max_delays: 1_000, bond })
}

/// Through the queue one by one, after all have come.
fn through(queue: &mut Ordered, changes: &[Change]) {
    for change in changes {
        queue.push(change, at(0));
    }
    let mut done = 0;
    while let Some(entry) = queue.first_due(at(1)) {
        let id = entry.id();
        assert_eq!(queue.activate(&[id]), Ok(()));
        queue.settle(&[id], Ended::Done);
        done += 1;
    }
    assert_eq!(done, changes.len());
    assert!(queue.is_empty());
}

#[track_caller]
fn assert_linear(steps: impl Fn(usize) -> usize) {
    let (few, many) = (steps(2_000), steps(20_000));
    assert!(many < few * 11, "{few} steps for 2,000, {many} for 20,000");
}

#[test]
fn files_that_have_nothing_to_do_with_one_another() {
    for bond in [Bond::Loose, Bond::Tight] {
        assert_linear(|n| count(|| through(&mut queue(bond), &files(n))));
    }
}

#[test]
fn one_file_that_is_written_all_the_time() {
    for bond in [Bond::Loose, Bond::Tight] {
        let changes = |n| (0..n).map(|_| files(1).remove(0)).collect::<Vec<_>>();
        assert_linear(|n| count(|| through(&mut queue(bond), &changes(n))));
    }
}

#[test]
fn a_tree_that_comes_and_goes_as_a_whole() {
    let changes = |n| {
        let mut changes = files(n);
        for text in ["some", "some/d001"] {
            let path = TreePath::new(text.as_bytes()).unwrap();
            let change = Change { edit: Edit::Create, kind: Kind::Directory, path };
            changes.insert(0, change.clone());
            changes.push(Change { edit: Edit::Delete, ..change });
        }
        changes
    };
    assert_linear(|n| count(|| through(&mut queue(Bond::Loose), &changes(n))));
}

/// Run with `--release`.
#[test]
#[ignore = "measures time"]
fn fifty_thousand_events_a_second() {
    let changes = files(100_000);
    let before = std::time::Instant::now();
    through(&mut queue(Bond::Loose), &changes);
    let took = before.elapsed();
    std::println!("{took:?} for {} events", changes.len());
    assert!(took < Duration::from_secs(2));
}
