//! An ssh server of our own on the loopback device, and the line that leads to it.

use std::{
    fs::{self, Permissions},
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    place::{Arena, Place},
    running::Running,
    tool::find,
};

/// The server. It ends with this.
#[derive(Debug)]
pub(crate) struct Sshd {
    /// Before the server, so that connections end first.
    line: Line,
    _server: Running,
    directory: Place,
    user: String,
}

impl Sshd {
    /// Starts one that lets in whoever has its key, behind a line on which each way takes `delay`.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(crate) fn start(arena: &Arena, delay: Duration) -> io::Result<Self> {
        let directory = arena.directory("sshd")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.path().join(key));
            super::measure::run(command)?;
        }
        let port = free_port()?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        let settings = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n",
            file("host"),
            file("user.pub"),
        );
        fs::write(file("config"), settings)?;
        // As root it wants this directory, which a machine that never ran it does not have.
        let _ = fs::create_dir("/run/sshd");
        let program = find("sshd").unwrap_or_else(|| "/usr/sbin/sshd".into());
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f", &file("config")]);
        let mut server = Running::start(&command, &arena.place("sshd/log")?)?;
        server.wait_until("sshd listens", |_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        let line = Line::new(port, delay)?;
        let user = Command::new("id").arg("-un").stdin(Stdio::null()).output()?.stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        Ok(Self { line, _server: server, directory, user })
    }

    /// Where to log in.
    pub(crate) fn host(&self) -> String {
        format!("{}@127.0.0.1", self.user)
    }

    /// The words for ssh.
    pub(crate) fn words(&self) -> Vec<String> {
        let options = Self::OPTIONS.map(|(name, value)| format!("-o{name}={value}"));
        let key = self.key().display().to_string();
        let port = self.port().to_string();
        ["-i".into(), key, "-p".into(), port].into_iter().chain(options).collect()
    }

    /// The options of `ssh_config` that it takes to get in without a question.
    pub(crate) const OPTIONS: [(&str, &str); 4] = [
        ("BatchMode", "yes"),
        ("StrictHostKeyChecking", "no"),
        ("UserKnownHostsFile", "/dev/null"),
        ("LogLevel", "ERROR"),
    ];

    /// The key that it lets in.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("user")
    }

    /// Where the line begins.
    pub(crate) const fn port(&self) -> u16 {
        self.line.port
    }

    /// How many connections were made so far, and how many bytes went over them.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let Counts { connections, bytes, .. } = &*self.line.counts;
        (connections.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A line to a port of this machine that counts what goes over it.
#[derive(Debug)]
struct Line {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    bytes: AtomicU64,
    closed: AtomicBool,
}

impl Line {
    fn new(to: u16, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                if shared.closed.load(Ordering::Relaxed) {
                    break;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                // Who finds no server sees a connection that ends.
                let _ = join(from, to, delay, &shared);
            }
        });
        Ok(Self { port, counts })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.counts.closed.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn join(from: TcpStream, to: u16, delay: Duration, counts: &Arc<Counts>) -> io::Result<()> {
    let to = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to)))?;
    for (input, output) in [(from.try_clone()?, to.try_clone()?), (to, from)] {
        output.set_nodelay(true)?;
        let (sender, receiver) = channel();
        let counts = Arc::clone(counts);
        thread::spawn(move || read(input, &sender, delay, &counts));
        thread::spawn(move || write(output, &receiver));
    }
    Ok(())
}

/// What goes over a line, and when it arrives.
type Parcel = (Instant, Vec<u8>);

fn read(mut input: TcpStream, sender: &Sender<Parcel>, delay: Duration, counts: &Counts) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = input.read(&mut buffer) {
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.send((Instant::now() + delay, bytes)).is_err() {
            break;
        }
    }
}

fn write(mut output: TcpStream, receiver: &Receiver<Parcel>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if output.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = output.shutdown(Shutdown::Both);
}

/// One run of rsync through `ssh` with these words, from `source` to `target` behind `host`.
pub(crate) fn rsync(ssh: &[String], source: &Path, host: &str, target: &Path) -> Command {
    let mut command = Command::new("rsync");
    command
        .args(["-lts", "--from0", "--files-from=-", "--delete-missing-args", "--force"])
        .arg(format!("--rsh=ssh {}", ssh.join(" ")))
        .arg(source.join(""))
        .arg(format!("{host}:{}/", target.display()));
    command
}
