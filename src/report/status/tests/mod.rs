//! Content of the status file in various states.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use mirror_core::{
    fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId},
    input::TargetLink,
    job::{
        DirtyPath, Failure, HeldDeletions, HoldReason, HookFailureAction, JobEnd, JobId, Outcome,
    },
    mirror::{Insist, MirrorSettings},
    path::TreePath,
    queue::{Debounce, OpenWait},
};

use super::*;

fn mirror(init: bool) -> Mirror {
    let pace = Debounce::FixedDelay { delay: Duration::from_secs(5), max_waiting: 1_000_000 };
    let (insist, filter) = (Insist::Yes, Arc::default());
    let settings = MirrorSettings {
        host: mirror_core::mirror::TargetHost::Local,
        has_snapshots: false,
        debounce: pace,
        open_wait: OpenWait::default(),
        delete: mirror_core::plan::options::DeletePolicy::Always,
        init,
        insist,
        filter,
        target_link: TargetLink::Up,
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

fn change(mirror: &mut Mirror, name: &str, kind: EntryKind, second: u64) {
    let change = Change { edit: Edit::Create, kind, path: path(name) };
    mirror.on_fs_event(FsEventKind::Changed(change), at(second), &mut Vec::new());
}

fn start(mirror: &mut Mirror, second: u64) {
    assert!(mirror.advance(Some(JobId(second)), at(second), &mut Vec::new()));
}

fn end(mirror: &mut Mirror, outcome: Outcome, second: u64) {
    let job = mirror.jobs()[0];
    let _ = mirror.job_ended(JobEnd::new(job, outcome), at(second), &mut Vec::new());
}

fn failure() -> Failure {
    Failure { code: Some(12), message: "rsync failed".into() }
}

fn sync<'a>(name: &'a str, mirror: &'a Mirror) -> SyncStatus<'a> {
    let source = Path::new("/srv/www");
    let target = OsStr::new("/dst/");
    let mirror = MirrorRef::Built(mirror);
    SyncStatus { name, source, target, filters: &[], excludes: &[], mirror, held: Vec::new() }
}

fn status(syncs: Vec<SyncStatus<'_>>) -> StatusReport<'_> {
    let clock: jiff::Timestamp = "2026-11-02T20:04:05Z".parse().unwrap();
    StatusReport {
        syncs,
        processes: Vec::new(),
        watches: WatchSummary { count: 0, listed: &[] },
        notes: Vec::new(),
        is_final: false,
        now: at(100),
        clock: clock.to_zoned(TimeZone::UTC),
    }
}

fn text(status: &StatusReport<'_>) -> String {
    String::from_utf8(status.text()).unwrap()
}

/// Recorded from the original while its first rsync slept, except for the lines that we add.
#[test]
fn the_blocks_of_the_original_are_reproduced_literally() {
    let mut starting = mirror(true);
    starting.covered(at(90), &mut Vec::new());
    start(&mut starting, 91);
    let patterns = [b"- *.tmp".to_vec()];
    let sync1 = SyncStatus { filters: &patterns, ..sync("Sync1", &starting) };
    let sync2 = SyncStatus { source: Path::new("/srv/www/sub"), ..sync("Sync2", &starting) };
    let listed = [(1, b"/srv/www".to_vec()), (2, b"/srv/www/sub".to_vec())];
    let mut status = status(vec![sync1, sync2]);
    status.watches = WatchSummary { count: 2, listed: &listed };
    status.processes = vec![RunningProcess { pid: 77, started: 1_719_592_765 }];
    let expected = "\
Lsyncd status report at Mon Nov  2 20:04:05 2026

Syncs:
Sync1 -> /dst/: starting, first full transfer is running, oldest change at Mon Nov  2 20:03:55 2026
Sync2 -> /dst/: starting, first full transfer is running, oldest change at Mon Nov  2 20:03:55 2026

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
    status.syncs.pop();
    status.processes.push(RunningProcess { pid: 78, started: 0 });
    let short = [
        "Sync1 -> /dst/: starting, first full transfer is running, oldest change at Mon Nov  2 \
         20:03:55 2026",
        "Inotify watching 2 directories",
        "Running processes: 2, with pid 77, 78",
    ];
    assert_eq!(status.log_lines(), short);
}

#[test]
fn delays_are_listed_with_stage_and_type() {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    change(&mut mirror, "a", EntryKind::Other, 1);
    change(&mut mirror, "d", EntryKind::Directory, 1);
    start(&mut mirror, 10);
    change(&mut mirror, "a", EntryKind::Other, 11);
    change(&mut mirror, "new\nline", EntryKind::Other, 12);
    let shown = text(&status(vec![sync("Sync1", &mirror)]));
    let expected = "\
There are 4 delays
active Modify /a
active Create /d/
block  Modify /a
wait   Modify /new\\nline
Filtering:
";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn excludes_and_filters_are_listed_or_reported_as_nothing() {
    let mirror = mirror(false);
    let (filters, excludes) = ([b"- *.tmp".to_vec()], [b"*.o".to_vec(), b"/x/".to_vec()]);
    let check = |filters, excludes, expected: &str| {
        let sync = SyncStatus { filters, excludes, ..sync("Sync1", &mirror) };
        let shown = text(&status(vec![sync]));
        assert!(shown.contains(&format!("There are 0 delays\n{expected}\n\nInotify")), "{shown}");
    };
    check(&[], &[], "Filtering:\n  nothing.\n");
    check(&filters, &[], "Filtering:\n- *.tmp\n");
    check(&[], &excludes, "Filtering:\nFrom excludes:\n*.o\n/x/\n");
    check(&filters, &excludes, "Filtering:\n- *.tmp\nFrom excludes:\n*.o\n/x/\n");
}

#[test]
fn each_state_has_a_readable_description() {
    let check = |mirror: &Mirror, expected: &str| {
        let shown = text(&status(vec![sync("Sync1", mirror)]));
        let states = shown.split_once("Syncs:\n").unwrap().1;
        assert_eq!(states.split_once("\n\n").unwrap().0, expected.trim_end());
    };
    let first = "setting up watches, first full transfer is due";
    check(&mirror(true), &format!("Sync1 -> /dst/: {first}\n"));
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    check(&mirror, "Sync1 -> /dst/: in sync\n");
    change(&mut mirror, "a", EntryKind::Other, 30);
    start(&mut mirror, 40);
    end(&mut mirror, Outcome::Retry(failure()), 110);
    let rest = "1 not on the target, oldest change at Mon Nov  2 20:02:55 2026";
    // The first wait is the delay of 5 seconds, and the failure is 10 seconds in the future.
    let away = "transfer failed, next try at Mon Nov  2 20:04:20 2026, rsync failed (exit code 12)";
    check(&mirror, &format!("Sync1 -> /dst/: {away}, {rest}\n"));
    start(&mut mirror, 120);
    let failed = DirtyPath { path: path("a"), scope: Scope::Entry };
    end(&mut mirror, Outcome::Partial(vec![(failed, failure())]), 121);
    let next = "failed, try 1, next try at Mon Nov  2 20:04:27 2026: /a: rsync failed";
    check(&mirror, &format!("Sync1 -> /dst/: live, {rest}\n  {next}\n"));
    for (then, next) in [
        (HookFailureAction::Retry, "next try at Mon Nov  2 20:04:17 2026"),
        (HookFailureAction::Hold, "waits for SIGHUP"),
    ] {
        mirror.retry_now(at(125), &mut Vec::new());
        start(&mut mirror, 125);
        end(
            &mut mirror,
            Outcome::HookFailed { failure: failure(), action: then, held: vec![] },
            107,
        );
        let shown = text(&status(vec![sync("Sync1", &mirror)]));
        let expected =
            format!("Sync1 -> /dst/: onSynced failed, {next}, rsync failed (exit code 12), ");
        assert!(shown.contains(&expected), "{shown}");
        // The path is on the target.
        assert!(shown.contains(", 1 waiting for the next call, oldest change at "), "{shown}");
    }
    mirror.cannot_cover("it is not there".into(), at(130), &mut Vec::new());
    let held = text(&status(vec![sync("Sync1", &mirror)]));
    assert!(held.contains("Sync1 -> /dst/: source unavailable: it is not there, 1 not"), "{held}");
}

/// A mirror in which the path `a` failed at the second 101.
fn mirror_with_failed_path() -> Mirror {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    change(&mut mirror, "a", EntryKind::Other, 30);
    start(&mut mirror, 40);
    let failed = DirtyPath { path: path("a"), scope: Scope::Entry };
    end(&mut mirror, Outcome::Partial(vec![(failed, failure())]), 101);
    mirror
}

#[test]
fn a_failed_path_has_a_next_try_only_if_one_follows() {
    let check = |mirror: &Mirror, is_final, expected: &str| {
        let shown = text(&StatusReport { is_final, ..status(vec![sync("Sync1", mirror)]) });
        let line = format!("  failed, try 1{expected}: /a: rsync failed\n");
        assert!(shown.contains(&line), "{line}{shown}");
    };
    check(&mirror_with_failed_path(), false, ", next try at Mon Nov  2 20:04:07 2026");
    check(&mirror_with_failed_path(), true, "");
    // The target is paused for a longer time, or until an operator resumes it.
    for (action, expected) in [
        (HookFailureAction::Retry, ", next try at Mon Nov  2 20:04:10 2026"),
        (HookFailureAction::Hold, ", waits for SIGHUP"),
    ] {
        let mut mirror = mirror_with_failed_path();
        change(&mut mirror, "b", EntryKind::Other, 90);
        start(&mut mirror, 100);
        end(&mut mirror, Outcome::HookFailed { failure: failure(), action, held: vec![] }, 100);
        check(&mirror, false, expected);
    }
    let mut mirror = mirror_with_failed_path();
    mirror.set_target_link(TargetLink::Down, at(110), &mut Vec::new());
    check(&mirror, false, ", waits for its tunnel");
    mirror.cannot_cover("it is not there".into(), at(110), &mut Vec::new());
    check(&mirror, false, ", waits for its source");
}

#[test]
fn an_error_of_a_script_is_one_line() {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    change(&mut mirror, "a", EntryKind::Other, 30);
    start(&mut mirror, 40);
    let failure = Failure::new("onSynced: conf.lua:3: no\nstack traceback:\n\t[C]: in 'error'");
    let action = HookFailureAction::Hold;
    end(&mut mirror, Outcome::HookFailed { failure, action, held: vec![] }, 41);
    let shown = text(&status(vec![sync("Sync1", &mirror)]));
    assert!(shown.contains(", waits for SIGHUP, onSynced: conf.lua:3: no, "), "{shown}");
    assert!(!shown.contains("traceback"), "{shown}");
}

#[test]
fn held_deletions_and_a_stopped_daemon_are_shown() {
    let mut mirror = mirror(true);
    mirror.covered(at(1), &mut Vec::new());
    start(&mut mirror, 2);
    let all = DirtyPath::root_tree();
    let held = HeldDeletions {
        paths: vec![all],
        count: 12,
        total: Some(20),
        names: vec![path("a")],
        reason: HoldReason::Unobserved,
    };
    end(&mut mirror, Outcome::Split { large: vec![], failed: vec![], held: vec![held] }, 3);
    let sync = || SyncStatus { held: vec!["set maxDelete".into()], ..sync("Sync1", &mirror) };
    let shown = text(&status(vec![sync()]));
    let expected = "Syncs:\nSync1 -> /dst/: live, 12 deletions held\n  set maxDelete\n\n";
    assert!(shown.contains(expected), "{shown}");
    let shown = text(&StatusReport { is_final: true, ..status(vec![sync()]) });
    let expected =
        "2026\n\nThe daemon has stopped.\n\nSyncs:\nSync1 -> /dst/: stopped, 12 deletions";
    assert!(shown.contains(expected) && !shown.contains("in sync"), "{shown}");
}

#[test]
fn long_lists_are_truncated_and_counted() {
    let mut mirror = mirror(false);
    mirror.covered(at(1), &mut Vec::new());
    for number in 0..MAX_DELAYS + 5 {
        change(&mut mirror, &format!("{number}"), EntryKind::Other, 2);
    }
    let listed = [(1, b"/a".to_vec())];
    let mut status = status(vec![sync("Sync1", &mirror), sync("Sync2", &mirror)]);
    status.watches = WatchSummary { count: 4, listed: &listed };
    let shown = text(&status);
    assert_eq!(shown.matches("wait   Modify /").count(), MAX_DELAYS);
    assert_eq!(shown.matches(&format!("There are {} delays\n", MAX_DELAYS + 5)).count(), 2);
    let rest = MAX_DELAYS + 5 - MAX_DELAYS / 2;
    assert_eq!(shown.matches(&format!("  and {rest} more\nFiltering:")).count(), 2);
    assert!(shown.contains("Inotify watching 4 directories\n  1: /a/\n  and 3 more\n"), "{shown}");
}

#[test]
fn watch_notes_follow_the_watch_list() {
    let mirror = mirror(false);
    let mut status = status(vec![sync("Sync1", &mirror)]);
    status.notes = vec!["Fanotify watching the file system of Sync1".into()];
    let expected = "Inotify watching 0 directories\nFanotify watching the file system of Sync1\n\n";
    let shown = text(&status);
    assert!(shown.contains(expected), "{shown}");
}

#[test]
#[ignore = "it measures time: run it alone, and built for release"]
fn a_large_status_is_formatted_within_50_ms() {
    let check = |name: &dyn Fn(usize) -> String| {
        let mut mirror = mirror(false);
        mirror.covered(at(1), &mut Vec::new());
        (0..100_000).for_each(|n| change(&mut mirror, &name(n), EntryKind::Other, 2));
        let listed: Vec<_> = (0..10_000).map(|n| (n, format!("/srv/www/{n}").into())).collect();
        let mut status = status(vec![sync("Sync1", &mirror)]);
        status.watches = WatchSummary { count: 100_000, listed: &listed };
        let (began, text) = (std::time::Instant::now(), status.text());
        let took = began.elapsed();
        println!("{} bytes in {took:?}", text.len());
        assert!(took < Duration::from_millis(50), "{took:?}");
    };
    check(&|n| format!("directory {}/file {n}", n % 1000));
    check(&|n| format!("directory {}/file {n}", n / 60_000));
    check(&|n| format!("{n}/{n}/{n}/{n}"));
}
