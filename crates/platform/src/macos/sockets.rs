//! Sockets of this machine.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// Time for the connection to a port of this machine.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Returns those of these TCP ports that have a listener on this machine. The kernel offers no
/// stable list of them, so each port is connected to, once.
#[must_use]
pub fn listening(ports: &[u16]) -> Vec<u16> {
    let is_open = |port: &&u16| {
        let address = (Ipv4Addr::LOCALHOST, **port).into();
        TcpStream::connect_timeout(&address, TIMEOUT).is_ok()
    };
    ports.iter().filter(is_open).copied().collect()
}
