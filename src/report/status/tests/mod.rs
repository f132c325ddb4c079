//! What the status looks like.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use mirror_core::{
    input::Gate,
    job::{AfterHook, Failure, HeldDeletions, HeldFor, JobId, Outcome, Place},
    mirror::{Insist, Settings},
    notice::{Change, Edit, Kind, MirrorId, News},
    path::TreePath,
    queue::{OpenWait, Pace},
};

use super::*;

fn mirror(init: bool) -> Mirror {
    let pace = Pace::Fixed { delay: Duration::from_secs(5), max_waiting: 1_000_000 };
    let (insist, filter) = (Insist::Yes, Arc::default());
    let settings = Settings {
        pace,
        open_wait: OpenWait::default(),
        delete: mirror_core::plan::options::DeletePolicy::Always,
        init,
        insist,
        filter,
        gate: Gate::Open,
        max_jobs: 1,
        connection: None,
    };
    let mut mirror = Mirror::new(MirrorId(0), settings);
    mirror.begin(&mut Vec::new());
    mirror
}

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn change(mirror: &mut Mirror, name: &str, kind: Kind, second: u64) {
    let change = Change { edit: Edit::Create, kind, path: path(name) };
    mirror.hear(News::Changed(change), at(second), &mut Vec::new());
}

fn start(mirror: &mut Mirror, second: u64) {
    assert!(mirror.advance(Some(JobId(second)), at(second), &mut Vec::new()));
}

fn end(mirror: &mut Mirror, outcome: Outcome, second: u64) {
    let job = mirror.jobs().next().unwrap();
    let _ = mirror.job_ended(job, outcome, at(second), &mut Vec::new());
}

fn failure() -> Failure {
    Failure { code: Some(12), why: "rsync failed".into() }
}

fn sync<'a>(name: &'a str, mirror: &'a Mirror) -> SyncStatus<'a> {
    let source = Path::new("/srv/www");
    let target = OsStr::new("/dst/");
    let mirror = Tracked::Built(mirror);
    SyncStatus { name, source, target, filters: &[], excludes: &[], mirror, held: Vec::new() }
}

fn status(syncs: Vec<SyncStatus<'_>>) -> Status<'_> {
    let clock: jiff::Timestamp = "2026-11-02T20:04:05Z".parse().unwrap();
    Status {
        syncs,
        processes: Vec::new(),
        watches: Watches { count: 0, listed: &[] },
        notes: Vec::new(),
        is_last: false,
        now: at(100),
        clock: clock.to_zoned(TimeZone::UTC),
    }
}

fn text(status: &Status<'_>) -> String {
    String::from_utf8(status.text()).unwrap()
}

/// Seen with the original while its first rsync slept, but for what stands behind.
#[test]
fn the_blocks_of_the_original_are_there_to_the_letter() {
    let mut starting = mirror(true);
    starting.covered(at(90), &mut Vec::new());
    start(&mut starting, 91);
    let patterns = [b"- *.tmp".to_vec()];
    let sync1 = SyncStatus { filters: &patterns, ..sync("Sync1", &starting) };
    let sync2 = SyncStatus { source: Path::new("/srv/www/sub"), ..sync("Sync2", &starting) };
    let listed = [(1, b"/srv/www".to_vec()), (2, b"/srv/www/sub".to_vec())];
    let mut status = status(vec![sync1, sync2]);
    status.watches = Watches { count: 2, listed: &listed };
    status.processes = vec![Process { pid: 77, started: 1_719_592_765 }];
    let expected = "\
Lsyncd status report at Mon Nov  2 20:04:05 2026

Syncs:
Sync1 -> /dst/: the first full transfer, 1 not on the target, oldest change at Mon Nov  2 20:03:55 2026
Sync2 -> /dst/: the first full transfer, 1 not on the target, oldest change at Mon Nov  2 20:03:55 2026

Sync1 source=/srv/www/
There are 1 delays
active Init\x20
Filtering:
- *.tmp


Sync2 source=/srv/www/sub/
There are 1 delays
active Init\x20
Filtering:
  nothing.


Inotify watching 2 directories
  1: /srv/www/
  2: /srv/www/sub/

Running processes: 1
  pid=77 type=1 started=1719592765.000000
";
    assert_eq!(text(&status), expected);
}

#[test]
fn delays_have_their_stage_and_what_is_known_of_them() {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    change(&mut mirror, "a", Kind::Other, 1);
    change(&mut mirror, "d", Kind::Directory, 1);
    start(&mut mirror, 10);
    change(&mut mirror, "a", Kind::Other, 11);
    change(&mut mirror, "new\nline", Kind::Other, 12);
    let text = text(&status(vec![sync("Sync1", &mirror)]));
    let expected = "\
There are 4 delays
active Modify /a
active Create /d/
block  Modify /a
wait   Modify /new\\nline
Filtering:
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn excludes_are_listed_and_nothing_is_said_only_of_nothing() {
    let mirror = mirror(false);
    let (filters, excludes) = ([b"- *.tmp".to_vec()], [b"*.o".to_vec(), b"/x/".to_vec()]);
    let check = |filters, excludes, expected: &str| {
        let sync = SyncStatus { filters, excludes, ..sync("Sync1", &mirror) };
        let text = text(&status(vec![sync]));
        assert!(text.contains(&format!("There are 0 delays\n{expected}\n\nInotify")), "{text}");
    };
    check(&[], &[], "Filtering:\n  nothing.\n");
    check(&filters, &[], "Filtering:\n- *.tmp\n");
    check(&[], &excludes, "Filtering:\nFrom excludes:\n*.o\n/x/\n");
    check(&filters, &excludes, "Filtering:\n- *.tmp\nFrom excludes:\n*.o\n/x/\n");
}

#[test]
fn the_state_is_told_in_words() {
    let check = |mirror: &Mirror, expected: &str| {
        let text = text(&status(vec![sync("Sync1", mirror)]));
        let states = text.split_once("Syncs:\n").unwrap().1;
        assert_eq!(states.split_once("\n\n").unwrap().0, expected.trim_end());
    };
    let first = "its source is being watched for the first time, 1 not on the target";
    check(&mirror(true), &format!("Sync1 -> /dst/: {first}\n"));
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    check(&mirror, "Sync1 -> /dst/: in sync\n");
    change(&mut mirror, "a", Kind::Other, 30);
    start(&mut mirror, 40);
    end(&mut mirror, Outcome::Again(failure()), 110);
    let rest = "1 not on the target, oldest change at Mon Nov  2 20:02:55 2026";
    // The first wait is the delay of 5 seconds, and the failure is 10 seconds ahead.
    let away =
        "the target is away, next try at Mon Nov  2 20:04:20 2026, rsync failed (exit code 12)";
    check(&mirror, &format!("Sync1 -> /dst/: {away}, {rest}\n"));
    start(&mut mirror, 120);
    let failed = Place { path: path("a"), scope: Scope::Entry };
    end(&mut mirror, Outcome::Partly(vec![(failed, failure())]), 121);
    let next = "failed, try 1, the next at Mon Nov  2 20:04:27 2026: /a: rsync failed";
    check(&mirror, &format!("Sync1 -> /dst/: live, {rest}\n  {next}\n"));
    for (then, next) in [
        (AfterHook::Retry, "next try at Mon Nov  2 20:04:17 2026"),
        (AfterHook::Hold, "waits for SIGHUP"),
    ] {
        mirror.hangup(at(125), &mut Vec::new());
        start(&mut mirror, 125);
        end(&mut mirror, Outcome::HookFailed { failure: failure(), then, held: vec![] }, 107);
        let text = text(&status(vec![sync("Sync1", &mirror)]));
        let expected = format!(
            "Sync1 -> /dst/: what follows a batch failed, {next}, rsync failed (exit code 12), "
        );
        assert!(text.contains(&expected), "{text}");
    }
    mirror.cannot_cover("it is not there".into(), at(130), &mut Vec::new());
    let held = text(&status(vec![sync("Sync1", &mirror)]));
    assert!(held.contains("Sync1 -> /dst/: the source is lost, it is not there, 1 not"), "{held}");
}

#[test]
fn deletions_that_are_held_are_not_in_sync_and_the_end_is_told() {
    let mut mirror = mirror(true);
    mirror.covered(at(1), &mut Vec::new());
    start(&mut mirror, 2);
    let all = Place::all();
    let held = HeldDeletions {
        places: vec![all],
        count: 12,
        of: Some(20),
        names: vec![path("a")],
        why: HeldFor::Budget,
    };
    end(&mut mirror, Outcome::Split { large: vec![], failed: vec![], held: vec![held] }, 3);
    let sync = || SyncStatus { held: vec!["set maxDelete".into()], ..sync("Sync1", &mirror) };
    let said = text(&status(vec![sync()]));
    let expected = "Syncs:\nSync1 -> /dst/: live, 12 deletions held\n  set maxDelete\n\n";
    assert!(said.contains(expected), "{said}");
    let said = text(&Status { is_last: true, ..status(vec![sync()]) });
    let expected =
        "2026\n\nThe daemon has stopped.\n\nSyncs:\nSync1 -> /dst/: stopped, 12 deletions";
    assert!(said.contains(expected) && !said.contains("in sync"), "{said}");
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    for number in 0..MOST_DELAYS + 5 {
        change(&mut mirror, &format!("{number}"), Kind::Other, 2);
    }
    let listed = [(1, b"/a".to_vec())];
    let mut status = status(vec![sync("Sync1", &mirror), sync("Sync2", &mirror)]);
    status.watches = Watches { count: 4, listed: &listed };
    let text = text(&status);
    assert_eq!(text.matches("wait   Modify /").count(), MOST_DELAYS);
    assert_eq!(text.matches(&format!("There are {} delays\n", MOST_DELAYS + 5)).count(), 2);
    let rest = MOST_DELAYS + 5 - MOST_DELAYS / 2;
    assert_eq!(text.matches(&format!("  and {rest} more\nFiltering:")).count(), 2);
    assert!(text.contains("Inotify watching 4 directories\n  1: /a/\n  and 3 more\n"), "{text}");
}

#[test]
fn what_else_there_is_to_say_of_the_watching_follows_it() {
    let mirror = mirror(false);
    let mut status = status(vec![sync("Sync1", &mirror)]);
    status.notes = vec!["Fanotify watching the file system of Sync1".into()];
    let expected = "Inotify watching 0 directories\nFanotify watching the file system of Sync1\n\n";
    let text = text(&status);
    assert!(text.contains(expected), "{text}");
}

#[test]
#[ignore = "it measures time: run it alone, and built for release"]
fn a_status_of_many_places_is_soon_made() {
    let check = |name: &dyn Fn(usize) -> String| {
        let mut mirror = mirror(false);
        mirror.covered(at(1), &mut Vec::new());
        (0..100_000).for_each(|n| change(&mut mirror, &name(n), Kind::Other, 2));
        let listed: Vec<_> = (0..10_000).map(|n| (n, format!("/srv/www/{n}").into())).collect();
        let mut status = status(vec![sync("Sync1", &mirror)]);
        status.watches = Watches { count: 100_000, listed: &listed };
        let (began, text) = (std::time::Instant::now(), status.text());
        let took = began.elapsed();
        println!("{} bytes in {took:?}", text.len());
        assert!(took < Duration::from_millis(50), "{took:?}");
    };
    check(&|n| format!("directory {}/file {n}", n % 1000));
    check(&|n| format!("directory {}/file {n}", n / 60_000));
    check(&|n| format!("{n}/{n}/{n}/{n}"));
}
