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
    http::{get, request},
    server::{Place, TOKEN},
};

/// A running program. It ends when it is dropped.
struct ServingTool {
    child: Child,
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
        let mut child = command(socket, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            let line = lines.last().unwrap();
            let address = line.strip_prefix("http://").and_then(|it| it.split('/').next());
            if let Some(address) = address {
                let address = address.parse().unwrap();
                return Self { child, lines, address };
            }
        }
        panic!("it did not start: {lines:?}");
    }
}

impl Drop for ServingTool {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
fn the_daemon_contains_no_http() {
    let contains_tokio = |program: &str| {
        let bytes = fs::read(program).unwrap();
        bytes.windows(b"/tokio-1.".len()).any(|part| part == b"/tokio-1.")
    };
    assert!(contains_tokio(env!("CARGO_BIN_EXE_lsyncctl")));
    assert!(!contains_tokio(env!("CARGO_BIN_EXE_lsyncd")));
}
