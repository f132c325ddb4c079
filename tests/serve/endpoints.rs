//! The endpoints over HTTP.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
};

use lsyncd::{
    control::{
        request::{Request, Selection},
        status::SyncState,
    },
    ctl::serve::{ControlAccess, ServeOptions, Server},
};

use crate::{
    example::{batch, document, sync},
    fake_daemon::{ScriptedDaemon, wait_until},
    http::{EventStream, HttpAnswer, connect, get, request, send},
    server::{Place, TOKEN},
};

fn one() -> lsyncd::control::status::StatusDocument {
    document(vec![sync("web", SyncState::InSync)])
}

fn named(sync: &str) -> Selection {
    Selection { sync: Some(sync.to_owned()), path: None }
}

#[test]
fn all_files_of_the_page_have_security_headers() {
    let place = Place::new();
    let server = place.serve();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(server.address(), path);
        assert_eq!((answer.status, answer.field("content-type")), (200, content_type), "{path}");
        assert!(!answer.body.is_empty());
        let policy = answer.field("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert_eq!(answer.field("x-frame-options"), "DENY");
        assert_eq!(answer.field("referrer-policy"), "no-referrer");
    }
    assert_eq!(get(server.address(), "/other").status, 404);
    assert_eq!(get(server.address(), "/../etc/passwd").status, 404);
}

#[test]
fn the_state_is_that_of_the_daemon() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve();
    let answer = get(server.address(), "/status.json");
    assert_eq!(answer.field("content-type"), "application/json");
    let state = answer.json();
    assert_eq!(state["answers"], true);
    assert_eq!(state["control"], false);
    assert_eq!(state["status"]["syncs"][0]["state"], "in_sync");
    assert_eq!(get(server.address(), "/healthz").body, "ok\n");
    let metrics = get(server.address(), "/metrics");
    assert!(metrics.field("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(metrics.body.contains("\nlsyncd_up 1\n"), "{}", metrics.body);
    assert!(daemon.was_only_shown());
}

#[test]
fn a_daemon_that_is_gone_is_reported_and_its_return_too() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve();
    assert_eq!(get(server.address(), "/healthz").status, 200);
    daemon.stop();
    wait_until("the loss", || get(server.address(), "/healthz").status == 503);
    let metrics = get(server.address(), "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.ends_with("\nlsyncd_up 0\n"), "{}", metrics.body);
    let state = get(server.address(), "/status.json").json();
    assert_eq!(state["answers"], false);
    assert!(state["error"].as_str().unwrap().contains("lsyncd.status.sock"), "{state}");
    assert!(state["age"].as_f64().unwrap() > 0.0);
    let _daemon = place.daemon(one());
    wait_until("the return", || get(server.address(), "/healthz").status == 200);
}

#[test]
fn the_control_socket_is_asked_only_with_control() {
    let place = Place::new();
    let control = place.control();
    let _daemon = ScriptedDaemon::new(one(), &[(&control, false)]);
    let server = place.serve();
    assert_eq!(get(server.address(), "/healthz").status, 503);
    let server = place.serve_control();
    assert_eq!(get(server.address(), "/healthz").status, 200);
}

#[test]
fn names_that_are_not_permitted_are_refused() {
    let place = Place::new();
    let _daemon = place.daemon(one());
    let server = place.serve();
    let status =
        |host: &str| request(server.address(), "GET", "/status.json", &[("host", host)], "").status;
    assert_eq!(status("localhost"), 200);
    assert_eq!(status("mirror.example.com"), 200);
    assert_eq!(status("evil.example"), 421);
    assert_eq!(status("evil.example:80"), 421);
    let without = send(server.address(), b"GET /status.json HTTP/1.1\r\n\r\n");
    assert!(without.status >= 400, "{without:?}");
    let double =
        format!("GET /status.json HTTP/1.1\r\nhost: {0}\r\nhost: evil\r\n\r\n", "localhost");
    assert_eq!(send(server.address(), double.as_bytes()).status, 421);
}

#[test]
fn without_control_nothing_can_be_changed() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve();
    let token = format!("Bearer {TOKEN}");
    for path in ["/control/pause", "/control/release"] {
        let fields = [("authorization", token.as_str())];
        let answer = request(server.address(), "POST", path, &fields, r#"{"all":true}"#);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains("--control"), "{answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = request(server.address(), method, "/status.json", &[], "");
        assert_eq!((answer.status, answer.field("allow")), (405, "GET, HEAD"), "{method}");
    }
    assert!(daemon.was_only_shown());
}

/// Sends a control command with a token.
fn command(address: SocketAddr, name: &str, body: &str) -> HttpAnswer {
    let token = format!("Bearer {TOKEN}");
    let path = format!("/control/{name}");
    request(address, "POST", &path, &[("authorization", token.as_str())], body)
}

#[test]
fn commands_reach_the_daemon() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve_control();
    let check = |name: &str, body: &str, expected: Request| {
        let answer = command(server.address(), name, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["syncs"][0], "web");
        assert_eq!(daemon.next_request(), expected);
    };
    let body = r#"{"sync":"web"}"#;
    check("pause", body, Request::Pause(named("web")));
    check("resume", body, Request::Resume(named("web")));
    check("resync", body, Request::Resync(named("web")));
    check("release", body, Request::Release(named("web")));
    check("retry", body, Request::Retry(named("web")));
    check("pause", r#"{"all":true}"#, Request::Pause(Selection::default()));
    check(
        "flush",
        body,
        Request::Flush { selection: named("web"), also: Vec::new(), timeout: Some(15.0) },
    );
    let refused = command(server.address(), "pause", r#"{"sync":"other"}"#);
    assert_eq!((refused.status, refused.body.as_str()), (409, "there is no such sync\n"));
}

#[test]
fn a_command_needs_token_own_page_and_valid_body() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve_control();
    let address = server.address();
    let token = format!("Bearer {TOKEN}");
    let own = format!("http://{address}");
    let status = |fields: &[(&str, &str)]| {
        request(address, "POST", "/control/pause", fields, r#"{"sync":"web"}"#).status
    };
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[("authorization", "Bearer another-token-of-len")]), 401);
    let token = ("authorization", token.as_str());
    assert_eq!(status(&[token, ("origin", "http://evil.example")]), 403);
    assert_eq!(status(&[token, ("origin", "null")]), 403);
    assert_eq!(status(&[token, ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(status(&[token, ("host", "evil.example")]), 421);
    for body in ["", "{}", r#"{"sync":"a","all":true}"#, r#"{"sync":"a","x":1}"#, "[]", "nonsense"]
    {
        assert_eq!(command(address, "pause", body).status, 400, "{body}");
    }
    assert_eq!(command(address, "pause", &"x".repeat(100_000)).status, 413);
    assert_eq!(command(address, "stop", r#"{"all":true}"#).status, 404);
    assert_eq!(get(address, "/control/pause").status, 405);
    assert!(daemon.was_only_shown());
    assert_eq!(status(&[token, ("origin", &own), ("sec-fetch-site", "same-origin")]), 200);
    assert_eq!(status(&[token, ("origin", "https://mirror.example.com")]), 200);
}

#[test]
fn control_is_not_offered_to_the_network() {
    let place = Place::new();
    let access = ControlAccess { socket: place.control(), token: place.token() };
    let listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let options = ServeOptions { control: Some(access), listen, ..place.options() };
    let error = Server::start(options).unwrap_err();
    assert!(error.contains("unencrypted"), "{error}");
}

#[test]
fn an_occupied_address_is_an_error_with_its_name() {
    let place = Place::new();
    let first = place.serve();
    let options = ServeOptions { listen: first.address(), ..place.options() };
    let error = Server::start(options).unwrap_err();
    assert!(error.contains(&first.address().to_string()), "{error}");
}

#[test]
fn recent_batches_are_those_of_the_sync() {
    let place = Place::new();
    let daemon = place
        .daemon(document(vec![sync("web", SyncState::InSync), sync("a&b ü", SyncState::InSync)]));
    daemon.set_batches(vec![batch(1, "web", &["a"]), batch(2, "a&b ü", &["b"])]);
    let server = place.serve();
    let answer = get(server.address(), "/history.json?sync=a%26b%20%C3%BC&limit=5&other=1");
    assert_eq!(answer.json()["batches"][0]["number"], 2);
    assert_eq!(answer.json()["batches"].as_array().unwrap().len(), 1);
    let expected = Request::History { selection: named("a&b ü"), limit: Some(5) };
    assert_eq!(daemon.next_request(), expected);
    get(server.address(), "/history.json?limit=1000000");
    let expected = Request::History { selection: Selection::default(), limit: Some(100) };
    assert_eq!(daemon.next_request(), expected);
    daemon.stop();
    assert_eq!(get(server.address(), "/history.json").status, 502);
}

#[test]
fn the_lag_of_each_sync_is_kept() {
    let place = Place::new();
    let mut web = sync("web", SyncState::Pending);
    web.oldest_change = Some(3.25);
    let _daemon = place.daemon(document(vec![web, sync("b", SyncState::SettingUp)]));
    let server = place.serve();
    assert_eq!(get(server.address(), "/healthz").status, 200);
    let chart = get(server.address(), "/lag.json").json();
    assert_eq!(chart["seconds_per_point"], 180);
    assert_eq!(chart["syncs"][0]["sync"], "b");
    assert!(chart["syncs"][0]["points"][0].is_null());
    assert_eq!(chart["syncs"][1]["points"][0], 3.25);
}

#[test]
fn a_stream_tells_changes_and_signs_of_life() {
    let place = Place::new();
    let daemon = place.daemon(one());
    let server = place.serve();
    wait_until("an answer", || get(server.address(), "/healthz").status == 200);
    let mut stream = EventStream::open(server.address());
    assert_eq!(stream.next("status")["status"]["syncs"][0]["state"], "in_sync");
    assert_eq!(stream.next("tick")["answers"], true);
    daemon.set(document(vec![sync("web", SyncState::Held)]));
    assert_eq!(stream.next("status")["status"]["syncs"][0]["state"], "held");
    daemon.stop();
    assert_eq!(stream.next("status")["answers"], false);
}

#[test]
fn viewers_are_limited_and_do_not_hinder_others() {
    let place = Place::new();
    let _daemon = place.daemon(one());
    let server = place.serve();
    let address = server.address();
    // None of these reads anything.
    let mut viewers: Vec<EventStream> = (0..32).map(|_| EventStream::open(address)).collect();
    assert!(viewers.iter().all(|viewer| viewer.status == 200));
    assert_eq!(EventStream::open(address).status, 503);
    // These never finish their requests.
    let _idle: Vec<_> = (0..16).map(|_| connect(address)).collect();
    assert_eq!(get(address, "/healthz").status, 200);
    viewers.clear();
    wait_until("a free place", || EventStream::open(address).status == 200);
}

#[test]
fn idle_connections_give_way_to_requests() {
    let place = Place::new();
    let _daemon = place.daemon(one());
    let server = place.serve();
    let address = server.address();
    let mut idle: Vec<_> = (0..80).map(|_| connect(address)).collect();
    assert_eq!(get(address, "/healthz").status, 200);
    // The oldest ones only were closed, before their time was over.
    assert_eq!(idle[0].read(&mut [0]).unwrap(), 0);
    idle[79].set_nonblocking(true).unwrap();
    idle[60].set_nonblocking(true).unwrap();
    for number in [60, 79] {
        let found = idle[number].read(&mut [0]).unwrap_err();
        assert_eq!(found.kind(), ErrorKind::WouldBlock, "{number}");
    }
}

#[test]
fn requests_have_a_limited_size() {
    let place = Place::new();
    let server = place.serve();
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(100_000));
    let status = send(server.address(), long.as_bytes()).status;
    assert!(status == 414 || status == 431, "{status}");
    let fields = "x-field: y\r\n".repeat(200);
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    assert_eq!(send(server.address(), many.as_bytes()).status, 431);
    assert_eq!(send(server.address(), b"nonsense\r\n\r\n").status, 400);
}
