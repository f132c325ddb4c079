//! Tests of the texts and severities of a status.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    control::status::{
        FailedPathReport, HeldReport, PendingReport, ReloadReport, SnapshotReport, SyncState,
        Totals,
    },
    ctl::failure::CtlFailure,
};

const NOW: f64 = 10_000.0;

fn daemon() -> DaemonReport {
    DaemonReport {
        version: "3.0.0".into(),
        pid: 7,
        started: NOW - 7200.0,
        is_exiting: false,
        config_files: vec!["/etc/lsyncd.conf".into()],
        config_hash: "0".into(),
        reload: None,
        watches: 1,
        watch_limit: None,
        polled_directories: 0,
        overflows: 0,
        processes: 0,
    }
}

fn sync(name: &str, state: SyncState) -> SyncReport {
    let (source, target) = ("/srv/www".into(), "backup:/srv/www".into());
    SyncReport {
        state,
        since: NOW - 200.0,
        last_success: Some(NOW - 5.0),
        last_exit: Some(0),
        watcher: "inotify, complete".into(),
        ..SyncReport::new(name.into(), "rsync", source, target)
    }
}

fn held() -> SyncReport {
    SyncReport {
        message: Some("deletions wait".into()),
        held: vec![HeldReport {
            count: 9,
            total: Some(12),
            reason: "empty_source".into(),
            message: "the source is empty; `lsyncctl release` makes them".into(),
            names: (0..7).map(|number| format!("/f{number}")).collect(),
        }],
        ..sync("held one", SyncState::Held)
    }
}

fn failing() -> SyncReport {
    let failed = |number: u32| FailedPathReport {
        path: format!("/p{number}\n"),
        reason: (number == 0).then(|| "Permission denied".into()),
        tries: number + 1,
        next_try: (number == 0).then_some(NOW + 30.0),
    };
    SyncReport {
        oldest_change: Some(90.0),
        pending: PendingReport {
            waiting: 8,
            in_flight: 1,
            in_flight_bytes: None,
            open: 2,
            failed: 8,
            names: vec!["/w".into()],
        },
        failed: (0..6).map(failed).collect(),
        last_failure: Some("exit code 23".into()),
        next_try: Some(NOW + 3.0),
        ..sync("bad\u{1b}[2J", SyncState::Failing)
    }
}

fn document(syncs: Vec<SyncReport>) -> StatusDocument {
    StatusDocument { time: NOW, daemon: daemon(), syncs }
}

fn text(document: &StatusDocument, width: Option<usize>, is_verbose: bool) -> String {
    let style = OutputStyle { width, has_colours: false };
    let view = StatusView { max_age: None, is_verbose };
    style.lines(&view.lines(document, style))
}

#[test]
fn a_good_state_is_a_table() {
    let syncs = vec![sync("web", SyncState::InSync), sync("a", SyncState::FullTransfer)];
    let expected = "\
lsyncd 3.0.0, pid 7, up 2h00m, /etc/lsyncd.conf
SYNC  STATE          SINCE  OLDEST  WAITING  IN FLIGHT  FAILED  HELD  LAST SUCCESS  TARGET
web   in sync        3m20s       -        0          0       0     0          5.0s  backup:/srv/www
a     full transfer  3m20s       -        0          0       0     0          5.0s  backup:/srv/www
";
    assert_eq!(text(&document(syncs), None, false), expected);
    let expected = "lsyncd 3.0.0, pid 7, up 2h00m, /etc/lsyncd.conf\nno sync is configured\n";
    assert_eq!(text(&document(Vec::new()), None, false), expected);
}

#[test]
fn problems_are_explained_below_the_table() {
    let mut document = document(vec![held(), failing()]);
    document.daemon.reload = Some(ReloadReport { time: NOW, error: Some("line 3: no".into()) });
    document.daemon.is_exiting = true;
    let expected = "\
lsyncd 3.0.0, pid 7, up 2h00m, exiting, /etc/lsyncd.conf
the last reload was refused, the previous configuration is in force: line 3: no
SYNC          STATE    OLDEST  WAITING  FAILED  HELD
held one      held          -        0       0     9
bad\\u{1b}[2J  failing   1m30s        8       8     0

held one: held: deletions wait
  held: 9 deletions of 12 entries (empty source): the source is empty; `lsyncctl release` makes them
    /f0
    /f1
    /f2
    /f3
    /f4
    and 4 more

bad\\u{1b}[2J: failing
  last failure: exit code 23
  next try: in 3.0s
  failing: /p0\\n: Permission denied (1 try, next in 30s)
  failing: /p1\\n (2 tries)
  failing: /p2\\n (3 tries)
  failing: /p3\\n (4 tries)
  failing: /p4\\n (5 tries)
  failing: 3 more paths
";
    let found = text(&document, Some(60), false);
    assert_eq!(found, expected);
}

#[test]
fn verbose_shows_all_details() {
    let transfers = BTreeMap::from([("0".into(), 4), ("23".into(), 1)]);
    let mut sync = SyncReport {
        connection: Some("open".into()),
        polled_directories: 3,
        totals: Totals { transfers, sent_bytes: 2048, deleted: 5, ..Totals::default() },
        last_success: None,
        ..sync("web", SyncState::Pending)
    };
    sync.pending.names = vec!["/a".into()];
    sync.pending.open = 2;
    sync.hook_failure = Some("onSynced: sh exited with code 3".into());
    sync.pending.in_flight_bytes = Some(4096);
    sync.snapshot = Some(SnapshotReport {
        taken: None,
        compared_paths: None,
        full_reason: Some("there is no snapshot yet".into()),
    });
    let found = text(&document(vec![sync]), None, true);
    let (_, details) = found.split_once("\n\n").unwrap();
    let expected = "\
web: pending
  last failure of onSynced: sh exited with code 3
  source: /srv/www
  target: backup:/srv/www (rsync)
  watched by: inotify, complete
  polled directories: 3
  connection: open
  snapshot: none yet; the start transfers everything: there is no snapshot yet
  last exit code: 0
  open files: 2 wait for their writers
  running transfer: 4.0 kB sent so far
  transfers: 4 with 0, 1 with 23; sent 0 files, 2.0 kB, deleted 5
  pending: /a
";
    assert_eq!(details, expected);
}

#[test]
fn a_state_determines_the_severity() {
    for state in SyncState::ALL {
        let expected = match state {
            SyncState::InSync
            | SyncState::Pending
            | SyncState::FullTransfer
            | SyncState::SettingUp => Severity::Ok,
            SyncState::Failing
            | SyncState::Retrying
            | SyncState::NoTunnel
            | SyncState::Paused
            | SyncState::Stopped => Severity::Warning,
            SyncState::SourceUnavailable | SyncState::Held => Severity::Critical,
        };
        let document = document(vec![sync("a", SyncState::InSync), sync("b", state)]);
        assert_eq!(severity(&document, None), expected, "{state:?}");
    }
    assert_eq!(severity(&document(Vec::new()), None), Severity::Ok);
}

#[test]
fn problems_count_in_each_state() {
    let busy = || sync("a", SyncState::Pending);
    let paused = SyncReport { is_paused: true, ..busy() };
    assert_eq!(severity(&document(vec![paused]), None), Severity::Warning);
    let failed = SyncReport { failed: failing().failed, ..busy() };
    assert_eq!(severity(&document(vec![failed]), None), Severity::Warning);
    let holding = SyncReport { held: held().held, ..busy() };
    assert_eq!(severity(&document(vec![holding]), None), Severity::Critical);
    let mut refused = document(vec![busy()]);
    refused.daemon.reload = Some(ReloadReport { time: NOW, error: None });
    assert_eq!(severity(&refused, None), Severity::Ok);
    refused.daemon.reload = Some(ReloadReport { time: NOW, error: Some("no".into()) });
    assert_eq!(severity(&refused, None), Severity::Warning);
}

#[test]
fn an_old_change_is_a_warning_and_then_critical() {
    let aged = |age| SyncReport { oldest_change: age, ..sync("a", SyncState::Pending) };
    let limit = Some(Duration::from_mins(1));
    for (age, limit, expected) in [
        (None, limit, Severity::Ok),
        (Some(60.0), limit, Severity::Ok),
        (Some(61.0), limit, Severity::Warning),
        (Some(121.0), limit, Severity::Critical),
        (Some(1e9), None, Severity::Ok),
    ] {
        assert_eq!(severity(&document(vec![aged(age)]), limit), expected, "{age:?}");
    }
}

#[test]
fn the_limit_of_the_age_is_told_where_it_is_exceeded() {
    let sync = SyncReport { oldest_change: Some(90.0), ..sync("a", SyncState::Pending) };
    let view = StatusView { max_age: Some(Duration::from_mins(1)), is_verbose: false };
    let style = OutputStyle::default();
    let text = style.lines(&view.lines(&document(vec![sync]), style));
    assert!(text.ends_with("\na: pending\n  oldest change: 1m30s, above the limit\n"), "{text}");
}

#[test]
fn plugins_print_a_line_with_performance_data() {
    let good = document(vec![sync("web", SyncState::InSync)]);
    let expected = "LSYNCD OK - 1 sync in a good state | syncs=1;;;0 problems=0;;;0 \
                    oldest_change=0.000s;60;120;0 waiting=0;;;0 in_flight=0;;;0 failed=0;;;0 \
                    held=0;;;0\n";
    assert_eq!(plugin_output(&good, Some(Duration::from_mins(1))), expected);
    let mut odd = failing();
    odd.name = "a|b".into();
    let bad = document(vec![odd, sync("web", SyncState::InSync), held()]);
    let expected = "\
LSYNCD CRITICAL - 2 of 3 syncs: held one: held: deletions wait, 9 deletions held | \
syncs=3;;;0 problems=2;;;0 oldest_change=90.000s;;;0 waiting=8;;;0 in_flight=1;;;0 failed=8;;;0 \
held=9;;;0
held one: held: deletions wait, 9 deletions held
a\\x7cb: failing, 8 failing paths
";
    assert_eq!(plugin_output(&bad, None), expected);
    let failure = CtlFailure::Usage("a |\n b".into());
    assert_eq!(plugin_failure(&failure), "LSYNCD UNKNOWN - a \\x7c b\n");
}
