//! Observed queues of the original, and our fixes of its errors.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::reference::at;
use crate::{
    fs_event::{Change, Edit, EntryKind},
    path::TreePath,
    queue::event_queue::{
        Blame, Coupling, Etype, EventId, EventOutcome, EventQueue, EventQueueSettings,
        EventRefusal, EventStatus, FailedAttempt, Pick, QueuedEvent,
    },
    time::Moment,
};

fn queue() -> EventQueue {
    let delay = Duration::from_secs(10);
    EventQueue::new(EventQueueSettings { delay, max_delays: 1_000, coupling: Coupling::Loose })
}

fn spell(name: &str) -> (TreePath, EntryKind) {
    let kind = if name.ends_with('/') { EntryKind::Directory } else { EntryKind::Other };
    (TreePath::new(name.as_bytes()).unwrap(), kind)
}

/// Pushes events written as `Create a, Move a b`.
fn push(queue: &mut EventQueue, events: &str, seconds: u64) {
    for event in events.split(", ").filter(|it| !it.is_empty()) {
        let words: Vec<_> = event.split(' ').collect();
        let (path, kind) = spell(words[1]);
        let edit = match words[0] {
            "Attrib" => Edit::Attrib,
            "Create" => Edit::Create,
            "Modify" => Edit::Modify,
            "Delete" => Edit::Delete,
            "Move" => {
                queue.push_move(&path, &spell(words[2]).0, kind, at(seconds));
                continue;
            }
            other => panic!("no event: {other}"),
        };
        queue.push(&Change { edit, kind, path }, at(seconds));
    }
}

fn show(queue: &EventQueue) -> String {
    let name = |path: &TreePath, kind| {
        let text = path.to_string();
        let slash = if kind == EntryKind::Directory && !path.is_root() { "/" } else { "" };
        format!("{}{slash}", text.trim_start_matches('/'))
    };
    let show = |event: &QueuedEvent| {
        let from = name(event.path(), event.kind());
        let to = event.to().map_or(String::new(), |to| format!(" {}", name(to, event.kind())));
        let status = match event.status() {
            EventStatus::Wait => "",
            EventStatus::Block => " (block)",
            EventStatus::Active => " (active)",
        };
        let text = format!("{} {from}{to}", event.etype().name());
        format!("{}{status}", text.trim_end())
    };
    queue.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn first(queue: &EventQueue, seconds: u64) -> EventId {
    queue.first_due(at(seconds)).unwrap().id()
}

#[test]
fn queues_equal_the_observed_ones_of_the_original() {
    let rows = [
        // rm a; mkfifo a
        ("Delete a, Create a", "Create a"),
        // rm -rf x; mkdir x
        ("Delete x/q, Delete x/, Create x/", "Delete x/q, Delete x/ (block), Create x/ (block)"),
        // mv a c; rm c
        ("Move a c, Delete c", "Delete a, Delete c (block)"),
        // mv a c; echo >> c
        ("Move a c, Modify c", "Move a c, Modify c (block)"),
        // mv a c; mkfifo a
        ("Move a c, Create a", "Move a c, Create a (block)"),
        // mkfifo n; mv n m
        ("Create n, Move n m", "Create n, Delete n, Create m"),
        // mv a c; mv c e
        ("Move a c, Move c e", "Delete a, Delete c (block), Create e"),
        // mv a c; mv b c
        ("Move a c, Move b c", "Move a c, Move b c"),
        // mv a/ c; mv b/ c
        ("Move a/ c/, Move b/ c/", "Delete a/, Delete b/, Create c/ (block)"),
        // mv d D; echo >> D/f
        ("Move d/ D/, Modify D/f", "Move d/ D/, Modify D/f (block)"),
        // echo >> d/f; mv d D
        ("Modify d/f, Move d/ D/", "Modify d/f, Delete d/ (block), Create D/"),
        // Every event of a file is kept.
        ("Create a, Modify a, Attrib a, Modify a", "Create a, Modify a, Attrib a, Modify a"),
        ("Modify a, Delete a", "Modify a, Delete a"),
        // rm a; mkdir a: independent in the original.
        ("Delete a, Create a/", "Delete a, Create a/ (block)"),
        // A name is not below another one just because it begins with it.
        ("Create d/, Create da, Create d/a", "Create d/, Create da, Create d/a (block)"),
    ];
    for (events, wanted) in rows {
        let mut queue = queue();
        push(&mut queue, events, 0);
        assert_eq!(show(&queue), wanted, "{events}");
    }
}

#[test]
fn init_and_blanket_block_all_later_events() {
    let mut queue = queue();
    let init = queue.push_init();
    push(&mut queue, "Create a, Create b, Modify b", 0);
    queue.push_full(TreePath::root());
    let seen = "Init, Create a (block), Create b (block), Modify b (block), Full";
    assert_eq!(show(&queue), seen);
    assert_eq!(first(&queue, 0), init);
    assert_eq!(queue.activate(&[init]), Ok(()));
    queue.settle(&[init], EventOutcome::Done);
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full");
    let blanket = queue.push_blanket();
    push(&mut queue, "Move a c", 0);
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full, Blanket, Move a c (block)");
    // A further relation was not noted before; it is now.
    assert_eq!(queue.discard(blanket), Ok(()));
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full, Move a c (block)");
}

#[test]
fn the_oldest_event_is_due_alone_and_a_list_takes_all() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    push(&mut queue, "Create b", 4);
    assert_eq!(queue.next_due(), Some(at(10)));
    assert_eq!(queue.first_due(at(9)), None);
    assert_eq!(queue.first_due(at(10)).unwrap().title(), "Create on /a");
    let all = queue.select(at(10), |_| Pick::Take);
    assert_eq!(queue.activate(&all), Ok(()));
    assert_eq!(queue.next_due(), None);
    push(&mut queue, "Create c, Modify a", 11);
    queue.settle(&all, EventOutcome::Done);
    assert_eq!(show(&queue), "Create c, Modify a");
    assert_eq!(queue.next_due(), Some(at(21)));
}

#[test]
fn a_long_queue_ignores_delays_but_not_backoffs() {
    let delay = Duration::from_secs(30);
    let mut queue =
        EventQueue::new(EventQueueSettings { delay, max_delays: 3, coupling: Coupling::Loose });
    push(&mut queue, "Create a, Create b", 5);
    assert_eq!(queue.next_due(), Some(at(35)));
    push(&mut queue, "Create c", 6);
    assert_eq!(queue.next_due(), Some(Moment::ORIGIN));
    let all = queue.select(at(6), |_| Pick::Take);
    assert_eq!(queue.activate(&all), Ok(()));
    queue.settle(&all, failed(6, 2));
    assert_eq!(queue.first_due(at(7)), None);
    assert_eq!(queue.next_due(), Some(at(8)));
    queue.retry_now();
    assert_eq!(first(&queue, 7), all[0]);
}

#[test]
fn a_list_leaves_out_events_blocked_by_skipped_ones() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/e/, Create d/e/f, Create g", 0);
    let no_e = |event: &QueuedEvent| {
        if event.path().as_bytes() == b"d/e" { Pick::Skip } else { Pick::Take }
    };
    let taken = queue.select(at(0), no_e);
    let names = taken.iter().map(|&id| queue.get(id).unwrap().path().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["/d", "/g"]);
    let until_e = |event: &QueuedEvent| {
        if event.path().as_bytes() == b"d/e" { Pick::Stop } else { Pick::Take }
    };
    assert_eq!(queue.select(at(0), until_e).len(), 1);
}

#[test]
fn a_list_leaves_out_events_related_to_active_ones() {
    let delay = Duration::ZERO;
    let mut queue =
        EventQueue::new(EventQueueSettings { delay, max_delays: 1_000, coupling: Coupling::Tight });
    push(&mut queue, "Create d/a", 0);
    let create = first(&queue, 0);
    assert_eq!(queue.activate(&[create]), Ok(()));
    push(&mut queue, "Delete d/b, Delete d/", 0);
    let taken = queue.select(at(0), |_| Pick::Take);
    let names = taken.iter().map(|&id| queue.get(id).unwrap().path().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["/d/b"]);
}

#[test]
fn discarding_an_event_in_the_middle_keeps_the_others() {
    let mut queue = queue();
    push(&mut queue, "Create a, Create b, Create c", 0);
    let b = queue.iter().nth(1).unwrap().id();
    assert_eq!(queue.discard(b), Ok(()));
    assert_eq!(queue.get(b), None);
    assert_eq!(queue.discard(b), Err(EventRefusal::Gone));
    push(&mut queue, "Create d", 0);
    assert_eq!(show(&queue), "Create a, Create c, Create d");
}

#[test]
fn blocked_events_wait_for_the_replacement_of_their_blocker() {
    let rows = [
        // mv a c; mv c a
        ("Move a c, Move c a", "Create a, Delete c (block)"),
        // mv a c; echo >> c; rm c
        ("Move a c, Modify c, Delete c", "Delete a, Modify c (block), Delete c (block)"),
        // mv a t; mv b a; mv t b
        ("Move a t, Move b a, Move t b", "Delete a, Create b, Create a (block), Delete t (block)"),
    ];
    for (events, wanted) in rows {
        let mut queue = queue();
        push(&mut queue, events, 0);
        assert_eq!(show(&queue), wanted, "{events}");
        // Nothing is blocked for good.
        for _ in 0..wanted.split(", ").count() {
            let id = first(&queue, 10);
            assert_eq!(queue.activate(&[id]), Ok(()));
            queue.settle(&[id], EventOutcome::Done);
        }
        assert!(queue.is_empty(), "{events}");
    }
}

#[test]
fn a_replacement_keeps_the_alarm() {
    let mut queue = queue();
    push(&mut queue, "Delete a, Create b", 0);
    push(&mut queue, "Create a", 9);
    assert_eq!(show(&queue), "Create a, Create b");
    assert_eq!(queue.next_due(), Some(at(10)));
}

#[test]
fn an_active_event_is_not_replaced() {
    let mut queue = queue();
    push(&mut queue, "Delete a", 0);
    let delete = first(&queue, 10);
    assert_eq!(queue.activate(&[delete]), Ok(()));
    assert_eq!(queue.activate(&[delete]), Err(EventRefusal::InStatus(EventStatus::Active)));
    push(&mut queue, "Create a", 11);
    assert_eq!(show(&queue), "Delete a (active), Create a (block)");
    let create = queue.iter().nth(1).unwrap().id();
    assert_eq!(queue.activate(&[create]), Err(EventRefusal::InStatus(EventStatus::Block)));
    assert_eq!(queue.discard(create), Err(EventRefusal::InStatus(EventStatus::Block)));
    queue.settle(&[delete], EventOutcome::Done);
    assert_eq!(queue.discard(create), Ok(()));
}

#[test]
fn a_retried_event_keeps_its_position_and_blocker() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/f", 0);
    push(&mut queue, "Create g", 11);
    let list = queue.select(at(11), |_| Pick::Take);
    assert_eq!(queue.activate(&list), Ok(()));
    queue.settle(&list, failed(20, 10));
    assert_eq!(show(&queue), "Create d/, Create d/f (block), Create g");
    assert_eq!(queue.next_due(), Some(at(30)));
}

/// A try that failed at this second, with this initial backoff in seconds.
fn failed(seconds: u64, pause: u64) -> EventOutcome {
    let (now, pause) = (at(seconds), Duration::from_secs(pause));
    EventOutcome::Failed(FailedAttempt { now, pause, blame: Blame::Some, message: "no".into() })
}

/// Fails the first due event.
fn fail_first(queue: &mut EventQueue, seconds: u64) -> EventId {
    let id = first(queue, seconds);
    assert_eq!(queue.activate(&[id]), Ok(()));
    queue.settle(&[id], failed(seconds, 1));
    id
}

#[test]
fn a_failed_event_blocks_only_its_dependents() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/f, Create g, Modify g, Create h", 0);
    assert_eq!((queue.failed_count(), queue.has_only_retries()), (0, false));
    fail_first(&mut queue, 10);
    fail_first(&mut queue, 10);
    assert_eq!((queue.failed_count(), queue.has_only_retries()), (2, false), "h");
    let left = "Create d/, Create d/f (block), Create g, Modify g (block), Create h";
    assert_eq!(show(&queue), left);
    assert_eq!(queue.first_due(at(10)).unwrap().title(), "Create on /h");
    push(&mut queue, "Attrib g, Create d/e/, Create i", 10);
    assert!(show(&queue).ends_with("Attrib g (block), Create d/e/ (block), Create i"));
    let list = queue.select(at(10), |_| Pick::Take);
    assert_eq!(list.len(), 2, "h and i");
}

#[test]
fn the_backoff_of_a_failed_event_grows_to_a_limit() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    let (mut now, mut last) = (10, 0);
    for _ in 0..20 {
        fail_first(&mut queue, now);
        let until = queue.next_due().unwrap();
        let rest = until.since(at(now)).as_secs_f64();
        assert!(rest <= 300.0 && rest >= f64::from(last).min(220.0), "{rest} after {last}");
        last = u32::try_from(until.since(at(now)).as_secs()).unwrap();
        now += u64::from(last) + 1;
    }
    assert!(last > 220);
    // A change may have fixed it.
    push(&mut queue, "Attrib a", now);
    assert!(queue.next_due().unwrap() <= at(now + 1));
}

#[test]
fn failed_events_of_deleted_entries_are_dropped() {
    let rows = [
        ("Create a", "Delete a", "Delete a"),
        ("Create a", "Attrib a, Delete a", "Delete a"),
        ("Create d/", "Create d/f, Delete d/f, Delete d/", "Delete d/f, Delete d/ (block)"),
        ("Create d/f", "Delete d/", "Delete d/"),
        ("Create a", "Move a b", "Delete a, Create b"),
        ("Create d/f", "Move d/ e/", "Delete d/, Create e/"),
        ("Move a b", "Delete b", "Delete a, Delete b"),
        ("Move a d/b", "Delete d/", "Delete a, Delete d/"),
        // Nothing makes up for that.
        ("Delete a", "Create b", "Delete a, Create b"),
        ("Delete a", "Create a", "Create a"),
        ("Delete d/", "Create d/", "Delete d/, Create d/ (block)"),
    ];
    for (fails, news, wanted) in rows {
        for is_running in [false, true] {
            let mut queue = queue();
            push(&mut queue, fails, 0);
            let id = fail_first(&mut queue, 10);
            assert_eq!(queue.activate(&[id]), Ok(()));
            if is_running {
                push(&mut queue, news, 10);
                queue.settle(&[id], failed(10, 1));
            } else {
                queue.settle(&[id], failed(10, 1));
                push(&mut queue, news, 10);
            }
            // A create does not replace an active event.
            let wanted = match (fails, is_running) {
                ("Delete a", true) if news == "Create a" => "Delete a, Create a (block)",
                _ => wanted,
            };
            let seen = show(&queue).replace("Attrib a, ", "").replace("Create d/f (block), ", "");
            let seen = seen.replace("Create d/f, ", "");
            let seen = if fails.starts_with("Move") { seen.replace(" (block)", "") } else { seen };
            assert_eq!(seen, wanted, "{fails}; {news}; {is_running}");
        }
    }
}

#[test]
fn an_event_that_failed_once_is_retried_even_if_its_entry_is_deleted() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    fail_first(&mut queue, 10);
    assert!(queue.has_only_retries());
    push(&mut queue, "Delete a", 10);
    assert_eq!(show(&queue), "Create a, Delete a (block)");
    assert_eq!(queue.next_due(), Some(at(11)));
    fail_first(&mut queue, 11);
    assert_eq!(show(&queue), "Delete a");
}

#[test]
fn the_failing_event_of_a_list_is_isolated_by_bisection() {
    for bad in [0, 1, 500, 998, 999] {
        let mut queue = queue();
        for n in 0..1_000 {
            push(&mut queue, &format!("Create f{n:03}"), 0);
        }
        let (mut tries, mut now) = (0, 10);
        while queue.len() > 1 {
            now = now.max(queue.next_due().unwrap().since_origin().as_secs());
            let list = queue.select(at(now), |_| Pick::Take);
            assert_eq!(queue.activate(&list), Ok(()));
            let is_bad = list.iter().any(|id| {
                let path = queue.get(*id).unwrap().path().to_string();
                path == format!("/f{bad:03}")
            });
            let ended = if is_bad { failed(now, 1) } else { EventOutcome::Done };
            queue.settle(&list, ended);
            tries += 1;
            assert!(tries < 60 && now < 60, "{tries} tries, {now} s: {bad}");
        }
        // Later events are not mixed with it.
        push(&mut queue, "Create g, Create h", now);
        assert!(queue.select(at(now), |_| Pick::Take).len() <= 2);
    }
}

#[test]
fn events_known_to_have_failed_are_retried_alone() {
    let mut queue = queue();
    push(&mut queue, "Create a, Create b, Create c", 0);
    let list = queue.select(at(10), |_| Pick::Take);
    assert_eq!(queue.activate(&list), Ok(()));
    let pause = Duration::from_secs(1);
    let attempt = FailedAttempt { now: at(10), pause, blame: Blame::Each, message: "no".into() };
    queue.settle(&list[..2], EventOutcome::Failed(attempt));
    queue.settle(&list[2..], EventOutcome::Done);
    assert_eq!(queue.select(at(11), |_| Pick::Take), list[..1]);
    assert_eq!(queue.failed().map(|(_, failure)| failure.tries).collect::<Vec<_>>(), [1, 1]);
    queue.reset_tries(&list[..1]);
    assert_eq!(queue.failed().map(|(_, failure)| failure.tries).collect::<Vec<_>>(), [0, 1]);
    queue.retry_now();
    assert_eq!(queue.select(at(11), |_| Pick::Take), list[..2]);
}

#[test]
fn tight_coupling_blocks_events_of_the_same_file() {
    let delay = Duration::ZERO;
    let mut queue =
        EventQueue::new(EventQueueSettings { delay, max_delays: 1_000, coupling: Coupling::Tight });
    push(&mut queue, "Create a, Modify a, Delete a, Create a/, Move b c, Move e c", 0);
    let seen = "Create a, Modify a (block), Delete a (block), Create a/ (block), Move b c, \
                Delete e, Create c";
    // The destination of the second move is that of the first one, which becomes a delete.
    let seen = seen.replace("Move b c, Delete e, Create c", "Delete b, Delete e, Create c (block)");
    assert_eq!(show(&queue), seen);
}

#[test]
fn clear_drops_all_events_and_ids_are_not_reused() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    let old = queue.iter().next().unwrap().id();
    assert!(!queue.is_empty());
    queue.clear();
    assert!(queue.is_empty() && queue.next_due().is_none());
    push(&mut queue, "Create a", 0);
    assert_ne!(queue.iter().next().unwrap().id(), old);
    queue.settle(&[old], EventOutcome::Done);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.iter().next().unwrap().etype(), Etype::Create);
}

#[test]
fn suspects_are_tried_in_lists_half_as_long_each_time() {
    let mut queue = queue();
    push(&mut queue, "Create a, Create b, Create c, Create d, Create e, Create f, Create g", 0);
    // The first time, the cause may lie outside of the events.
    for (now, length) in (10..).zip([7, 7, 3, 1]) {
        let list = queue.select(at(now), |_| Pick::Take);
        assert_eq!(list.len(), length);
        assert_eq!(queue.activate(&list), Ok(()));
        queue.settle(&list, failed(now, 1));
    }
}

#[test]
fn a_running_event_is_not_given_up_with_its_blocker() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/f", 0);
    let list = queue.select(at(10), |_| Pick::Take);
    assert_eq!(queue.activate(&list), Ok(()));
    queue.settle(&list[..1], failed(10, 1));
    assert_eq!(fail_first(&mut queue, 11), list[0]);
    queue.drop_missing(&TreePath::root(), |_| false, at(12));
    assert_eq!(show(&queue), "Create d/f (active)");
    queue.settle(&list[1..], failed(12, 1));
    fail_first(&mut queue, 13);
    assert_eq!(show(&queue), "Create d/f");
}

#[test]
fn a_failed_event_of_the_root_does_not_block_a_blanket_event() {
    let mut queue = queue();
    push(&mut queue, "Attrib /", 0);
    let id = first(&queue, 10);
    assert_eq!(queue.activate(&[id]), Ok(()));
    queue.push_blanket();
    queue.settle(&[id], failed(10, 1));
    assert_eq!(show(&queue), "Attrib, Blanket");
}

#[test]
fn the_title_of_an_event_tells_directories_apart() {
    let mut queue = queue();
    push(&mut queue, "Attrib /, Create d/, Create d, Move d/ e/, Move f g", 0);
    queue.push_init();
    queue.push_full(TreePath::root());
    let titles: Vec<_> = queue.iter().map(QueuedEvent::title).collect();
    let split = ["Delete on /d/", "Create on /e/", "Delete on /f", "Create on /g"];
    let (first, rest) = titles.split_at(3);
    assert_eq!(first, ["Attrib on /", "Create on /d/", "Create on /d"]);
    assert_eq!(rest, [&split[..], &["Init", "Full on /"]].concat());
}

#[test]
fn a_failed_move_blocks_a_later_move_to_its_name() {
    let mut queue = queue();
    push(&mut queue, "Move a c", 0);
    fail_first(&mut queue, 10);
    push(&mut queue, "Move b c", 10);
    assert_eq!(show(&queue), "Move a c, Move b c (block)");
}

#[test]
fn moves_before_a_full_event_become_deletes_and_creates() {
    let rows = [
        ("Move a c", "Delete a, Full, Create c"),
        ("Move a c, Create a", "Delete a, Create a (block), Full, Create c"),
        ("Move d/ e/", "Delete d/, Full, Create e/"),
        // The new name is gone again.
        ("Move a c, Modify c, Delete c", "Delete a, Modify c (block), Delete c (block), Full"),
        ("Move a d/c, Delete d/", "Delete a, Delete d/ (block), Full"),
    ];
    for (events, wanted) in rows {
        for is_failed in [false, true] {
            let mut queue = queue();
            push(&mut queue, events, 0);
            if is_failed {
                fail_first(&mut queue, 10);
            }
            queue.push_full(TreePath::root());
            let seen = show(&queue);
            assert_eq!(seen, wanted, "{events}, failed: {is_failed}");
        }
    }
}
