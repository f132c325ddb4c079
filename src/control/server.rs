//! The sockets of a daemon.
//!
//! Each client has a thread, which costs the engine one message for each request. A client that
//! stops reading or writing keeps only its thread, and only for a while.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    fmt, fs, io,
    io::Write as _,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, FileType, Gid, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};

use super::{
    frame::{Answer, ErrorKind, MAX_REQUEST, RequestError, RequestFrame, to_line},
    request::Request,
};
use crate::lock;

/// Maximum number of clients of one socket.
const MAX_CLIENTS: usize = 32;

/// Maximum number of clients of one user at a read-only socket: none of them can keep the others
/// out.
const MAX_CLIENTS_OF_USER: usize = 8;

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

/// A request with the way of its answer.
#[derive(Debug)]
pub struct ControlRequest {
    /// The request.
    pub request: Request,
    /// The user id of the client.
    pub user: Option<u32>,
    /// Takes the answer.
    pub reply: AnswerSender,
}

/// Makes the line of an answer, on the thread of the client.
type AnswerLine = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Sender of one answer. Dropped unused, it answers with an error: a request can fail, but its
/// client can't wait for ever.
#[derive(Debug)]
pub struct AnswerSender {
    sender: Option<Sender<AnswerLine>>,
    hangup: Arc<HangupHook>,
}

/// Function to call when the client does not wait for its answer any more.
#[derive(Default)]
struct HangupHook(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl AnswerSender {
    /// Answers the request.
    pub fn send<T: serde::Serialize + Send + 'static>(self, answer: Answer<T>) {
        self.send_with(move || answer);
    }

    /// Answers the request with what `make` returns on the thread of the client.
    pub fn send_with<T: serde::Serialize>(
        mut self,
        make: impl FnOnce() -> Answer<T> + Send + 'static,
    ) {
        self.send_line(Box::new(move || to_line(&make())));
    }

    /// Sets a function to call if the client hangs up before the answer.
    pub fn on_hangup(&self, hook: impl FnOnce() + Send + 'static) {
        *lock(&self.hangup.0) = Some(Box::new(hook));
    }

    fn send_line(&mut self, line: AnswerLine) {
        if let Some(sender) = self.sender.take() {
            // The client may be gone.
            let _ = sender.send(line);
        }
    }
}

impl Drop for AnswerSender {
    fn drop(&mut self) {
        let error = RequestError::new(ErrorKind::Exiting, "the daemon exits without an answer");
        self.send_line(Box::new(move || to_line(&Answer::<()>::Error(error))));
    }
}

impl fmt::Debug for HangupHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HangupHook").finish_non_exhaustive()
    }
}

/// Function that receives the requests, on any thread. It must not block.
pub type RequestHandler = Arc<dyn Fn(ControlRequest) + Send + Sync>;

/// A socket to create.
#[derive(Clone, Debug)]
pub struct SocketSpec {
    /// Absolute path.
    pub path: PathBuf,
    /// The group that may connect. `None`: only the owner may.
    pub group: Option<u32>,
    /// True if only requests that change nothing are accepted.
    pub is_read_only: bool,
}

/// A socket that is being served. It is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Device and inode of the socket: another daemon may have replaced it.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Creates a socket and serves it on threads of its own.
    ///
    /// # Errors
    ///
    /// If it can't be created, or another daemon serves it: a message for the user.
    pub fn serve(spec: &SocketSpec, handler: RequestHandler) -> Result<Self, String> {
        let shown = Escaped(spec.path.as_os_str().as_bytes()).to_string();
        let failed = |error: io::Error| format!("cannot create the socket {shown}: {error}");
        if is_served(&spec.path) {
            return Err(format!(
                "cannot create the socket {shown}: another daemon serves it; set socket in \
                 settings to another path"
            ));
        }
        let is_other = |found: fs::Metadata| !found.file_type().is_socket() && !found.is_symlink();
        if fs::symlink_metadata(&spec.path).is_ok_and(is_other) {
            return Err(format!(
                "cannot create the socket {shown}: something else is there; set socket in settings \
                 to another path"
            ));
        }
        let listener = listen(spec).map_err(failed)?;
        let found = fs::symlink_metadata(&spec.path).map_err(failed)?;
        let is_read_only = spec.is_read_only;
        let accept = move || accept_clients(&listener, is_read_only, &handler);
        thread::Builder::new().name("control".into()).spawn(accept).map_err(failed)?;
        Ok(Self { path: spec.path.clone(), identity: (found.dev(), found.ino()) })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // It may have been removed with its directory meanwhile.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns true if somebody listens at this path. It never blocks.
fn is_served(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (Ok(socket), Ok(address)) = (socket, SocketAddrUnix::new(path)) else { return false };
    // EAGAIN: too many clients are waiting, unix(7).
    matches!(rustix::net::connect(&socket, &address), Ok(()) | Err(Errno::AGAIN))
}

/// Creates the socket under another name and renames it: nobody else can connect before it has its
/// mode and group, and one that was left over is replaced.
fn listen(spec: &SocketSpec) -> io::Result<UnixListener> {
    if let Some(directory) = spec.path.parent()
        && !directory.exists()
    {
        // A group has to reach its socket.
        let mode = if spec.group.is_some() { 0o755 } else { 0o700 };
        fs::DirBuilder::new().mode(mode).create(directory)?;
    }
    let mut temp = spec.path.clone().into_os_string();
    temp.push(format!(".{}", std::process::id()));
    let temp = PathBuf::from(temp);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The mode of a socket becomes that of its file: socket(7), unix(7).
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let _ = fs::remove_file(&temp);
    let result = bind(&socket, &temp, spec);
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    result?;
    Ok(UnixListener::from(socket))
}

fn bind(socket: &OwnedFd, temp: &Path, spec: &SocketSpec) -> io::Result<()> {
    let address = SocketAddrUnix::new(temp).map_err(|_| {
        io::Error::other(
            "its path is too long for a socket; set socket in settings to a shorter one",
        )
    })?;
    rustix::net::bind(socket, &address)?;
    rustix::net::listen(socket, 16)?;
    if let Some(group) = spec.group {
        open_to_group(temp, group)?;
    }
    fs::rename(temp, &spec.path)
}

/// Lets a group connect to a socket. Whatever else may have its name by now stays as it is.
fn open_to_group(path: &Path, group: u32) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other("something else has taken its place"));
    }
    let group = Some(Gid::from_raw(group));
    rustix::fs::chownat(&file, "", None, group, AtFlags::EMPTY_PATH)?;
    // Not by its descriptor, which is for the path only: open(2).
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
}

/// Returns the id of a group of this name, or of this number.
///
/// # Errors
///
/// If there is none.
pub fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let no_group = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}"));
    let c_name: CString = CString::new(name).map_err(|_| no_group())?;
    let c_name: &CStr = &c_name;
    let name = c_name.to_str().map_err(|_| no_group())?;
    let group = nix::unistd::Group::from_name(name)?;
    group.map(|group| group.gid.as_raw()).ok_or_else(no_group)
}

fn accept_clients(listener: &UnixListener, is_read_only: bool, handler: &RequestHandler) {
    let clients = Arc::new(ClientCounts::default());
    let per_user = if is_read_only { MAX_CLIENTS_OF_USER } else { MAX_CLIENTS };
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        // Without an answer all such clients count as one user.
        let user = rustix::net::sockopt::socket_peercred(&stream).ok().map(|it| it.uid.as_raw());
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

/// Maximum number of users whose last request is remembered.
const MAX_USERS: usize = 256;

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
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Selection;
    use std::{
        io::{BufRead, BufReader},
        os::unix::fs::PermissionsExt,
    };

    /// A served socket whose handler answers each request with its own JSON text.
    struct Fixture {
        dir: tempfile::TempDir,
        socket: ControlSocket,
    }

    impl Fixture {
        fn new(is_read_only: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("sub/control.sock");
            let handler: RequestHandler = Arc::new(|ControlRequest { request, reply, .. }| {
                if request != Request::Stop {
                    reply.send(Answer::Ok(request));
                }
            });
            let spec = SocketSpec { path, group: None, is_read_only };
            let socket = ControlSocket::serve(&spec, handler).unwrap();
            Self { dir, socket }
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(self.socket.path()).unwrap()
        }

        fn ask(&self, line: &[u8]) -> String {
            let mut stream = self.connect();
            stream.write_all(line).unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            answer
        }
    }

    #[test]
    fn requests_are_answered_in_order_on_one_connection() {
        let fixture = Fixture::new(false);
        let mut stream = fixture.connect();
        let ask = |request| to_line(&RequestFrame::new(request));
        let pause = Request::Pause(Selection { sync: Some("a".into()), path: None });
        stream
            .write_all(&[ask(Request::Metrics), ask(pause), ask(Request::Stop)].concat())
            .unwrap();
        let lines: Vec<String> =
            BufReader::new(stream).lines().take(3).map(Result::unwrap).collect();
        assert_eq!(lines[0], r#"{"ok":{"command":"metrics"}}"#);
        assert_eq!(lines[1], r#"{"ok":{"command":"pause","sync":"a"}}"#);
        // A request that is dropped is answered, too.
        assert!(lines[2].starts_with(r#"{"error":{"kind":"exiting""#), "{}", lines[2]);
    }

    #[test]
    fn invalid_requests_are_refused_with_the_reason() {
        let fixture = Fixture::new(false);
        for (line, kind) in [
            (&b"hello\n"[..], "invalid_request"),
            (b"\xff\n", "invalid_request"),
            (b"{}\n", "invalid_request"),
            (b"{\"version\":2,\"command\":\"new\"}\n", "unsupported_version"),
            (b"{\"version\":1,\"command\":\"new\"}\n", "invalid_request"),
            (b"{\"version\":1,\"command\":\"metrics\",\"sycn\":\"a\"}\n", "invalid_request"),
            (&vec![b'x'; MAX_REQUEST + 1], "invalid_request"),
        ] {
            let answer = fixture.ask(line);
            assert!(answer.contains(&format!(r#""kind":"{kind}""#)), "{answer}");
        }
    }

    #[test]
    fn a_read_only_socket_refuses_what_changes_something() {
        let fixture = Fixture::new(true);
        let ask = |request| fixture.ask(&to_line(&RequestFrame::new(request)));
        assert!(ask(Request::Reload).contains("not_permitted"));
        assert!(ask(Request::Verify(Selection::default())).contains("not_permitted"));
        assert!(ask(Request::Metrics).contains("ok"));
    }

    #[test]
    fn a_socket_is_private_and_removed_at_the_end() {
        let fixture = Fixture::new(false);
        let path = fixture.socket.path().to_owned();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let spec = SocketSpec { path: path.clone(), group: None, is_read_only: false };
        let error = ControlSocket::serve(&spec, Arc::new(|_| ())).unwrap_err();
        assert!(error.contains("another daemon serves it"), "{error}");
        let Fixture { dir, socket } = fixture;
        drop(socket);
        assert!(!path.exists());
        drop(dir);
    }

    #[test]
    fn a_socket_that_was_left_over_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let group = Some(rustix::process::getegid().as_raw());
        let spec = SocketSpec { path: path.clone(), group, is_read_only: true };
        let socket = ControlSocket::serve(&spec, Arc::new(|_| ())).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        let other = SocketSpec { path: dir.path().join("precious"), ..spec.clone() };
        fs::write(&other.path, "x").unwrap();
        let error = ControlSocket::serve(&other, Arc::new(|_| ())).unwrap_err();
        assert!(error.contains("something else is there"), "{error}");
        assert_eq!(fs::read(&other.path).unwrap(), b"x");
        let long = SocketSpec { path: dir.path().join("x".repeat(120)), ..spec };
        let error = ControlSocket::serve(&long, Arc::new(|_| ())).unwrap_err();
        assert!(error.contains("too long"), "{error}");
        drop(socket);
    }

    #[test]
    fn one_user_cannot_take_all_places_of_a_read_only_socket() {
        let fixture = Fixture::new(true);
        let ask = to_line(&RequestFrame::new(Request::Metrics));
        let clients: Vec<_> = (0..MAX_CLIENTS_OF_USER)
            .map(|_| {
                let mut client = BufReader::new(fixture.connect());
                client.get_mut().write_all(&ask).unwrap();
                client.read_line(&mut String::new()).unwrap();
                client
            })
            .collect();
        assert!(fixture.ask(b"").contains("busy"));
        drop(clients);
    }

    #[test]
    fn too_many_clients_are_refused() {
        let fixture = Fixture::new(false);
        let ask = to_line(&RequestFrame::new(Request::Metrics));
        let mut clients = Vec::new();
        for _ in 0..MAX_CLIENTS {
            let mut client = BufReader::new(fixture.connect());
            client.get_mut().write_all(&ask).unwrap();
            client.read_line(&mut String::new()).unwrap();
            clients.push(client);
        }
        assert!(fixture.ask(b"").contains("busy"));
        drop(clients.pop());
        // The place of a client is free as soon as its thread has noticed the end.
        while fixture.ask(&ask).contains("busy") {}
    }
}
