//! A simulated network between a daemon and a server, with faults.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Interval between two checks whether a connection was cut.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The condition of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkCondition {
    /// Data passes without delay.
    Normal,
    /// Data passes with this latency.
    Delayed(Duration),
    /// No data passes. Connections stay open, and new ones are accepted.
    Stalled,
    /// This number of bytes passes, then none.
    StallsAfter(u64),
    /// New connections are closed.
    Refusing,
}

/// A port that is forwarded to another one until this is dropped.
#[derive(Debug)]
pub(crate) struct TestNetwork {
    port: u16,
    shared: Arc<SharedNetwork>,
}

#[derive(Debug)]
struct SharedNetwork {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    condition: NetworkCondition,
    shut_down: bool,
    /// Number of connections so far.
    connections: usize,
    /// Number of times that all connections were closed.
    cuts: usize,
}

impl TestNetwork {
    /// Creates a network that leads to a local port.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = State {
            condition: NetworkCondition::Normal,
            shut_down: false,
            connections: 0,
            cuts: 0,
        };
        let shared = Arc::new(SharedNetwork { state: Mutex::new(state), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || for_thread.serve(&listener, port));
        Self { port: own, shared }
    }

    /// Returns the port of its entrance.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Changes the condition.
    pub(crate) fn set(&self, condition: NetworkCondition) {
        self.shared.lock().condition = condition;
        self.shared.changed.notify_all();
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Returns the number of connections so far, including refused ones.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        self.shared.lock().shut_down = true;
        self.shared.changed.notify_all();
        self.shared.cut();
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl SharedNetwork {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.lock().cuts += 1;
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Self>, listener: &TcpListener, port: u16) {
        while let Ok((client, _)) = listener.accept() {
            let mut state = self.lock();
            state.connections += 1;
            if state.shut_down {
                return;
            }
            if state.condition == NetworkCondition::Refusing {
                continue;
            }
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            for (from, to) in [(&client, &server), (&server, &client)] {
                // Timeouts let the threads notice a cut, which closes both ends, so that later data
                // is refused.
                let [from, to] = [from, to].map(|stream| stream.try_clone().unwrap());
                from.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
                to.set_write_timeout(Some(POLL_INTERVAL)).unwrap();
                self.forward(from, to, state.cuts);
            }
        }
    }

    /// Forwards data from one side to the other, until the number of cuts exceeds `cuts`.
    fn forward(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream, cuts: usize) {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while shared.lock().cuts == cuts {
                let bytes = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => buffer[..length].to_vec(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(_) => break,
                };
                if sender.send((Instant::now(), bytes)).is_err() {
                    break;
                }
            }
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            for (received_at, bytes) in receiver {
                let mut rest = &*bytes;
                while !rest.is_empty() {
                    if !shared.wait_to_pass(received_at, rest.len() as u64, cuts) {
                        return;
                    }
                    match to.write(rest) {
                        Ok(length) => rest = &rest[length..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    }
                }
            }
            // The other direction stays open.
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    /// Waits until data that was received at that time may pass. Returns false after a further cut.
    fn wait_to_pass(&self, received_at: Instant, length: u64, cuts: usize) -> bool {
        let mut state = self.lock();
        loop {
            if state.cuts != cuts {
                return false;
            }
            let wait = match &mut state.condition {
                NetworkCondition::Normal | NetworkCondition::Refusing => return true,
                NetworkCondition::Delayed(delay) => {
                    match delay.checked_sub(received_at.elapsed()) {
                        None | Some(Duration::ZERO) => return true,
                        wait => wait,
                    }
                }
                NetworkCondition::StallsAfter(left) if *left >= length => {
                    *left -= length;
                    return true;
                }
                NetworkCondition::Stalled | NetworkCondition::StallsAfter(_) => None,
            };
            let again = match wait {
                None => self.changed.wait(state),
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    waited.map(|it| it.0).map_err(|it| PoisonError::new(it.into_inner().0))
                }
            };
            state = again.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tests on a network without effect would prove nothing.
#[test]
fn network_conditions_take_effect() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let network = TestNetwork::to(server.local_addr().unwrap().port());
    let connect = || {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, network.port())).unwrap();
        (client, server.accept().unwrap().0)
    };
    let (mut here, mut there) = connect();
    let mut pass = |text: &[u8]| {
        let mut received = vec![0; text.len()];
        here.write_all(text).unwrap();
        there.read_exact(&mut received).map(|()| received == text)
    };
    assert!(pass(b"fine").unwrap());
    network.set(NetworkCondition::Delayed(Duration::from_millis(30)));
    let began = Instant::now();
    assert!(pass(b"slow").unwrap());
    assert!(began.elapsed() >= Duration::from_millis(30));
    network.set(NetworkCondition::StallsAfter(4));
    assert!(pass(b"four").unwrap());
    here.write_all(b"later").unwrap();
    there.set_nonblocking(true).unwrap();
    assert!(there.read(&mut [0; 8]).is_err(), "nothing has passed");
    there.set_nonblocking(false).unwrap();
    network.set(NetworkCondition::Normal);
    let mut received = [0; 5];
    there.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"later");
    network.cut();
    assert!(matches!(here.read(&mut received), Ok(0) | Err(_)));
    assert!(matches!(there.read(&mut received), Ok(0) | Err(_)));
    assert_eq!(network.connections(), 1);
    network.set(NetworkCondition::Refusing);
    let mut away = TcpStream::connect((Ipv4Addr::LOCALHOST, network.port())).unwrap();
    assert!(matches!(away.read(&mut received), Ok(0) | Err(_)));
}
