//! The sockets of a daemon.
//!
//! Each client has a thread, which costs the engine one message for each request. A client that
//! stops reading or writing keeps only its thread, and only for a while.

mod clients;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, FileTypeExt, MetadataExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use mirror_platform::{socket_file::SocketFile, unix_socket};
use nix::unistd::Group;
use rustix::{fs::FlockOperation, io::Errno, net::SocketAddrUnix};

use super::{
    frame::{Answer, ErrorKind, RequestError, to_line},
    request::Request,
};
use crate::lock;
use clients::accept_clients;

/// Longest wait for other daemons that create a socket in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval of the attempts to lock a directory.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Longest time for which a forked child may take to execute its program.
const FORK_TIMEOUT: Duration = Duration::from_millis(500);

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
        create_directory(spec).map_err(failed)?;
        await_forked(&spec.path);
        // Until the socket is there, for daemons that start at the same time.
        let _lock = lock_directory(&spec.path).map_err(failed)?;
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

/// Waits for a moment while somebody listens at this path: a child that a killed daemon has just
/// forked has its listener until its program is executed.
fn await_forked(path: &Path) {
    let began = Instant::now();
    while is_served(path) && began.elapsed() < FORK_TIMEOUT {
        thread::sleep(LOCK_POLL);
    }
}

/// Returns true if somebody listens at this path. It never blocks.
fn is_served(path: &Path) -> bool {
    let socket = unix_socket::create_nonblocking();
    let (Ok(socket), Ok(address)) = (socket, SocketAddrUnix::new(path)) else { return false };
    // EAGAIN: too many clients are waiting, unix(7).
    matches!(rustix::net::connect(&socket, &address), Ok(()) | Err(Errno::AGAIN))
}

/// Creates the directory of a socket.
fn create_directory(spec: &SocketSpec) -> io::Result<()> {
    let Some(directory) = spec.path.parent().filter(|directory| !directory.exists()) else {
        return Ok(());
    };
    // A group has to reach its socket.
    let mode = if spec.group.is_some() { 0o755 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(directory) {
        // RACE: another daemon has created it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Locks the directory of a socket, for the moment in which the socket is created: flock(2). The
/// kernel releases the lock of a process that dies.
fn lock_directory(socket: &Path) -> io::Result<fs::File> {
    let directory = fs::File::open(socket.parent().unwrap_or(Path::new("/")))?;
    let began = Instant::now();
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_TIMEOUT => thread::sleep(LOCK_POLL),
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::other("another process has locked its directory"));
            }
            result => return result.map(|()| directory).map_err(Into::into),
        }
    }
}

/// Creates the socket under another name and renames it: nobody else can connect before it has its
/// mode and group, and one that was left over is replaced.
fn listen(spec: &SocketSpec) -> io::Result<UnixListener> {
    let mut temp = spec.path.clone().into_os_string();
    temp.push(format!(".{}", std::process::id()));
    let temp = PathBuf::from(temp);
    let _ = fs::remove_file(&temp);
    let result = bind(&temp, spec);
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    Ok(UnixListener::from(result?))
}

fn bind(temp: &Path, spec: &SocketSpec) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(temp).map_err(|_| {
        io::Error::other(
            "its path is too long for a socket; set socket in settings to a shorter one",
        )
    })?;
    let socket = unix_socket::bind_private(&address)?;
    rustix::net::listen(&socket, 16)?;
    if let Some(group) = spec.group {
        open_to_group(temp, group)?;
    }
    fs::rename(temp, &spec.path)?;
    Ok(socket)
}

/// Lets a group connect to a socket. Whatever else may have its name by now stays as it is.
fn open_to_group(path: &Path, group: u32) -> io::Result<()> {
    let file = SocketFile::find(path)?;
    let file = file.ok_or_else(|| io::Error::other("something else has taken its place"))?;
    file.set_group(group).map_err(|error| {
        io::Error::other(format!(
            "it cannot be given to the group of socketGroup: {error}; run the daemon with that \
             group, by Group= in its unit"
        ))
    })?;
    file.set_mode(0o660)
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
    let group = Group::from_name(name)?;
    group.map(|group| group.gid.as_raw()).ok_or_else(no_group)
}
