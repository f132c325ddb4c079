//! `status`: texts and exit codes for plugins.

use lsyncd::control::{
    request::{ByteText, Request, Selection},
    status::{StatusDocument, SyncReport, SyncState},
};

use crate::{
    documents::{away, busy, held, hostile, status, sync},
    fake_daemon::{FakeDaemon, Reaction},
    tool::{command, finish, run},
};

fn daemon(syncs: Vec<SyncReport>) -> FakeDaemon {
    FakeDaemon::start(Reaction::ok(status(syncs)))
}

#[test]
fn the_exit_code_tells_the_worst_state() {
    let good = || sync("web", SyncState::InSync);
    for (syncs, arguments, code) in [
        (vec![], vec![], 0),
        (vec![good(), busy("a", 50.0)], vec![], 0),
        (vec![busy("a", 50.0)], vec!["--max-age", "50"], 0),
        (vec![busy("a", 50.0)], vec!["--max-age", "49.5"], 1),
        (vec![busy("a", 50.0)], vec!["--max-age", "24"], 2),
        (vec![good(), away("a")], vec![], 1),
        (vec![SyncReport { is_paused: true, ..good() }], vec![], 1),
        (vec![held("a"), away("b")], vec![], 2),
        (vec![sync("a", SyncState::SourceUnavailable)], vec![], 2),
    ] {
        let daemon = daemon(syncs);
        for form in ["--verbose", "--nagios", "--json"] {
            let result = run(&daemon.socket, &[&["status", form], &*arguments].concat());
            assert_eq!(result.code, Some(code), "{arguments:?} {result:?}");
            assert_eq!(result.stderr, "");
        }
    }
}

#[test]
fn states_are_shown_with_their_reasons() {
    let daemon = daemon(vec![busy("web", 2.0), away("db"), held("home")]);
    let result = run(&daemon.socket, &["status"]);
    let expected = "\
lsyncd 3.0.0, pid 4711, up 1m00s, /etc/lsyncd.conf
SYNC  STATE     SINCE  OLDEST  WAITING  IN FLIGHT  FAILED  HELD  LAST SUCCESS  TARGET
web   pending     12s    2.0s        3          2       0     0           12s  backup:/srv/www
db    retrying    12s       -        0          0       0     0           12s  backup:/srv/www
home  held        12s       -        0          0       0   120           12s  backup:/srv/www

db: retrying: no route to host
  last failure: rsync exited with 255
  next try: in 30s

home: held
  held: 120 deletions of 200 entries (unobserved): more than maxDelete; `lsyncctl release` accepts \
them
    /a
    /b
    and 118 more
";
    assert_eq!(result.stdout, expected);
}

#[test]
fn monitoring_gets_a_line_of_its_own() {
    let daemon = daemon(vec![busy("web", 2.0), held("home")]);
    let result = run(&daemon.socket, &["status", "--nagios", "--max-age=60"]);
    let expected = "\
LSYNCD CRITICAL - home: held, 120 deletions held | syncs=2;;;0 problems=1;;;0 \
oldest_change=2.000s;60;120;0 waiting=3;;;0 in_flight=2;;;0 failed=0;;;0 held=120;;;0
home: held, 120 deletions held
";
    assert_eq!((result.code, &*result.stdout), (Some(2), expected));
    let missing = daemon.directory.path().join("missing.sock");
    let result = run(&missing, &["status", "--nagios"]);
    assert_eq!((result.code, &*result.stderr), (Some(2), ""));
    assert!(result.stdout.starts_with("LSYNCD CRITICAL - no lsyncd runs here"), "{result:?}");
    assert_eq!(result.stdout.lines().count(), 1);
}

#[test]
fn json_is_printed_as_the_daemon_sent_it() {
    let mut document = serde_json::to_value(status(vec![sync("web", SyncState::InSync)])).unwrap();
    document["added_later"] = "yes".into();
    let daemon = FakeDaemon::start(Reaction::ok(document.clone()));
    let result = run(&daemon.socket, &["--json", "status"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&result.stdout).unwrap(), document);
    let parsed: StatusDocument = serde_json::from_str(&result.stdout).unwrap();
    assert_eq!(parsed.syncs[0].name, "web");
    assert_eq!(result.stdout.lines().count(), 1);
}

#[test]
fn names_cannot_control_the_terminal() {
    let daemon = daemon(vec![hostile()]);
    for form in [&["status"][..], &["status", "-v"], &["status", "--nagios"]] {
        let result = run(&daemon.socket, form);
        assert!(result.stdout.contains("\\u{1b}"), "{result:?}");
        let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!result.stdout.contains(is_bad), "{result:?}");
        // A newline in a name begins no line.
        assert!(!result.stdout.lines().any(|line| line.starts_with("|b")), "{result:?}");
    }
    let plugin = run(&daemon.socket, &["status", "--nagios"]);
    assert_eq!(plugin.stdout.matches('|').count(), 1, "{plugin:?}");
}

#[test]
fn an_argument_selects_a_sync_or_a_path() {
    let daemon = daemon(Vec::new());
    let directory = daemon.directory.path().canonicalize().unwrap();
    for (argument, expected) in [
        (None, Selection::default()),
        (Some("web"), Selection { sync: Some("web".into()), path: None }),
        (Some("./a/../b"), {
            let path = ByteText::from(directory.join("b").as_os_str());
            Selection { sync: None, path: Some(path) }
        }),
    ] {
        let mut command = command(&["status"]);
        command.args(argument).current_dir(&directory).env("LSYNCD_SOCKET", &daemon.socket);
        assert_eq!(finish(command).code, Some(0));
        assert_eq!(daemon.requests.recv().unwrap(), Request::Status(expected));
    }
}
