//! Tests of the sockets against real clients.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use super::{
    clients::{MAX_CLIENTS, MAX_CLIENTS_OF_USER},
    *,
};
use crate::control::{
    frame::{MAX_REQUEST, RequestFrame},
    request::Selection,
};

/// A served socket whose handler answers each request with its own JSON text.
struct Fixture {
    dir: tempfile::TempDir,
    socket: ControlSocket,
}

impl Fixture {
    fn new(is_read_only: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/control.sock");
        let handler: RequestHandler = Arc::new(|ControlRequest { request, reply, .. }| {
            if request != Request::Stop {
                reply.send(Answer::Ok(request));
            }
        });
        let spec = SocketSpec { path, group: None, is_read_only };
        let socket = ControlSocket::serve(&spec, handler).unwrap();
        Self { dir, socket }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket.path()).unwrap()
    }

    fn ask(&self, line: &[u8]) -> String {
        let mut stream = self.connect();
        // A client that is refused has its answer before it asks.
        if let Err(error) = stream.write_all(line) {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }
}

#[test]
fn requests_are_answered_in_order_on_one_connection() {
    let fixture = Fixture::new(false);
    let mut stream = fixture.connect();
    let ask = |request| to_line(&RequestFrame::new(request));
    let pause = Request::Pause(Selection { sync: Some("a".into()), path: None });
    stream.write_all(&[ask(Request::Metrics), ask(pause), ask(Request::Stop)].concat()).unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().take(3).map(Result::unwrap).collect();
    assert_eq!(lines[0], r#"{"ok":{"command":"metrics"}}"#);
    assert_eq!(lines[1], r#"{"ok":{"command":"pause","sync":"a"}}"#);
    // A request that is dropped is answered, too.
    assert!(lines[2].starts_with(r#"{"error":{"kind":"exiting""#), "{}", lines[2]);
}

#[test]
fn invalid_requests_are_refused_with_the_reason() {
    let fixture = Fixture::new(false);
    for (line, kind) in [
        (&b"hello\n"[..], "invalid_request"),
        (b"\xff\n", "invalid_request"),
        (b"{}\n", "invalid_request"),
        (b"{\"version\":2,\"command\":\"new\"}\n", "unsupported_version"),
        (b"{\"version\":1,\"command\":\"new\"}\n", "invalid_request"),
        (b"{\"version\":1,\"command\":\"metrics\",\"sycn\":\"a\"}\n", "invalid_request"),
        (&vec![b'x'; MAX_REQUEST + 1], "invalid_request"),
    ] {
        let answer = fixture.ask(line);
        assert!(answer.contains(&format!(r#""kind":"{kind}""#)), "{answer}");
    }
}

#[test]
fn a_read_only_socket_refuses_what_changes_something() {
    let fixture = Fixture::new(true);
    let ask = |request| fixture.ask(&to_line(&RequestFrame::new(request)));
    assert!(ask(Request::Reload).contains("not_permitted"));
    assert!(ask(Request::Verify(Selection::default())).contains("not_permitted"));
    assert!(ask(Request::Metrics).contains("ok"));
}

#[test]
fn a_socket_is_private_and_removed_at_the_end() {
    let fixture = Fixture::new(false);
    let path = fixture.socket.path().to_owned();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let spec = SocketSpec { path: path.clone(), group: None, is_read_only: false };
    let error = ControlSocket::serve(&spec, Arc::new(|_| ())).unwrap_err();
    assert!(error.contains("another daemon serves it"), "{error}");
    let Fixture { dir, socket } = fixture;
    drop(socket);
    assert!(!path.exists());
    drop(dir);
}

/// The listener of a killed daemon is open for as long as a child has not executed its program.
#[test]
fn a_listener_that_is_about_to_vanish_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let former = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (is_asked, asked) = std::sync::mpsc::channel();
    let end = thread::spawn(move || {
        // The first attempt is seen before the listener goes.
        is_asked.send(former.accept().is_ok()).unwrap();
        drop(former);
    });
    let spec = SocketSpec { path, group: None, is_read_only: false };
    let socket = ControlSocket::serve(&spec, Arc::new(|_| ()));
    end.join().unwrap();
    assert!(asked.recv().unwrap());
    socket.unwrap();
}

#[test]
fn a_socket_that_was_left_over_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    let group = Some(rustix::process::getegid().as_raw());
    let spec = SocketSpec { path: path.clone(), group, is_read_only: true };
    let socket = ControlSocket::serve(&spec, Arc::new(|_| ())).unwrap();
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let other = SocketSpec { path: dir.path().join("precious"), ..spec.clone() };
    fs::write(&other.path, "x").unwrap();
    let error = ControlSocket::serve(&other, Arc::new(|_| ())).unwrap_err();
    assert!(error.contains("something else is there"), "{error}");
    assert_eq!(fs::read(&other.path).unwrap(), b"x");
    let long = SocketSpec { path: dir.path().join("x".repeat(120)), ..spec };
    let error = ControlSocket::serve(&long, Arc::new(|_| ())).unwrap_err();
    assert!(error.contains("too long"), "{error}");
    drop(socket);
}

#[test]
fn one_user_cannot_take_all_places_of_a_read_only_socket() {
    let fixture = Fixture::new(true);
    let ask = to_line(&RequestFrame::new(Request::Metrics));
    let clients: Vec<_> = (0..MAX_CLIENTS_OF_USER)
        .map(|_| {
            let mut client = BufReader::new(fixture.connect());
            client.get_mut().write_all(&ask).unwrap();
            client.read_line(&mut String::new()).unwrap();
            client
        })
        .collect();
    assert!(fixture.ask(b"").contains("busy"));
    drop(clients);
}

#[test]
fn too_many_clients_are_refused() {
    let fixture = Fixture::new(false);
    let ask = to_line(&RequestFrame::new(Request::Metrics));
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut client = BufReader::new(fixture.connect());
        client.get_mut().write_all(&ask).unwrap();
        client.read_line(&mut String::new()).unwrap();
        clients.push(client);
    }
    assert!(fixture.ask(b"").contains("busy"));
    drop(clients.pop());
    // The place of a client is free as soon as its thread has noticed the end.
    while fixture.ask(&ask).contains("busy") {}
}

#[test]
fn of_daemons_that_start_at_once_only_one_gets_the_path() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let spec = SocketSpec {
            path: dir.path().join(format!("{round}/s.sock")),
            group: None,
            is_read_only: false,
        };
        let all = std::sync::Barrier::new(8);
        let handler: RequestHandler = Arc::new(|_| ());
        let sockets: Vec<_> = thread::scope(|scope| {
            let serve = || {
                all.wait();
                ControlSocket::serve(&spec, Arc::clone(&handler))
            };
            let daemons: Vec<_> = (0..8).map(|_| scope.spawn(serve)).collect();
            daemons.into_iter().map(|daemon| daemon.join().unwrap()).collect()
        });
        let refused = sockets.iter().filter_map(|socket| socket.as_ref().err());
        assert!(refused.clone().all(|why| why.contains("another daemon serves it")), "{sockets:?}");
        assert_eq!(refused.count(), 7, "{sockets:?}");
        assert!(is_served(&spec.path));
    }
}
