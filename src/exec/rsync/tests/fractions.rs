//! Targets on other machines that keep less of the times.

use std::time::Duration;

use mirror_core::plan::options::ListForm;

use super::*;

/// A file of both sides with other content, and times after a second that is odd.
fn differing(fixture: &Fixture, name: &str, source: Duration, target: Duration) {
    let sides =
        [(fixture.source(name), source, "source"), (fixture.target(name), target, "target")];
    for (path, time, content) in sides {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1001) + time).unwrap();
    }
}

fn is_arrived(fixture: &Fixture, name: &str) -> bool {
    fs::read(fixture.target(name)).unwrap() == b"source"
}

const FRACTION: Duration = Duration::from_millis(300);

#[test]
fn where_whole_seconds_are_kept_they_count() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_through_a_shell();
    for name in ["a", "b", "d/c"] {
        differing(&fixture, name, FRACTION, Duration::ZERO);
    }
    differing(&fixture, "changed", FRACTION, Duration::from_secs(3));
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    assert_eq!(executor.learned.equal(), Some(Equal::Seconds));
    assert!(["a", "b", "d/c"].iter().all(|name| !is_arrived(&fixture, name)));
    assert!(is_arrived(&fixture, "changed"));
    // What was heard to be written comes all the same.
    assert_eq!(run(written(&[b"a"])), Outcome::Done);
    assert!(is_arrived(&fixture, "a") && !is_arrived(&fixture, "b"));
}

#[test]
fn what_was_written_again_within_a_second_proves_nothing() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_through_a_shell();
    for (name, before) in [("a", 200), ("d/b", 700), ("d/c", 1100)] {
        differing(&fixture, name, FRACTION, Duration::from_millis(before));
    }
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
    assert_eq!(executor.learned.equal(), None);
    assert!(["a", "d/b", "d/c"].iter().all(|name| is_arrived(&fixture, name)));
}

#[test]
fn where_every_second_second_is_kept_both_are_one() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_through_a_shell();
    differing(&fixture, "even", Duration::from_secs(1) + FRACTION, Duration::from_secs(1));
    differing(&fixture, "odd", FRACTION + Duration::from_secs(2), Duration::from_secs(1));
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
    assert_eq!(executor.learned.equal(), Some(Equal::Within(1)));
    assert!(!is_arrived(&fixture, "even") && !is_arrived(&fixture, "odd"));
}

#[test]
fn one_file_with_its_fraction_proves_that_they_are_kept() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_through_a_shell();
    differing(&fixture, "a", FRACTION, Duration::ZERO);
    differing(&fixture, "d/same", FRACTION, FRACTION);
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
    assert_eq!(executor.learned.equal(), Some(Equal::Nanoseconds));
    assert!(is_arrived(&fixture, "a"));
    assert!(!is_arrived(&fixture, "d/same"));
}

#[test]
fn what_an_empty_target_keeps_is_seen_another_time() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_through_a_shell();
    fs::write(fixture.source("a"), "").unwrap();
    let executor = fixture.executor();
    for known in [None, Some(Equal::Nanoseconds)] {
        assert_eq!(executor.run(&mut job(Work::full()), &Stop::default()), Outcome::Done);
        assert_eq!(executor.learned.equal(), known);
    }
}

#[test]
fn nothing_is_found_out_where_the_user_has_said_it_or_times_do_not_count() {
    type Change = fn(&mut Fixture);
    let changes: [(Change, usize); 4] = [
        (|_| (), 4),
        (|it| it.options.extra.push(b"--modify-window=2".to_vec()), 1),
        (|it| it.options.short.retain(|letter| *letter != b't'), 1),
        (|it| it.options.form = ListForm::Filter, 1),
    ];
    for (number, (change, calls)) in changes.into_iter().enumerate() {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.record();
        fixture.go_through_a_shell();
        differing(&fixture, "a", FRACTION, Duration::from_secs(5));
        change(&mut fixture);
        assert_eq!(fixture.full(), Outcome::Done);
        assert_eq!(fixture.calls().len(), calls, "{number}: {:#?}", fixture.calls());
        assert!(is_arrived(&fixture, "a"));
    }
}
