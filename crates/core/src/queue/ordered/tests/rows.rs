//! What was seen of queues of the original, and what ours does where it goes wrong there.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::twin::at;
use crate::{
    notice::{Change, Edit, Kind},
    path::TreePath,
    queue::ordered::{
        Attempt, Blame, Bond, Ended, Entry, Etype, EventId, Ordered, OrderedPace, Pick, Refused,
        Status,
    },
    time::Moment,
};

fn queue() -> Ordered {
    let delay = Duration::from_secs(10);
    Ordered::new(OrderedPace { delay, max_delays: 1_000, bond: Bond::Loose })
}

fn spell(name: &str) -> (TreePath, Kind) {
    let kind = if name.ends_with('/') { Kind::Directory } else { Kind::Other };
    (TreePath::new(name.as_bytes()).unwrap(), kind)
}

/// Events as they are written in a row: `Create a, Move a b`.
fn push(queue: &mut Ordered, events: &str, seconds: u64) {
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

fn show(queue: &Ordered) -> String {
    let name = |path: &TreePath, kind| {
        let text = path.to_string();
        let slash = if kind == Kind::Directory && !path.is_root() { "/" } else { "" };
        format!("{}{slash}", text.trim_start_matches('/'))
    };
    let show = |entry: &Entry| {
        let from = name(entry.path(), entry.kind());
        let to = entry.to().map_or(String::new(), |to| format!(" {}", name(to, entry.kind())));
        let status = match entry.status() {
            Status::Wait => "",
            Status::Block => " (block)",
            Status::Active => " (active)",
        };
        let text = format!("{} {from}{to}", entry.etype().name());
        format!("{}{status}", text.trim_end())
    };
    queue.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn first(queue: &Ordered, seconds: u64) -> EventId {
    queue.first_due(at(seconds)).unwrap().id()
}

#[test]
fn queues_are_those_that_were_seen() {
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
        // mv d D; echo >> D/f
        ("Move d/ D/, Modify D/f", "Move d/ D/, Modify D/f (block)"),
        // echo >> d/f; mv d D
        ("Modify d/f, Move d/ D/", "Modify d/f, Delete d/ (block), Create D/"),
        // Every event of a file is seen.
        ("Create a, Modify a, Attrib a, Modify a", "Create a, Modify a, Attrib a, Modify a"),
        ("Modify a, Delete a", "Modify a, Delete a"),
        // rm a; mkdir a: the original lets them go their ways.
        ("Delete a, Create a/", "Delete a, Create a/ (block)"),
        // A name that begins with another one is not below it.
        ("Create d/, Create da, Create d/a", "Create d/, Create da, Create d/a (block)"),
    ];
    for (events, wanted) in rows {
        let mut queue = queue();
        push(&mut queue, events, 0);
        assert_eq!(show(&queue), wanted, "{events}");
    }
}

#[test]
fn everything_waits_for_the_beginning_and_for_a_blanket() {
    let mut queue = queue();
    let init = queue.push_init();
    push(&mut queue, "Create a, Create b, Modify b", 0);
    queue.push_full(TreePath::root());
    let seen = "Init, Create a (block), Create b (block), Modify b (block), Full";
    assert_eq!(show(&queue), seen);
    assert_eq!(first(&queue, 0), init);
    assert_eq!(queue.activate(&[init]), Ok(()));
    queue.settle(&[init], Ended::Done);
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full");
    let blanket = queue.push_blanket();
    push(&mut queue, "Move a c", 0);
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full, Blanket, Move a c (block)");
    // What it met besides was not looked at; it is now.
    assert_eq!(queue.discard(blanket), Ok(()));
    assert_eq!(show(&queue), "Create a, Create b, Modify b, Full, Move a c (block)");
}

#[test]
fn the_oldest_delay_lets_go_of_itself_and_a_list_takes_all() {
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
    queue.settle(&all, Ended::Done);
    assert_eq!(show(&queue), "Create c, Modify a");
    assert_eq!(queue.next_due(), Some(at(21)));
}

#[test]
fn with_much_in_the_queue_nothing_waits_for_its_delay_but_what_failed_does() {
    let delay = Duration::from_secs(30);
    let mut queue = Ordered::new(OrderedPace { delay, max_delays: 3, bond: Bond::Loose });
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
fn a_list_leaves_out_what_waits_for_what_it_leaves_out() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/e/, Create d/e/f, Create g", 0);
    let no_e = |entry: &Entry| {
        if entry.path().as_bytes() == b"d/e" { Pick::Skip } else { Pick::Take }
    };
    let taken = queue.select(at(0), no_e);
    let names = taken.iter().map(|&id| queue.get(id).unwrap().path().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["/d", "/g"]);
    let until_e = |entry: &Entry| {
        if entry.path().as_bytes() == b"d/e" { Pick::Stop } else { Pick::Take }
    };
    assert_eq!(queue.select(at(0), until_e).len(), 1);
}

#[test]
fn a_list_leaves_out_what_has_met_something_that_is_worked_on() {
    let delay = Duration::ZERO;
    let mut queue = Ordered::new(OrderedPace { delay, max_delays: 1_000, bond: Bond::Tight });
    push(&mut queue, "Create d/a", 0);
    let create = first(&queue, 0);
    assert_eq!(queue.activate(&[create]), Ok(()));
    push(&mut queue, "Delete d/b, Delete d/", 0);
    let taken = queue.select(at(0), |_| Pick::Take);
    let names = taken.iter().map(|&id| queue.get(id).unwrap().path().to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["/d/b"]);
}

#[test]
fn what_is_taken_out_of_the_middle_leaves_the_rest() {
    let mut queue = queue();
    push(&mut queue, "Create a, Create b, Create c", 0);
    let b = queue.iter().nth(1).unwrap().id();
    assert_eq!(queue.discard(b), Ok(()));
    assert_eq!(queue.get(b), None);
    assert_eq!(queue.discard(b), Err(Refused::Gone));
    push(&mut queue, "Create d", 0);
    assert_eq!(show(&queue), "Create a, Create c, Create d");
}

#[test]
fn what_waits_for_an_event_waits_for_that_which_takes_its_place() {
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
            queue.settle(&[id], Ended::Done);
        }
        assert!(queue.is_empty(), "{events}");
    }
}

#[test]
fn what_takes_the_place_of_another_one_has_its_time() {
    let mut queue = queue();
    push(&mut queue, "Delete a, Create b", 0);
    push(&mut queue, "Create a", 9);
    assert_eq!(show(&queue), "Create a, Create b");
    assert_eq!(queue.next_due(), Some(at(10)));
}

#[test]
fn what_is_being_worked_on_is_not_exchanged() {
    let mut queue = queue();
    push(&mut queue, "Delete a", 0);
    let delete = first(&queue, 10);
    assert_eq!(queue.activate(&[delete]), Ok(()));
    assert_eq!(queue.activate(&[delete]), Err(Refused::Is(Status::Active)));
    push(&mut queue, "Create a", 11);
    assert_eq!(show(&queue), "Delete a (active), Create a (block)");
    let create = queue.iter().nth(1).unwrap().id();
    assert_eq!(queue.activate(&[create]), Err(Refused::Is(Status::Block)));
    assert_eq!(queue.discard(create), Err(Refused::Is(Status::Block)));
    queue.settle(&[delete], Ended::Done);
    assert_eq!(queue.discard(create), Ok(()));
}

#[test]
fn what_is_tried_again_keeps_its_place_and_what_it_waited_for() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/f", 0);
    push(&mut queue, "Create g", 11);
    let list = queue.select(at(11), |_| Pick::Take);
    assert_eq!(queue.activate(&list), Ok(()));
    queue.settle(&list, failed(20, 10));
    assert_eq!(show(&queue), "Create d/, Create d/f (block), Create g");
    assert_eq!(queue.next_due(), Some(at(30)));
}

/// A try that failed at this second, after which an event rests for so many at first.
fn failed(seconds: u64, pause: u64) -> Ended {
    let (now, pause) = (at(seconds), Duration::from_secs(pause));
    Ended::Failed(Attempt { now, pause, blame: Blame::Some, why: "no".into() })
}

/// Lets the event that is due first fail.
fn fail_first(queue: &mut Ordered, seconds: u64) -> EventId {
    let id = first(queue, seconds);
    assert_eq!(queue.activate(&[id]), Ok(()));
    queue.settle(&[id], failed(seconds, 1));
    id
}

#[test]
fn a_failed_event_holds_up_only_what_depends_on_it() {
    let mut queue = queue();
    push(&mut queue, "Create d/, Create d/f, Create g, Modify g, Create h", 0);
    fail_first(&mut queue, 10);
    fail_first(&mut queue, 10);
    let left = "Create d/, Create d/f (block), Create g, Modify g (block), Create h";
    assert_eq!(show(&queue), left);
    assert_eq!(queue.first_due(at(10)).unwrap().title(), "Create on /h");
    push(&mut queue, "Attrib g, Create d/e/, Create i", 10);
    assert!(show(&queue).ends_with("Attrib g (block), Create d/e/ (block), Create i"));
    let list = queue.select(at(10), |_| Pick::Take);
    assert_eq!(list.len(), 2, "h and i");
}

#[test]
fn a_failed_event_rests_longer_each_time_but_not_for_ever() {
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
    // What happens to it may have cured it.
    push(&mut queue, "Attrib a", now);
    assert!(queue.next_due().unwrap() <= at(now + 1));
}

#[test]
fn what_was_to_be_brought_and_is_gone_is_not_tried_again() {
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
            // A create is not joined with what is being worked on.
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
fn what_has_failed_once_is_tried_again_also_if_it_is_gone() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    fail_first(&mut queue, 10);
    push(&mut queue, "Delete a", 10);
    assert_eq!(show(&queue), "Create a, Delete a (block)");
    assert_eq!(queue.next_due(), Some(at(11)));
    fail_first(&mut queue, 11);
    assert_eq!(show(&queue), "Delete a");
}

#[test]
fn the_one_of_a_list_that_fails_is_found_and_the_others_go() {
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
            let ended = if is_bad { failed(now, 1) } else { Ended::Done };
            queue.settle(&list, ended);
            tries += 1;
            assert!(tries < 60 && now < 60, "{tries} tries, {now} s: {bad}");
        }
        // What comes later is not mixed with it.
        push(&mut queue, "Create g, Create h", now);
        assert!(queue.select(at(now), |_| Pick::Take).len() <= 2);
    }
}

#[test]
fn those_of_a_list_that_are_known_to_have_failed_are_tried_alone() {
    let mut queue = queue();
    push(&mut queue, "Create a, Create b, Create c", 0);
    let list = queue.select(at(10), |_| Pick::Take);
    assert_eq!(queue.activate(&list), Ok(()));
    let pause = Duration::from_secs(1);
    let attempt = Attempt { now: at(10), pause, blame: Blame::Each, why: "no".into() };
    queue.settle(&list[..2], Ended::Failed(attempt));
    queue.settle(&list[2..], Ended::Done);
    assert_eq!(queue.select(at(11), |_| Pick::Take), list[..1]);
    assert_eq!(queue.failed().map(|(_, trouble)| trouble.tries).collect::<Vec<_>>(), [1, 1]);
    queue.retry_now();
    assert_eq!(queue.select(at(11), |_| Pick::Take), list[..2]);
}

#[test]
fn events_of_one_file_wait_for_one_another_where_several_are_worked_on() {
    let delay = Duration::ZERO;
    let mut queue = Ordered::new(OrderedPace { delay, max_delays: 1_000, bond: Bond::Tight });
    push(&mut queue, "Create a, Modify a, Delete a, Create a/, Move b c, Move e c", 0);
    let seen = "Create a, Modify a (block), Delete a (block), Create a/ (block), Move b c, \
                Delete e, Create c";
    // The second move comes to a name that the first one has: that becomes a delete.
    let seen = seen.replace("Move b c, Delete e, Create c", "Delete b, Delete e, Create c (block)");
    assert_eq!(show(&queue), seen);
}

#[test]
fn nothing_is_left_of_what_is_cleared_and_no_name_comes_again() {
    let mut queue = queue();
    push(&mut queue, "Create a", 0);
    let old = queue.iter().next().unwrap().id();
    queue.clear();
    assert!(queue.is_empty() && queue.next_due().is_none());
    push(&mut queue, "Create a", 0);
    assert_ne!(queue.iter().next().unwrap().id(), old);
    queue.settle(&[old], Ended::Done);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.iter().next().unwrap().etype(), Etype::Create);
}
