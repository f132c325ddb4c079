//! Daemons that do not answer as they should.

use std::{fs, os::unix::net::UnixListener};

use lsyncd::control::frame::ErrorKind;

use crate::{
    fake_daemon::{FakeDaemon, Reaction},
    tool::run,
};

#[test]
fn a_late_answer_is_not_waited_for() {
    let daemon = FakeDaemon::start(Reaction::Silence);
    let result = run(&daemon.socket, &["status", "--answer-timeout", "0.05"]);
    result.fails(2, "no answer within 0.05 seconds at ");
}

#[test]
fn an_incomplete_answer_is_a_failure() {
    let daemon = FakeDaemon::start(Reaction::Send(b"{\"ok\":{\"time\":".to_vec()));
    run(&daemon.socket, &["status"]).fails(2, "closed the connection before its answer");
    let daemon = FakeDaemon::start(Reaction::Send(Vec::new()));
    run(&daemon.socket, &["flush"]).fails(2, "closed the connection before its answer");
}

#[test]
fn an_answer_of_something_else_is_unknown() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"\n",
        b"\xff\xfe\n",
        b"{}\n",
        b"{\"ok\":null}\n",
        b"{\"ok\":{}}\n",
    ] {
        let daemon = FakeDaemon::start(Reaction::Send(garbage.to_vec()));
        run(&daemon.socket, &["status"]).fails(3, "not an answer of lsyncd: ");
    }
}

#[test]
fn an_endless_line_is_given_up() {
    let daemon = FakeDaemon::start(Reaction::Endless);
    run(&daemon.socket, &["verify"]).fails(3, "the answer is longer than 67108864 bytes");
}

#[test]
fn refusals_have_a_reason_and_an_exit_code() {
    for (kind, code, text) in [
        (ErrorKind::UnsupportedVersion, 3, "another version of the protocol"),
        (ErrorKind::NotPermitted, 3, "use the control socket"),
        (ErrorKind::NoSuchSync, 3, "lsyncctl: the reason\n"),
        (ErrorKind::InvalidRequest, 3, "lsyncctl: the reason\n"),
        (ErrorKind::Busy, 2, "lsyncctl: the reason\n"),
        (ErrorKind::Exiting, 2, "lsyncctl: the reason\n"),
        (ErrorKind::NotApplicable, 2, "lsyncctl: the reason\n"),
        (ErrorKind::Failed, 2, "lsyncctl: the reason\n"),
    ] {
        let daemon = FakeDaemon::start(Reaction::refusal(kind, "the reason"));
        run(&daemon.socket, &["status"]).fails(code, text);
    }
    let daemon = FakeDaemon::start(Reaction::refusal(ErrorKind::Busy, "a\x1b[2J"));
    run(&daemon.socket, &["status"]).fails(2, "a\\u{1b}[2J");
}

#[test]
fn a_daemon_that_died_is_told_from_a_missing_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lsyncd.sock");
    run(&socket, &["status"]).fails(2, "does not exist; start lsyncd");
    drop(UnixListener::bind(&socket).unwrap());
    run(&socket, &["status"]).fails(2, "it died and left its socket behind");
    let file = directory.path().join("file.sock");
    fs::write(&file, "").unwrap();
    assert_eq!(run(&file, &["status"]).code, Some(2));
    let long = directory.path().join("a".repeat(200));
    run(&long, &["status"]).fails(2, "the connection failed: ");
}
