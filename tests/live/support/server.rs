//! Private servers on the loopback device.

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

use mirror_platform::processes::children;
use rustix::process::{Pid, Signal, kill_process};

use super::{Sandbox, TestNetwork, needs::find_program, wait_until};

/// Number of ports to try, in case another process takes one meanwhile.
const ATTEMPTS: usize = 5;

/// A server, which is stopped on drop.
#[derive(Debug)]
pub(crate) struct TestServer {
    child: Child,
    /// The port on which it listens.
    own_port: u16,
    /// The port for clients, which may be that of a simulated network.
    port: u16,
    directory: PathBuf,
    /// Returns the command that starts it, in its directory and with its own port.
    command: fn(&Path, u16) -> Command,
}

/// A stopped server, which can be restarted on the same port.
#[derive(Debug)]
pub(crate) struct StoppedServer {
    port: u16,
    directory: PathBuf,
    command: fn(&Path, u16) -> Command,
}

impl StoppedServer {
    /// Starts it.
    pub(crate) fn start(self) -> TestServer {
        let Self { port, directory, command } = self;
        let mut server = TestServer::spawn(directory, command, port);
        assert!(server.listens(), "another process took the port");
        server
    }
}

/// The range of ports: below the ephemeral ones, so that the kernel does not assign them.
const PORTS: Range<u16> = 10_000..32_000;

/// Returns a port without a listener. No other test of this run gets it.
pub(crate) fn free_port() -> u16 {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    // A concurrent run starts at another port.
    let begin = usize::try_from(std::process::id()).unwrap() * 101 % PORTS.len();
    let next = || PORTS.cycle().nth(begin + COUNT.fetch_add(1, Ordering::Relaxed)).unwrap();
    iter::repeat_with(next).find(is_free).unwrap()
}

impl TestServer {
    /// Starts an rsync daemon that serves `target`, a path in the sandbox, as the module `mirror`.
    pub(crate) fn rsync(sandbox: &Sandbox, target: &Path) -> Self {
        sandbox.check(target);
        let directory = sandbox.create_dir("rsyncd");
        fs::write(directory.join("rsyncd.conf"), module(target, "")).unwrap();
        Self::start(&directory, rsync_daemon)
    }

    /// Starts an ssh server that accepts the key of [`TestServer::remote_shell`].
    pub(crate) fn ssh(sandbox: &Sandbox) -> Self {
        let directory = sandbox.create_dir("sshd");
        for key in ["host", "user"] {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(key))
                .status()
                .unwrap();
            assert!(status.success(), "ssh-keygen: {status}");
        }
        // As root, sshd needs an empty directory of this name, which may not exist.
        let _ = fs::DirBuilder::new().create("/run/sshd");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        Self::start(&directory, ssh_daemon)
    }

    fn start(directory: &Path, command: fn(&Path, u16) -> Command) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::spawn(directory.to_owned(), command, free_port());
            if server.listens() {
                return server;
            }
        }
        panic!("no server: {}", fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    fn spawn(directory: PathBuf, command: fn(&Path, u16) -> Command, port: u16) -> Self {
        let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let child = command(&directory, port)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, own_port: port, port, directory, command }
    }

    /// Waits until it listens. Returns false if it exits instead.
    fn listens(&mut self) -> bool {
        let mut exited = false;
        let log = self.directory.join("log");
        wait_until(
            "the server listens",
            || fs::read_to_string(log).unwrap_or_default(),
            || {
                exited = self.child.try_wait().unwrap().is_some();
                exited || TcpStream::connect((Ipv4Addr::LOCALHOST, self.own_port)).is_ok()
            },
        );
        !exited
    }

    /// Stops it, so that it can be restarted.
    pub(crate) fn stop(mut self) -> StoppedServer {
        self.cut_connections();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (port, command) = (self.own_port, self.command);
        StoppedServer { port, directory: self.directory.clone(), command }
    }

    /// Returns the port for clients.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Routes later clients through a simulated network.
    #[must_use]
    pub(crate) fn behind(mut self, network: &TestNetwork) -> Self {
        self.port = network.port();
        self
    }

    /// For an rsync server: adds these lines to the module, for later connections.
    pub(crate) fn configure(&self, target: &Path, lines: &str) {
        // The file is read for each connection.
        let new = self.directory.join("rsyncd.conf.new");
        fs::write(&new, module(target, lines)).unwrap();
        fs::rename(new, self.directory.join("rsyncd.conf")).unwrap();
    }

    /// For an rsync server: opens a connection that occupies the module until it is dropped.
    pub(crate) fn occupy_module(&self) -> TcpStream {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.own_port)).unwrap();
        client.write_all(b"@RSYNCD: 31.0 md5\nmirror\n").unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "@RSYNCD: OK"), "the connection is refused");
        client
    }

    /// Stops it and all its children.
    pub(crate) fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Continues it.
    pub(crate) fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let mut pending = vec![Pid::from_child(&self.child)];
        while let Some(process) = pending.pop() {
            // A stopped parent starts no more children.
            let _ = kill_process(process, signal);
            pending.extend(children(process));
        }
    }

    /// For an ssh server: returns the number of logins.
    pub(crate) fn logins(&self) -> usize {
        let log = fs::read_to_string(self.directory.join("log")).unwrap();
        log.matches("Accepted publickey").count()
    }

    /// For an ssh server: closes all connections, as a broken network does.
    pub(crate) fn cut_connections(&self) {
        for child in children(Pid::from_child(&self.child)) {
            // It may have exited.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// For an ssh server: returns the remote shell command, in the form of `RSYNC_RSH`.
    pub(crate) fn remote_shell(&self) -> String {
        format!(
            "ssh -F none -p {} -i {} -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.port,
            self.directory.join("user").display(),
        )
    }
}

impl TestServer {
    /// For an ssh server: returns a sync of `default.rsyncssh` from `src` to `dst` with further
    /// settings.
    pub(crate) fn rsyncssh_config(&self, more: &str) -> String {
        let shell = self.remote_shell();
        let args: Vec<String> =
            shell.split_whitespace().skip(1).map(|arg| format!("[[{arg}]]")).collect();
        // The @ of the address is escaped, because it would stand for the sandbox.
        format!(
            "sync{{ default.rsyncssh, source = '@/src', host = 'root\\x40127.0.0.1'
                   , ssh = {{ _extra = {{ {} }} }}, targetdir = '@/dst', {more} }}",
            args.join(", ")
        )
    }

    /// For an ssh server: forces no command any more, for later connections.
    pub(crate) fn allow_commands(&self) {
        let key = fs::read_to_string(self.directory.join("user.pub")).unwrap();
        let key = key.split_once(" ssh-").map_or(key.clone(), |(_, key)| format!("ssh-{key}"));
        fs::write(self.directory.join("user.pub"), key).unwrap();
    }

    /// For an ssh server: forces this shell command for later connections. The requested one is in
    /// `$SSH_ORIGINAL_COMMAND`.
    pub(crate) fn force_command(&self, command: &str) {
        let key = fs::read_to_string(self.directory.join("user.pub")).unwrap();
        let key = key.split_once("ssh-").unwrap().1;
        let command = command.replace('"', "\\\"");
        let line = format!("restrict,command=\"{command}\" ssh-{key}");
        fs::write(self.directory.join("user.pub"), line).unwrap();
    }
}

/// Returns the configuration of an rsync server, with further lines for its module.
fn module(target: &Path, lines: &str) -> String {
    format!(
        "use chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\n\
         [mirror]\npath = {}\nread only = no\n{lines}\n",
        target.display()
    )
}

fn ssh_daemon(directory: &Path, port: u16) -> Command {
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

impl Drop for TestServer {
    fn drop(&mut self) {
        self.resume();
        // Otherwise the connection of a killed daemon persists for minutes.
        self.cut_connections();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
