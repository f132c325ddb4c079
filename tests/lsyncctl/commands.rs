//! The other commands: their requests, texts and exit codes.

use lsyncd::control::{
    frame::{Answer, ErrorKind, to_line},
    request::{
        ByteText, ExplainDocument, FlushResult, HistoryDocument, Request, Selection, SyncDrift,
        SyncNames, SyncObstacle, TextResult, VerifyDocument,
    },
};
use serde::Serialize;

use crate::{
    documents,
    fake_daemon::{FakeDaemon, Reaction},
    tool::{command, finish, run},
};

/// Asserts the request of a command, its output and its exit code.
#[track_caller]
fn check(arguments: &[&str], request: &Request, result: impl Serialize, expected: (i32, &str)) {
    let daemon = FakeDaemon::start(Reaction::ok(&result));
    let end = run(&daemon.socket, arguments);
    assert_eq!((end.code, &*end.stdout), (Some(expected.0), expected.1), "{end:?}");
    assert_eq!(&daemon.requests.try_recv().unwrap(), request);
    let json = run(&daemon.socket, &[arguments, &["--json"]].concat());
    assert_eq!(json.code, Some(expected.0));
    let printed: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(printed, serde_json::to_value(&result).unwrap());
}

fn of_sync(name: &str) -> Selection {
    Selection { sync: Some(name.into()), path: None }
}

fn of_path(path: &str) -> Selection {
    Selection { sync: None, path: Some(ByteText::Text(path.into())) }
}

#[test]
fn a_change_prints_the_syncs_that_it_concerned() {
    let names = |syncs: &[&str]| SyncNames { syncs: syncs.iter().map(|it| (*it).into()).collect() };
    let all = Selection::default;
    let both = names(&["web", "db"]);
    let paused = "web: paused\ndb: paused\n";
    check(&["pause"], &Request::Pause(all()), &both, (0, paused));
    check(
        &["resume", "web"],
        &Request::Resume(of_sync("web")),
        names(&["web"]),
        (0, "web: resumed\n"),
    );
    let text = "web: transfer requested\n";
    check(&["resync", "/a"], &Request::Resync(of_path("/a")), names(&["web"]), (0, text));
    check(&["release", "a"], &Request::Release(of_sync("a")), names(&["a"]), (0, "a: released\n"));
    let nothing = "nothing to do: it applies to no sync\n";
    check(&["release"], &Request::Release(all()), names(&[]), (0, nothing));
    check(&["retry"], &Request::Retry(all()), names(&["a\x1b"]), (0, "a\\u{1b}: retried\n"));
}

#[test]
fn a_flush_fails_at_obstacles() {
    let request =
        |timeout| Request::Flush { selection: of_path("/s/a"), also: Vec::new(), timeout };
    let syncs = vec!["web".to_owned()];
    let complete = FlushResult { is_complete: true, syncs: syncs.clone(), obstacles: Vec::new() };
    check(&["flush", "/s/a"], &request(None), &complete, (0, "web: complete\n"));
    let obstacles = vec![SyncObstacle { sync: "web".into(), message: "it is paused".into() }];
    let blocked = FlushResult { is_complete: false, syncs, obstacles };
    let arguments = ["flush", "/s/a", "--timeout", "2.5"];
    check(&arguments, &request(Some(2.5)), &blocked, (1, "web: it is paused\n"));
    let also = vec![of_sync("web"), of_path("/s/b")];
    let several = Request::Flush { selection: of_path("/s/a"), also, timeout: None };
    let text = (0, "web: complete\n");
    check(&["flush", "/s/a", "web", "/s/b"], &several, &complete, text);
}

#[test]
fn a_comparison_tells_drift_by_its_exit_code() {
    let drift = |error: Option<&str>, different| VerifyDocument {
        syncs: vec![SyncDrift {
            sync: "web".into(),
            target: "host:/t".into(),
            error: error.map(Into::into),
            different,
            extra: 0,
            names: Vec::new(),
        }],
    };
    let request = Request::Verify(of_sync("web"));
    let arguments = ["verify", "web"];
    check(&arguments, &request, drift(None, 0), (0, "web: no difference at host:/t\n"));
    let text = "web: 2 missing or different, 0 extra entries at host:/t\n  and 2 more\n";
    check(&arguments, &request, drift(None, 2), (1, text));
    let text = "web: not compared: no route\n";
    check(&arguments, &request, drift(Some("no route"), 0), (2, text));
}

#[test]
fn texts_of_the_daemon_are_printed() {
    let text = |text: &str| TextResult { text: text.into() };
    check(&["reload"], &Request::Reload, text("1 added\n1 kept"), (0, "1 added\n1 kept\n"));
    check(&["metrics"], &Request::Metrics, text("a 1\nb\x1b 2\n"), (0, "a 1\nb\\u{1b} 2\n"));
    let request = Request::Log { level: "Exec".into() };
    check(&["log", "Exec"], &request, text("Exec is logged"), (0, "Exec is logged\n"));
    check(&["stop", "--no-wait"], &Request::Stop, text("exiting"), (0, "exiting\n"));
}

#[test]
fn a_refused_reload_is_a_negative_result() {
    let daemon =
        FakeDaemon::start(Reaction::refusal(ErrorKind::Failed, "web.conf:3: no source\nb"));
    let result = run(&daemon.socket, &["reload"]);
    result.fails(1, "lsyncctl: web.conf:3: no source\nb\n");
    run(&daemon.socket, &["pause"]).fails(2, "no source");
}

#[test]
fn records_are_requested_and_printed() {
    let history = HistoryDocument { batches: Vec::new() };
    let request = |limit| Request::History { selection: of_sync("web"), limit: Some(limit) };
    let none = "no transfer has ended yet\n";
    check(&["history", "web"], &request(20), &history, (0, none));
    check(&["history", "web", "--limit", "3"], &request(3), &history, (0, none));
    let document = ExplainDocument { path: "/x".into(), kind: "missing".into(), syncs: Vec::new() };
    let text = "/x (missing)\n  in the source of no sync\n";
    let request = Request::Explain { path: ByteText::Text("/x".into()) };
    check(&["explain", "/y/../x"], &request, document, (0, text));
}

#[test]
fn an_explained_path_may_be_relative_without_a_dot() {
    let document = ExplainDocument { path: "/x".into(), kind: "file".into(), syncs: Vec::new() };
    let daemon = FakeDaemon::start(Reaction::ok(document));
    let directory = daemon.directory.path().canonicalize().unwrap();
    let mut command = command(&["explain", "web"]);
    command.current_dir(&directory).env("LSYNCD_SOCKET", &daemon.socket);
    assert_eq!(finish(command).code, Some(0));
    let path = ByteText::from(directory.join("web").as_os_str());
    assert_eq!(daemon.requests.recv().unwrap(), Request::Explain { path });
}

#[test]
fn stop_waits_until_nobody_listens() {
    // The process id in the document is of another namespace, so the socket is observed.
    let status = documents::status(Vec::new());
    let bytes = to_line(&Answer::Ok(TextResult { text: "exiting".into() }));
    let daemon = FakeDaemon::with(move |request| {
        let is_stop = matches!(request, Request::Stop);
        if is_stop { Reaction::Exit(bytes.clone()) } else { Reaction::ok(&status) }
    });
    let result = run(&daemon.socket, &["stop"]);
    assert_eq!((result.code, &*result.stdout), (Some(0), "exiting\n"), "{result:?}");
    run(&daemon.socket, &["stop"]).fails(2, "it died and left its socket behind");
}

#[test]
fn wrong_usage_is_unknown_to_monitoring() {
    for arguments in [
        &[][..],
        &["stat"],
        &["status", "--max-age", "x"],
        &["status", "--max-age=-1"],
        &["status", "--watch=0"],
        &["status", "--watch", "--json"],
        &["explain"],
        &["log"],
    ] {
        let result = finish(command(arguments));
        assert_eq!((result.code, &*result.stdout), (Some(3), ""), "{arguments:?} {result:?}");
    }
    finish(command(&["stat"])).fails(3, "similar subcommand");
    for arguments in [["--help"], ["--version"]] {
        let result = finish(command(&arguments));
        assert_eq!((result.code, &*result.stderr), (Some(0), ""), "{result:?}");
    }
}
