//! Complexity: the steps grow linearly with the events, independently of blocking.

use alloc::{format, vec::Vec};
use core::time::Duration;

use super::reference::at;
use crate::{
    fs_event::{Change, Edit, EntryKind},
    path::TreePath,
    queue::{
        event_queue::{Coupling, EventOutcome, EventQueue, EventQueueSettings},
        steps::count,
    },
};

fn files(count: usize) -> Vec<Change> {
    let file = |n: usize| {
        let text = format!("some/d{:03}/f{:06}", n % 100, n / 100);
        let path = TreePath::new(text.as_bytes()).unwrap();
        Change { edit: Edit::Create, kind: EntryKind::Other, path }
    };
    (0..count).map(file).collect()
}

fn queue(coupling: Coupling) -> EventQueue {
    EventQueue::new(EventQueueSettings {
        delay: Duration::from_secs(1),
        max_delays: 1_000,
        coupling,
    })
}

/// Processes the changes one by one, after all were pushed.
fn through(queue: &mut EventQueue, changes: &[Change]) {
    for change in changes {
        queue.push(change, at(0));
    }
    let mut done = 0;
    while let Some(event) = queue.first_due(at(1)) {
        let id = event.id();
        assert_eq!(queue.activate(&[id]), Ok(()));
        queue.settle(&[id], EventOutcome::Done);
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
fn unrelated_files_cost_linear_steps() {
    for coupling in [Coupling::Loose, Coupling::Tight] {
        assert_linear(|n| count(|| through(&mut queue(coupling), &files(n))));
    }
}

#[test]
fn one_file_that_is_written_repeatedly_costs_linear_steps() {
    for coupling in [Coupling::Loose, Coupling::Tight] {
        let changes = |n| (0..n).map(|_| files(1).remove(0)).collect::<Vec<_>>();
        assert_linear(|n| count(|| through(&mut queue(coupling), &changes(n))));
    }
}

#[test]
fn a_tree_that_is_created_and_deleted_costs_linear_steps() {
    let changes = |n| {
        let mut changes = files(n);
        for text in ["some", "some/d001"] {
            let path = TreePath::new(text.as_bytes()).unwrap();
            let change = Change { edit: Edit::Create, kind: EntryKind::Directory, path };
            changes.insert(0, change.clone());
            changes.push(Change { edit: Edit::Delete, ..change });
        }
        changes
    };
    assert_linear(|n| count(|| through(&mut queue(Coupling::Loose), &changes(n))));
}

/// Run with `--release`.
#[test]
#[ignore = "measures time"]
fn fifty_thousand_events_take_a_second() {
    let changes = files(100_000);
    let before = std::time::Instant::now();
    through(&mut queue(Coupling::Loose), &changes);
    let took = before.elapsed();
    std::println!("{took:?} for {} events", changes.len());
    assert!(took < Duration::from_secs(2));
}
