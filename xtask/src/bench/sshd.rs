//! A private ssh server on the loopback device, and a simulated link to it.

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

use rustix::process::Pid;

use super::{
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
};
use crate::build::find_program;

/// A running server, which is stopped on drop.
#[derive(Debug)]
pub(crate) struct Sshd {
    /// Declared before the server, so that connections are closed first.
    link: SlowLink,
    server: MeteredProcess,
    directory: ScratchPath,
    user: String,
}

impl Sshd {
    /// Starts a server that accepts its own key, behind a link with a one-way latency of `delay`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(scratch: &ScratchDir, delay: Duration) -> io::Result<Self> {
        let directory = scratch.create_dir("sshd")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
        for key in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.path().join(key));
            super::measure::run(command)?;
        }
        let port = free_port()?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        // The user's start files could take long, and a killed shell could leave locks of theirs.
        let settings = format!(
            "SetEnv HOME={}\nListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n",
            directory.path().display(),
            file("host"),
            file("user.pub"),
        );
        fs::write(file("config"), settings)?;
        // As root it needs this directory, which may not exist.
        let _ = fs::create_dir("/run/sshd");
        let program = find_program("sshd").unwrap_or_else(|| "/usr/sbin/sshd".into());
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f", &file("config")]);
        let mut server = MeteredProcess::start(&command, &scratch.path("sshd/log")?)?;
        server.wait_until("sshd listens", |_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        let link = SlowLink::new(port, delay)?;
        let user = Command::new("id").arg("-un").stdin(Stdio::null()).output()?.stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        Ok(Self { link, server, directory, user })
    }

    /// Returns the process of the server.
    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// Returns the user and the host.
    pub(crate) fn host(&self) -> String {
        format!("{}@127.0.0.1", self.user)
    }

    /// Returns the arguments for ssh.
    pub(crate) fn ssh_args(&self) -> Vec<String> {
        self.ssh_args_for(self.port())
    }

    /// Returns the arguments for ssh to a port that leads to this server.
    pub(crate) fn ssh_args_for(&self, port: u16) -> Vec<String> {
        let options = Self::OPTIONS.map(|(name, value)| format!("-o{name}={value}"));
        let key = self.key().display().to_string();
        let port = port.to_string();
        ["-i".into(), key, "-p".into(), port].into_iter().chain(options).collect()
    }

    /// The options of `ssh_config` for a login without questions.
    pub(crate) const OPTIONS: [(&str, &str); 4] = [
        ("BatchMode", "yes"),
        ("StrictHostKeyChecking", "no"),
        ("UserKnownHostsFile", "/dev/null"),
        ("LogLevel", "ERROR"),
    ];

    /// Returns the private key that it accepts.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("user")
    }

    /// Returns the port of the link.
    pub(crate) const fn port(&self) -> u16 {
        self.link.port
    }

    /// Returns the number of connections so far, and of the bytes that they transferred.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let LinkCounters { connections, bytes, .. } = &*self.link.counters;
        (connections.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }
}

/// Returns a port that is free at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A link to a local port, with latency and traffic counters.
#[derive(Debug)]
struct SlowLink {
    port: u16,
    counters: Arc<LinkCounters>,
}

#[derive(Debug, Default)]
struct LinkCounters {
    connections: AtomicU64,
    bytes: AtomicU64,
    closed: AtomicBool,
}

impl SlowLink {
    fn new(to: u16, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let counters = Arc::new(LinkCounters::default());
        let shared = Arc::clone(&counters);
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                if shared.closed.load(Ordering::Relaxed) {
                    break;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                // If the server does not accept, the connection is closed.
                let _ = relay(from, to, delay, &shared);
            }
        });
        Ok(Self { port, counters })
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.counters.closed.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn relay(
    from: TcpStream,
    to: u16,
    delay: Duration,
    counters: &Arc<LinkCounters>,
) -> io::Result<()> {
    let to = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to)))?;
    for (input, output) in [(from.try_clone()?, to.try_clone()?), (to, from)] {
        output.set_nodelay(true)?;
        let (sender, receiver) = channel();
        let counters = Arc::clone(counters);
        thread::spawn(move || receive(input, &sender, delay, &counters));
        thread::spawn(move || forward(output, &receiver));
    }
    Ok(())
}

/// A chunk of data and its time of arrival.
type DelayedBytes = (Instant, Vec<u8>);

fn receive(
    mut input: TcpStream,
    sender: &Sender<DelayedBytes>,
    delay: Duration,
    counters: &LinkCounters,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = input.read(&mut buffer) {
        counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        if sender.send((Instant::now() + delay, bytes)).is_err() {
            break;
        }
    }
}

fn forward(mut output: TcpStream, receiver: &Receiver<DelayedBytes>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if output.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = output.shutdown(Shutdown::Both);
}

/// Returns a command that runs rsync over ssh with these arguments, from `source` to `target` on
/// `host`.
pub(crate) fn rsync(ssh_args: &[String], source: &Path, host: &str, target: &Path) -> Command {
    let mut command = Command::new("rsync");
    command
        .args(["-lts", "--from0", "--files-from=-", "--delete-missing-args", "--force"])
        .arg(format!("--rsh=ssh {}", ssh_args.join(" ")))
        .arg(source.join(""))
        .arg(format!("{host}:{}/", target.display()));
    command
}
