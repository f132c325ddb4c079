//! The clients of a socket: their number, their pace and their requests.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_platform::unix_socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{AnswerLine, AnswerSender, ControlRequest, HangupHook, RequestHandler};
use crate::{
    control::{
        frame::{Answer, ErrorKind, MAX_REQUEST, RequestError, RequestFrame, to_line},
        request::Request,
    },
    lock,
};

/// Maximum number of clients of one socket.
pub(super) const MAX_CLIENTS: usize = 32;

/// Maximum number of clients of one user at a read-only socket: none of them can keep the others
/// out.
pub(super) const MAX_CLIENTS_OF_USER: usize = 8;

/// Maximum number of users whose last request is remembered.
const MAX_USERS: usize = 256;

/// Minimum time between two requests of one user to a read-only socket.
const READ_ONLY_INTERVAL: Duration = Duration::from_millis(50);

/// Time after which a client that does nothing is disconnected.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Time in which a client has to read what it gets.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of checks whether a client that waits for an answer is still there.
const HANGUP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure to accept a client, such as a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Accepts clients for ever, and serves each one on a thread of its own.
pub(super) fn accept_clients(
    listener: &UnixListener,
    is_read_only: bool,
    handler: &RequestHandler,
) {
    let clients = Arc::new(ClientCounts::default());
    let per_user = if is_read_only { MAX_CLIENTS_OF_USER } else { MAX_CLIENTS };
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        // Without an answer all such clients count as one user.
        let user = unix_socket::peer_user(&stream).ok();
        let slot = ClientSlot::take(&clients, user, per_user);
        let client = Client { stream, user, is_read_only, handler: Arc::clone(handler) };
        let Some(slot) = slot else {
            client.refuse();
            continue;
        };
        // Without a thread the client is disconnected.
        let _ = thread::Builder::new().name("control-client".into()).spawn(move || {
            // A client that is gone needs nothing more.
            let _ = client.serve(&slot);
        });
    }
}

/// The clients by user.
type ClientCounts = Mutex<BTreeMap<Option<u32>, UserClients>>;

/// The clients of one user.
#[derive(Debug, Default)]
struct UserClients {
    count: usize,
    /// The earliest time of the next request to a read-only socket.
    next: Option<Instant>,
}

/// The place of one client among all.
struct ClientSlot {
    clients: Arc<ClientCounts>,
    user: Option<u32>,
}

impl ClientSlot {
    fn take(clients: &Arc<ClientCounts>, user: Option<u32>, per_user: usize) -> Option<Self> {
        let mut users = lock(clients);
        if users.len() >= MAX_USERS {
            users.retain(|_, it| it.count > 0);
        }
        let is_full = users.values().map(|it| it.count).sum::<usize>() >= MAX_CLIENTS;
        let clients_of_user = users.entry(user).or_default();
        if is_full || clients_of_user.count >= per_user {
            return None;
        }
        clients_of_user.count += 1;
        Some(Self { clients: Arc::clone(clients), user })
    }

    /// Returns the time until the user may send the next request, and reserves it.
    fn wait_for_turn(&self) -> Duration {
        let now = Instant::now();
        let mut users = lock(&self.clients);
        let next = &mut users.entry(self.user).or_default().next;
        let turn = next.unwrap_or(now).max(now);
        *next = Some(turn + READ_ONLY_INTERVAL);
        turn - now
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        if let Some(clients) = lock(&self.clients).get_mut(&self.user) {
            clients.count = clients.count.saturating_sub(1);
        }
    }
}

/// A client.
struct Client {
    stream: UnixStream,
    user: Option<u32>,
    is_read_only: bool,
    handler: RequestHandler,
}

impl Client {
    fn refuse(mut self) {
        let text = "too many clients; try again later";
        let answer = Answer::<()>::Error(RequestError::new(ErrorKind::Busy, text));
        // It must not delay the next client.
        if self.stream.set_nonblocking(true).is_ok() {
            let _ = self.stream.write(&to_line(&answer));
        }
    }

    /// Answers the requests of the client, one after the other, until it disconnects.
    fn serve(mut self, slot: &ClientSlot) -> io::Result<()> {
        self.stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
        self.stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut lines = RequestReader::default();
        loop {
            let Some(line) = lines.next(&mut self.stream)? else { return Ok(()) };
            if self.is_read_only {
                thread::sleep(slot.wait_for_turn());
            }
            let answer = match line.as_deref().map_err(Clone::clone).and_then(RequestFrame::parse) {
                Err(error) => to_line(&Answer::<()>::Error(error)),
                Ok(request) if self.is_read_only && !request.is_read_only() => {
                    let text = "this socket is read-only; use the control socket, as its owner";
                    to_line(&Answer::<()>::Error(RequestError::new(ErrorKind::NotPermitted, text)))
                }
                Ok(request) => {
                    let Some(answer) = self.ask(request) else { return Ok(()) };
                    answer
                }
            };
            self.stream.write_all(&answer)?;
            if line.is_err() {
                return Ok(());
            }
        }
    }

    /// Passes a request on and waits for its answer. `None` if the client is gone.
    fn ask(&self, request: Request) -> Option<Vec<u8>> {
        let (sender, answer): (_, Receiver<AnswerLine>) = channel();
        let hangup = Arc::new(HangupHook::default());
        (self.handler)(ControlRequest {
            request,
            user: self.user,
            reply: AnswerSender { sender: Some(sender), hangup: Arc::clone(&hangup) },
        });
        loop {
            match answer.recv_timeout(HANGUP_CHECK_INTERVAL) {
                Ok(line) => return Some(line()),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.has_hung_up() => {
                    if let Some(hook) = lock(&hangup.0).take() {
                        hook();
                    }
                    return None;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn has_hung_up(&self) -> bool {
        // The kernel reports an end or an error without being asked: poll(2). A client that only
        // sends nothing more still waits.
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = poll(&mut fds, Some(&now));
        fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

/// Reader of bounded lines.
#[derive(Debug, Default)]
struct RequestReader {
    buffer: Vec<u8>,
}

impl RequestReader {
    /// Reads a line, or an error if it is too long. `None`: there is none any more.
    fn next(
        &mut self,
        stream: &mut impl io::Read,
    ) -> io::Result<Option<Result<Vec<u8>, RequestError>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Ok(Some(Ok(std::mem::replace(&mut self.buffer, rest))));
            }
            if self.buffer.len() >= MAX_REQUEST {
                let text = format!("a request has at most {MAX_REQUEST} bytes");
                return Ok(Some(Err(RequestError::new(ErrorKind::InvalidRequest, text))));
            }
            let mut part = [0; 4096];
            let count = match stream.by_ref().read(&mut part) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.buffer.extend(part.get(..count).unwrap_or_default());
        }
    }
}
