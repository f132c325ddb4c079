//! Servers of our own on the loopback device.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Write},
    iter,
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Network, Sandbox, needs::find_program, wait_until};

/// How often another port is tried, should somebody else have taken ours meanwhile.
const ATTEMPTS: usize = 5;

/// A server, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    own_port: u16,
    /// Where those come in who are told of it.
    port: u16,
    directory: PathBuf,
}

/// How to start a server again on the port that it had.
#[derive(Debug)]
pub(crate) struct Stopped {
    command: Command,
    port: u16,
    directory: PathBuf,
}

impl Stopped {
    /// Starts it.
    pub(crate) fn start(mut self) -> Server {
        let child = self.command.spawn().unwrap();
        let mut server =
            Server { child, own_port: self.port, port: self.port, directory: self.directory };
        assert!(server.listens(), "somebody else took the port");
        server
    }
}

/// Where ports are looked for: below those that the kernel gives to whoever wants any, so that
/// nobody else gets one meanwhile.
const PORTS: Range<u16> = 10_000..32_000;

/// A port on which nobody listens. No other test of this run gets it.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    // Another run begins elsewhere.
    let begin = usize::try_from(std::process::id()).unwrap() * 101 % PORTS.len();
    let next = || PORTS.cycle().nth(begin + GIVEN.fetch_add(1, Ordering::Relaxed)).unwrap();
    iter::repeat_with(next).find(is_free).unwrap()
}

impl Server {
    /// An rsync daemon that gives out `target`, a place in the sandbox, as the module `mirror`.
    pub(crate) fn rsync(sandbox: &Sandbox, target: &Path) -> Self {
        sandbox.check(target);
        let directory = sandbox.directory("rsyncd");
        fs::write(directory.join("rsyncd.conf"), module(target, "")).unwrap();
        Self::start(&directory, rsync_daemon)
    }

    /// An ssh server that lets in whoever has the key of [`Server::remote_shell`].
    pub(crate) fn ssh(sandbox: &Sandbox) -> Self {
        let directory = sandbox.directory("sshd");
        for key in ["host", "user"] {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(key))
                .status()
                .unwrap();
            assert!(status.success(), "ssh-keygen: {status}");
        }
        // As root sshd wants an empty directory of this name, which a machine that never ran it
        // does not have.
        let _ = fs::DirBuilder::new().create("/run/sshd");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        Self::start(&directory, |directory, port| {
            let file = |name: &str| directory.join(name).display().to_string();
            let settings = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n",
                file("host"),
                file("user.pub"),
            );
            fs::write(directory.join("sshd_config"), settings).unwrap();
            let mut command = Command::new(find_program("sshd").unwrap());
            command.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
            command
        })
    }

    fn start(directory: &Path, command: impl Fn(&Path, u16) -> Command) -> Self {
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let log = File::create(directory.join("log")).unwrap();
            let child = command(directory, port)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut server = Self { child, own_port: port, port, directory: directory.to_owned() };
            if server.listens() {
                return server;
            }
        }
        panic!("no server: {}", fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    /// Waits until it listens; false when it ended instead.
    fn listens(&mut self) -> bool {
        let mut ended = false;
        let log = self.directory.join("log");
        wait_until(
            "the server listens",
            || fs::read_to_string(log).unwrap_or_default(),
            || {
                ended = self.child.try_wait().unwrap().is_some();
                ended || TcpStream::connect((Ipv4Addr::LOCALHOST, self.own_port)).is_ok()
            },
        );
        !ended
    }

    /// Ends an rsync server, so that it can be started again.
    pub(crate) fn stop(mut self) -> Stopped {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let command = rsync_daemon(&self.directory, self.own_port);
        Stopped { command, port: self.own_port, directory: self.directory.clone() }
    }

    /// The port through which it is entered.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on who is told how to get there goes through this network.
    #[must_use]
    pub(crate) fn behind(mut self, network: &Network) -> Self {
        self.port = network.port();
        self
    }

    /// For an rsync server: who comes from now on meets the module with these further lines.
    pub(crate) fn configure(&self, target: &Path, lines: &str) {
        // It is read for each connection.
        let new = self.directory.join("rsyncd.conf.new");
        fs::write(&new, module(target, lines)).unwrap();
        fs::rename(new, self.directory.join("rsyncd.conf")).unwrap();
    }

    /// For an rsync server: somebody who is in the module, until this is dropped.
    pub(crate) fn guest(&self) -> TcpStream {
        let mut guest = TcpStream::connect((Ipv4Addr::LOCALHOST, self.own_port)).unwrap();
        guest.write_all(b"@RSYNCD: 31.0 md5\nmirror\n").unwrap();
        let mut lines = BufReader::new(guest.try_clone().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "@RSYNCD: OK"), "the guest is not let in");
        guest
    }

    /// Has it and all that it started stand still.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Has it go on.
    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let mut left = vec![Pid::from_child(&self.child)];
        while let Some(process) = left.pop() {
            // A parent that stands still starts no more children.
            let _ = kill_process(process, signal);
            left.extend(children(process));
        }
    }

    /// For an ssh server: how many logins it has seen.
    pub(crate) fn logins(&self) -> usize {
        let log = fs::read_to_string(self.directory.join("log")).unwrap();
        log.matches("Accepted publickey").count()
    }

    /// For an ssh server: ends all connections, as a broken network does.
    pub(crate) fn cut_connections(&self) {
        for child in children(Pid::from_child(&self.child)) {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// For an ssh server: the command that gets to it, as `RSYNC_RSH` wants it.
    pub(crate) fn remote_shell(&self) -> String {
        format!(
            "ssh -F none -p {} -i {} -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.directory.join("user").display(),
        )
    }
}

impl Server {
    /// For an ssh server: a sync of `default.rsyncssh` from `src` to `dst` by way of it, with these
    /// further settings.
    pub(crate) fn sync_to_it(&self, more: &str) -> String {
        let shell = self.remote_shell();
        let words: Vec<String> =
            shell.split_whitespace().skip(1).map(|word| format!("[[{word}]]")).collect();
        // The sign of the address would stand for the sandbox.
        format!(
            "sync{{ default.rsyncssh, source = '@/src', host = 'root\\x40127.0.0.1'
                   , ssh = {{ _extra = {{ {} }} }}, targetdir = '@/dst', {more} }}",
            words.join(", ")
        )
    }

    /// For an ssh server: whoever comes from now on gets this shell command instead of the one that
    /// is wanted, which is in `$SSH_ORIGINAL_COMMAND`.
    pub(crate) fn force(&self, command: &str) {
        let key = fs::read_to_string(self.directory.join("user.pub")).unwrap();
        let key = key.split_once("ssh-").unwrap().1;
        let command = command.replace('"', "\\\"");
        let line = format!("restrict,command=\"{command}\" ssh-{key}");
        fs::write(self.directory.join("user.pub"), line).unwrap();
    }
}

fn children(of: Pid) -> Vec<Pid> {
    let of = of.as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// The settings of an rsync server, with further lines for its module.
fn module(target: &Path, lines: &str) -> String {
    format!(
        "use chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\n\
         [mirror]\npath = {}\nread only = no\n{lines}\n",
        target.display()
    )
}

fn rsync_daemon(directory: &Path, port: u16) -> Command {
    let mut command = Command::new(find_program("rsync").unwrap());
    command
        .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--config={}", directory.join("rsyncd.conf").display()))
        .stdin(Stdio::null());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
        // Else the connection of a daemon that was killed stays for minutes.
        self.cut_connections();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
