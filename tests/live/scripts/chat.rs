//! The example that connects to a chat server.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use super::RunningExample;
use crate::support::{Sandbox, TestDaemon};

/// A connection at the server.
struct ChatConnection {
    stream: TcpStream,
    lines: Lines<BufReader<TcpStream>>,
}

impl ChatConnection {
    /// Waits for a connection.
    #[track_caller]
    fn accept(daemon: &TestDaemon, listener: &TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let mut found = None;
        daemon.wait_until("it connects", || {
            found = listener.accept().ok();
            found.is_some()
        });
        let (stream, _) = found.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        Self { stream, lines }
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.lines.next().unwrap().unwrap(), line);
    }

    fn tell(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Completes the login and the join of the channel.
    #[track_caller]
    fn welcome(&mut self) {
        self.expect("NICK lsyncd");
        self.expect("USER lsyncd 0 * :lsyncd");
        // Several lines in one write, and one line in two writes.
        self.tell(":irc 020 * :wait\r\n:irc 001 lsyncd :welcome\r\nPING :one\r\nPI");
        self.expect("JOIN #changes");
        self.expect("PONG :one");
        self.tell("NG :two\r\n");
        self.expect("PONG :two");
    }
}

#[test]
fn changes_are_announced_in_a_channel() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let variables = [("HOST", "127.0.0.1"), ("PORT", &*port), ("RETRY", "0.1")];
    let example = RunningExample::start(&sandbox, "chat.lua", &variables);
    let mut guest = ChatConnection::accept(&example.daemon, &listener);
    guest.welcome();
    fs::create_dir(example.source.join("odd\r\nQUIT")).unwrap();
    guest.expect("PRIVMSG #changes :Create odd??QUIT/");
    drop(guest);
    let mut guest = ChatConnection::accept(&example.daemon, &listener);
    guest.welcome();
    fs::create_dir(example.source.join("later")).unwrap();
    guest.expect("PRIVMSG #changes :Create later/");
}
