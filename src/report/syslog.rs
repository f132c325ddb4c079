//! Client of the syslog socket (RFC 3164, as the C library implements it).

use std::{os::unix::net::UnixDatagram, time::Duration};

use mirror_platform::places::SYSLOG_SOCKET;

use super::{
    Category,
    text::{self, LogMessage},
};

/// Time limit for sending a message. A blocked log must not block the mirrors.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// Names and numbers of the facilities (`syslog(3)`).
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

/// Returns true if there is a facility of this name, ignoring case.
#[must_use]
pub fn is_facility(name: &str) -> bool {
    number(name).is_some()
}

fn number(name: &str) -> Option<u8> {
    let found = FACILITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, number)| *number)
}

/// Facility and name of syslog messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogIdentity {
    /// Name of a facility; [`is_facility`] validates it.
    pub facility: String,
    /// Name of the sender.
    pub ident: String,
}

impl Default for SyslogIdentity {
    fn default() -> Self {
        Self { facility: "user".into(), ident: "lsyncd".into() }
    }
}

/// Connection to syslog.
#[derive(Debug, Default)]
pub(super) struct Syslog {
    pub(super) identity: SyslogIdentity,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// Sends a message. If no process listens, the message is lost: there is no other sink for it.
    pub(super) fn send(&mut self, message: LogMessage<'_>) {
        let SyslogIdentity { facility, ident } = &self.identity;
        let priority = number(facility).unwrap_or(1) * 8 + severity(message.category);
        let now = text::now();
        let date = now.strftime("%b %e %T");
        let message = format!("<{priority}>{date} {ident}: {}", message.for_syslog());
        // The receiver may have been restarted since the last message.
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
    /// Returns true if a process listens at the socket.
    pub(super) fn is_reachable(&mut self) -> bool {
        self.socket = self.socket.take().or_else(connect);
        self.socket.is_some()
    }
}

/// Returns the severity number (`syslog(3)`).
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
    socket.connect(SYSLOG_SOCKET).ok()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT)).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facility_names_are_case_insensitive() {
        for name in ["daemon", "DAEMON", "Local7", "user", "security", "authpriv", "cron"] {
            assert!(is_facility(name), "{name}");
        }
        for name in ["", "3", "foo", "local8", "daemon "] {
            assert!(!is_facility(name), "{name}");
        }
    }
}
