//! Sockets of this machine.

use std::fs;

/// Returns those of these TCP ports that have a listener on this machine: `proc_net(5)`.
#[must_use]
pub fn listening(ports: &[u16]) -> Vec<u16> {
    const LISTEN: &str = "0A";
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            let port = local.and_then(|local| local.rsplit_once(':'));
            let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            found.extend(port.filter(|port| state == Some(LISTEN) && ports.contains(port)));
        }
    }
    found
}
