//! Tests of the sockets of each system.

use std::net::TcpListener;

use crate::sockets::listening;

#[test]
fn a_listener_is_found_while_it_lives() {
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(listening(&[port]), [port]);
    assert_eq!(listening(&[]), [0; 0]);
    drop((listener, other));
}
