//! The program itself: `lsyncctl serve`.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use lsyncd::control::{
    request::{Request, Selection},
    status::SyncState,
};

use crate::{
    example::{document, sync},
    fake_daemon::{ScriptedDaemon, wait_until},
    http::{get, request},
    server::{Place, TOKEN},
};

/// A process that ends when it is dropped.
struct EndedOnDrop(Child);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A running program.
struct ServingTool {
    _process: EndedOnDrop,
    lines: Vec<String>,
    address: SocketAddr,
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncctl"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--socket"]).arg(socket).args(arguments);
    command.stdin(Stdio::null());
    command
}

impl ServingTool {
    fn start(socket: &Path, arguments: &[&str]) -> Self {
        let child = command(socket, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = EndedOnDrop(child);
        let mut lines = Vec::new();
        for line in BufReader::new(process.0.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            let line = lines.last().unwrap();
            let address = line.strip_prefix("http://").and_then(|it| it.split('/').next());
            if let Some(address) = address {
                let address = address.parse().unwrap();
                return Self { _process: process, lines, address };
            }
        }
        panic!("it did not start: {lines:?}");
    }
}

#[test]
fn the_program_shows_the_daemon_of_either_socket() {
    let place = Place::new();
    let _daemon = place.daemon(document(vec![sync("web", SyncState::InSync)]));
    for socket in [place.control(), place.status()] {
        let tool = ServingTool::start(&socket, &[]);
        assert_eq!(tool.lines, [format!("http://{}/ (read-only)", tool.address)]);
        assert_eq!(get(tool.address, "/healthz").status, 200);
    }
}

#[test]
fn a_token_is_printed_once_or_read_from_its_file() {
    let place = Place::new();
    let daemon = place.daemon(document(vec![sync("web", SyncState::InSync)]));
    let pause = |tool: &ServingTool, token: &str| {
        let token = format!("Bearer {token}");
        let fields = [("authorization", token.as_str())];
        request(tool.address, "POST", "/control/pause", &fields, r#"{"all":true}"#).status
    };
    let tool = ServingTool::start(&place.control(), &["--control"]);
    let token = tool.lines[0].strip_prefix("token: ").unwrap();
    assert_eq!(pause(&tool, token), 200);
    assert_eq!(daemon.next_request(), Request::Pause(Selection::default()));
    place.token();
    let file = place.file("token", TOKEN).display().to_string();
    let tool = ServingTool::start(&place.control(), &["--control", "--token-file", &file]);
    assert_eq!(tool.lines, [format!("http://{}/ (with control)", tool.address)]);
    assert_eq!(pause(&tool, token), 401);
    assert_eq!(pause(&tool, TOKEN), 200);
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let place = Place::new();
    let file = place.file("open-token", TOKEN);
    let mode: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&file, mode).unwrap();
    let file = file.display().to_string();
    let Output { status, stderr, .. } =
        command(&place.control(), &["--control", "--token-file", &file]).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains(&file) && text.contains("chmod 600"), "{text}");
}

#[test]
fn a_missing_read_only_socket_is_reported_with_the_setting() {
    let place = Place::new();
    let control = place.control();
    let _daemon = ScriptedDaemon::new(document(Vec::new()), &[(&control, false)]);
    let mut child =
        command(&control, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let _process = EndedOnDrop(child);
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("lsyncd.status.sock: set socketGroup"), "{line}");
}

#[test]
fn a_real_daemon_is_shown() {
    let place = Place::new();
    for name in ["source", "target"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    place.file("source/file", "content");
    let group = rustix::process::getegid().as_raw();
    let config = format!(
        "settings{{ nodaemon = true, socket = {:?}, socketGroup = \"{group}\" }}
         sync{{ default.direct, name = \"web\", source = {:?}, target = {:?} }}",
        place.control(),
        place.path("source"),
        place.path("target")
    );
    let config = place.file("lsyncd.conf.lua", &config);
    let daemon = Command::new(env!("CARGO_BIN_EXE_lsyncd"))
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _daemon = EndedOnDrop(daemon);
    let tool = ServingTool::start(&place.control(), &[]);
    let in_sync = |line: &str| {
        line.starts_with("lsyncd_sync_state{sync=\"web\",")
            && line.ends_with(",state=\"in_sync\"} 1")
    };
    wait_until("the first transfer", || get(tool.address, "/metrics").body.lines().any(in_sync));
    assert_eq!(fs::read_to_string(place.path("target/file")).unwrap(), "content");
    wait_until("a batch in the history", || {
        let batches = get(tool.address, "/history.json?sync=web").json()["batches"].take();
        batches.as_array().is_some_and(|batches| !batches.is_empty())
    });
}

#[test]
fn the_daemon_contains_no_http() {
    // Its code, not its debugging information: that of the library may come along.
    let contains_tokio = |program: &str| {
        let symbols = Command::new("nm").args(["--defined-only", program]).output().unwrap();
        assert!(symbols.status.success(), "{symbols:?}");
        String::from_utf8(symbols.stdout).unwrap().contains("tokio")
    };
    assert!(contains_tokio(env!("CARGO_BIN_EXE_lsyncctl")));
    assert!(!contains_tokio(env!("CARGO_BIN_EXE_lsyncd")));
}
