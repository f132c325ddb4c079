//! A network between a daemon and a server, on which things happen.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How often it is looked whether a connection was cut.
const GLANCE: Duration = Duration::from_millis(20);

/// How a network is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// All passes at once.
    Fine,
    /// All passes, so much later.
    Slow(Duration),
    /// Nothing passes. Connections stay, and new ones are taken.
    Stalled,
    /// So many bytes pass, and then nothing.
    StallsAfter(u64),
    /// Who comes is sent away.
    Refusing,
}

/// A port that leads to another one, as long as this is not dropped.
#[derive(Debug)]
pub(crate) struct Network {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    ended: bool,
    /// How many came.
    callers: usize,
    /// How often all connections were ended.
    cuts: usize,
}

impl Network {
    /// One that leads to `port` of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = State { weather: Weather::Fine, ended: false, callers: 0, cuts: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || for_thread.serve(&listener, port));
        Self { port: own, shared }
    }

    /// The port through which it is entered.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather.
    pub(crate) fn set(&self, weather: Weather) {
        self.shared.lock().weather = weather;
        self.shared.changed.notify_all();
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// How many came so far, also those that were sent away.
    pub(crate) fn callers(&self) -> usize {
        self.shared.lock().callers
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        self.shared.cut();
        // Whoever waits for a caller has to see it.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.lock().cuts += 1;
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Self>, listener: &TcpListener, port: u16) {
        while let Ok((caller, _)) = listener.accept() {
            let mut state = self.lock();
            state.callers += 1;
            if state.ended {
                return;
            }
            if state.weather == Weather::Refusing {
                continue;
            }
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            for (from, to) in [(&caller, &server), (&server, &caller)] {
                // Threads that wait for nothing else see a cut. It closes both ends, as what comes
                // later is refused then.
                let [from, to] = [from, to].map(|stream| stream.try_clone().unwrap());
                from.set_read_timeout(Some(GLANCE)).unwrap();
                to.set_write_timeout(Some(GLANCE)).unwrap();
                self.lead(from, to, state.cuts);
            }
        }
    }

    /// Brings what comes on one side to the other, until the next cut after so many.
    fn lead(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream, cuts: usize) {
        let (arrive, arrived) = mpsc::channel::<(Instant, Vec<u8>)>();
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
                if arrive.send((Instant::now(), bytes)).is_err() {
                    break;
                }
            }
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            for (at, bytes) in arrived {
                let mut rest = &*bytes;
                while !rest.is_empty() {
                    if !shared.may_pass(at, rest.len() as u64, cuts) {
                        return;
                    }
                    match to.write(rest) {
                        Ok(length) => rest = &rest[length..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    }
                }
            }
            // The other direction goes on for a while.
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    /// Waits until what came at that time may go on; `false` if there was another cut after `cuts`.
    fn may_pass(&self, came: Instant, length: u64, cuts: usize) -> bool {
        let mut state = self.lock();
        loop {
            if state.cuts != cuts {
                return false;
            }
            let wait = match &mut state.weather {
                Weather::Fine | Weather::Refusing => return true,
                Weather::Slow(delay) => match delay.checked_sub(came.elapsed()) {
                    None | Some(Duration::ZERO) => return true,
                    wait => wait,
                },
                Weather::StallsAfter(left) if *left >= length => {
                    *left -= length;
                    return true;
                }
                Weather::Stalled | Weather::StallsAfter(_) => None,
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

/// A test on a network that lets all pass would prove nothing.
#[test]
fn the_weather_is_felt() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let network = Network::to(server.local_addr().unwrap().port());
    let call = || {
        let caller = TcpStream::connect((Ipv4Addr::LOCALHOST, network.port())).unwrap();
        (caller, server.accept().unwrap().0)
    };
    let (mut here, mut there) = call();
    let mut pass = |text: &[u8]| {
        let mut heard = vec![0; text.len()];
        here.write_all(text).unwrap();
        there.read_exact(&mut heard).map(|()| heard == text)
    };
    assert!(pass(b"fine").unwrap());
    network.set(Weather::Slow(Duration::from_millis(30)));
    let began = Instant::now();
    assert!(pass(b"slow").unwrap());
    assert!(began.elapsed() >= Duration::from_millis(30));
    network.set(Weather::StallsAfter(4));
    assert!(pass(b"four").unwrap());
    here.write_all(b"later").unwrap();
    there.set_nonblocking(true).unwrap();
    assert!(there.read(&mut [0; 8]).is_err(), "nothing has passed");
    there.set_nonblocking(false).unwrap();
    network.set(Weather::Fine);
    let mut heard = [0; 5];
    there.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"later");
    network.cut();
    assert!(matches!(here.read(&mut heard), Ok(0) | Err(_)));
    assert!(matches!(there.read(&mut heard), Ok(0) | Err(_)));
    assert_eq!(network.callers(), 1);
    network.set(Weather::Refusing);
    let mut away = TcpStream::connect((Ipv4Addr::LOCALHOST, network.port())).unwrap();
    assert!(matches!(away.read(&mut heard), Ok(0) | Err(_)));
}
