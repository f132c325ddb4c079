//! The system's log: the socket at which it listens (RFC 3164, as the C library speaks it).

use std::{os::unix::net::UnixDatagram, time::Duration};

use super::{
    Category,
    text::{self, Message},
};

/// Where it listens, be it syslogd or the journal.
const SOCKET: &str = "/dev/log";

/// How long a message waits for whoever listens. A mirror must not hang because a log does.
const PATIENCE: Duration = Duration::from_millis(200);

/// The names of facilities and their numbers (`syslog(3)`).
const FACILITIES: [(&str, u8); 21] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("security", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Whether there is a facility of this name, in letters of any case.
#[must_use]
pub fn is_facility(name: &str) -> bool {
    number(name).is_some()
}

fn number(name: &str) -> Option<u8> {
    let found = FACILITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, number)| *number)
}

/// How messages are marked in the system's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The name of a facility. [`is_facility`] tells which there are.
    pub facility: String,
    /// The name of the sender.
    pub ident: String,
}

impl Default for Marks {
    fn default() -> Self {
        Self { facility: "user".into(), ident: "lsyncd".into() }
    }
}

/// The way to the system's log.
#[derive(Debug, Default)]
pub(super) struct Syslog {
    pub(super) marks: Marks,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// Sends a message. If nobody listens it is lost: there is no other place for it.
    pub(super) fn send(&mut self, message: Message<'_>) {
        let Marks { facility, ident } = &self.marks;
        let priority = number(facility).unwrap_or(1) * 8 + severity(message.category);
        let now = text::now();
        let date = now.strftime("%b %e %T");
        let message = format!("<{priority}>{date} {ident}: {}", message.for_syslog());
        // Whoever listened may have been started anew since the last message.
        for _ in 0..2 {
            let socket = self.socket.take().or_else(connect);
            if let Some(socket) = socket.filter(|socket| socket.send(message.as_bytes()).is_ok()) {
                self.socket = Some(socket);
                return;
            }
        }
    }
}

impl Syslog {
    /// Whether somebody listens.
    pub(super) fn is_there(&mut self) -> bool {
        self.socket = self.socket.take().or_else(connect);
        self.socket.is_some()
    }
}

/// The number of how important it is (`syslog(3)`).
fn severity(category: Category) -> u8 {
    match category {
        Category::Error => 3,
        Category::Warn => 4,
        Category::Debug("Exec") => 7,
        Category::Normal | Category::Debug(_) => 5,
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(SOCKET).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facility_is_known_in_letters_of_any_case() {
        for name in ["daemon", "DAEMON", "Local7", "user", "security", "authpriv", "cron"] {
            assert!(is_facility(name), "{name}");
        }
        for name in ["", "3", "foo", "local8", "daemon "] {
            assert!(!is_facility(name), "{name}");
        }
    }
}
