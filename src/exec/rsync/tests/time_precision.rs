//! Remote targets with a lower time precision.

use std::time::Duration;

use mirror_core::plan::options::ListForm;

use super::*;

/// Writes a file on both sides, with different content, and with times after an odd second.
fn write_differing(fixture: &RsyncFixture, name: &str, source: Duration, target: Duration) {
    let sides =
        [(fixture.source(name), source, "source"), (fixture.target(name), target, "target")];
    for (path, time, content) in sides {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1001) + time).unwrap();
    }
}

fn has_arrived(fixture: &RsyncFixture, name: &str) -> bool {
    fs::read(fixture.target(name)).unwrap() == b"source"
}

const FRACTION: Duration = Duration::from_millis(300);

#[test]
fn a_target_with_whole_seconds_is_compared_by_seconds() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_remote_shell();
    for name in ["a", "b", "d/c"] {
        write_differing(&fixture, name, FRACTION, Duration::ZERO);
    }
    write_differing(&fixture, "changed", FRACTION, Duration::from_secs(3));
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    assert_eq!(executor.state.quick_check(), Some(QuickCheck::Seconds));
    assert!(["a", "b", "d/c"].iter().all(|name| !has_arrived(&fixture, name)));
    assert!(has_arrived(&fixture, "changed"));
    // A path with an observed write is transferred all the same.
    assert_eq!(run(written(&[b"a"])), Outcome::Done);
    assert!(has_arrived(&fixture, "a") && !has_arrived(&fixture, "b"));
}

#[test]
fn a_rewrite_within_the_same_second_proves_no_precision() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_remote_shell();
    for (name, before) in [("a", 200), ("d/b", 700), ("d/c", 1100)] {
        write_differing(&fixture, name, FRACTION, Duration::from_millis(before));
    }
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    assert_eq!(executor.state.quick_check(), None);
    assert!(["a", "d/b", "d/c"].iter().all(|name| has_arrived(&fixture, name)));
}

#[test]
fn a_target_with_two_second_times_is_compared_within_one_second() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_remote_shell();
    write_differing(&fixture, "even", Duration::from_secs(1) + FRACTION, Duration::from_secs(1));
    write_differing(&fixture, "odd", FRACTION + Duration::from_secs(2), Duration::from_secs(1));
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    assert_eq!(executor.state.quick_check(), Some(QuickCheck::Within(1)));
    assert!(!has_arrived(&fixture, "even") && !has_arrived(&fixture, "odd"));
}

#[test]
fn one_equal_fractional_time_proves_nanoseconds() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_remote_shell();
    write_differing(&fixture, "a", FRACTION, Duration::ZERO);
    write_differing(&fixture, "d/same", FRACTION, FRACTION);
    let executor = fixture.executor();
    assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
    assert_eq!(executor.state.quick_check(), Some(QuickCheck::Nanoseconds));
    assert!(has_arrived(&fixture, "a"));
    assert!(!has_arrived(&fixture, "d/same"));
}

#[test]
fn the_precision_of_an_empty_target_is_measured_later() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_remote_shell();
    fs::write(fixture.source("a"), "").unwrap();
    let executor = fixture.executor();
    for known in [None, Some(QuickCheck::Nanoseconds)] {
        assert_eq!(executor.run(&mut job(Work::full()), &CancelToken::default()), Outcome::Done);
        assert_eq!(executor.state.quick_check(), known);
    }
}

#[test]
fn the_precision_is_not_measured_where_it_is_configured_or_irrelevant() {
    type OptionChange = fn(&mut RsyncFixture);
    let changes: [(OptionChange, usize); 4] = [
        (|_| (), 4),
        (|it| it.options.extra.push(b"--modify-window=2".to_vec()), 1),
        (|it| it.options.short.retain(|letter| *letter != b't'), 1),
        (|it| it.options.form = ListForm::Filter, 1),
    ];
    for (number, (change, calls)) in changes.into_iter().enumerate() {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.record();
        fixture.use_remote_shell();
        write_differing(&fixture, "a", FRACTION, Duration::from_secs(5));
        change(&mut fixture);
        assert_eq!(fixture.full(), Outcome::Done);
        assert_eq!(fixture.calls().len(), calls, "{number}: {:#?}", fixture.calls());
        assert!(has_arrived(&fixture, "a"));
    }
}
