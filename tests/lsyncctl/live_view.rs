//! `status --watch` in a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use lsyncd::control::status::SyncState;
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    documents::{hostile, status, sync},
    fake_daemon::{FakeDaemon, Reaction},
    tool::{command, run},
};

/// Time limit of a condition. Only a failing test reaches it.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The tool in a terminal.
struct TerminalSession {
    child: Child,
    master: File,
    /// The other side, kept open so that its modes can be read at the end.
    terminal: OwnedFd,
    output: Receiver<Vec<u8>>,
    /// Everything that was shown.
    shown: String,
}

impl TerminalSession {
    fn start(daemon: &FakeDaemon, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        let mut command = command(arguments);
        command.env("LSYNCD_SOCKET", &daemon.socket).env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        command.stderr(Stdio::inherit());
        resize_terminal(&terminal, 60);
        let child = command.spawn().unwrap();
        let master = File::from(master);
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, terminal, output, shown: String::new() }
    }

    /// Waits for a text, and forgets everything up to it.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let Ok(bytes) = self.output.recv_timeout(TIMEOUT) else {
                panic!("waited in vain for {text:?}: {:?}", self.shown)
            };
            self.shown += &String::from_utf8_lossy(&bytes);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the tool, which restores the terminal.
    #[track_caller]
    fn ends(mut self) {
        self.expect("\x1b[?25h\x1b[?1049l");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    }
}

fn resize_terminal(terminal: &OwnedFd, columns: u16) {
    let size = Winsize { ws_row: 10, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn the_view_follows_the_daemon_and_ends_with_q() {
    let state = Arc::new(Mutex::new(SyncState::Pending));
    let shared = Arc::clone(&state);
    let daemon =
        FakeDaemon::with(move |_| Reaction::ok(status(vec![sync("web", *shared.lock().unwrap())])));
    let mut session = TerminalSession::start(&daemon, &["status", "--watch=0.1"]);
    session.expect("\x1b[?1049h\x1b[?25l");
    session.expect("\x1b[32mpending\x1b[0m");
    session.expect("q: quit");
    *state.lock().unwrap() = SyncState::Held;
    session.expect("\x1b[1;31mheld\x1b[0m");
    session.expect("q: quit");
    // Not an end: a function key, and another key.
    session.master.write_all(b"\x1b[A").unwrap();
    session.master.write_all(b"x").unwrap();
    *state.lock().unwrap() = SyncState::InSync;
    session.expect("in sync");
    session.master.write_all(b"q").unwrap();
    session.ends();
}

#[test]
fn the_view_fits_a_resized_terminal() {
    let daemon = FakeDaemon::start(Reaction::ok(status(vec![hostile()])));
    // No second answer comes in this test: only the signal redraws.
    let mut session = TerminalSession::start(&daemon, &["status", "--watch=1000"]);
    let frame = session.expect("q: quit");
    assert!(!frame.contains("TARGET"), "{frame:?}");
    assert_eq!(frame.matches("\x1b[K").count(), 9, "{frame:?}");
    assert!(!frame.contains('\u{9b}') && !frame.contains('\x07'), "{frame:?}");
    resize_terminal(&session.terminal, 250);
    session.signal(Signal::WINCH);
    session.expect("TARGET");
    session.expect("q: quit");
    session.signal(Signal::TERM);
    session.ends();
}

#[test]
fn control_c_ends_the_view_while_the_daemon_hangs() {
    let daemon = FakeDaemon::start(Reaction::Silence);
    let mut session = TerminalSession::start(&daemon, &["status", "--watch"]);
    session.expect("\x1b[?25l");
    session.master.write_all(b"\x03").unwrap();
    session.ends();
}

#[test]
fn a_daemon_that_is_away_is_shown() {
    let daemon = FakeDaemon::start(Reaction::Exit(Vec::new()));
    let mut session = TerminalSession::start(&daemon, &["status", "--watch=0.1"]);
    session.expect("no lsyncd is listening at ");
    session.signal(Signal::INT);
    session.ends();
}

#[test]
fn the_view_needs_a_terminal() {
    let daemon = FakeDaemon::start(Reaction::Silence);
    run(&daemon.socket, &["status", "--watch"]).fails(3, "--watch needs a terminal");
}
