//! Tunnels: programs that make a target reachable, and run as long as a sync uses it.
//!
//! [`mirror_core::tunnel`] decides about the start of programs. Here one thread for each tunnel
//! starts them, and one thread for each program waits for its exit.

mod output;
pub(crate) mod via;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::TcpListener,
    os::unix::{
        ffi::OsStringExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mirror_core::{
    path::Escaped,
    time::Moment,
    tunnel::{self, TunnelSpec},
};
use mirror_platform::{child::signal_on_thread_exit, sockets::listening};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use crate::{
    exec::lock,
    report::{Category, ChildStdio, Log},
};

/// Interval of the check for a listener on the port of a program that was started.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Grace period of programs between SIGTERM and SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// Readiness of a tunnel's programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunnelStatus {
    /// The ports of the ready programs; `None` for programs without a port.
    ready: Vec<Option<u16>>,
}

impl TunnelStatus {
    /// Returns the number of ready programs.
    #[must_use]
    pub(crate) const fn ready(&self) -> usize {
        self.ready.len()
    }
}

/// A running tunnel. Dropping it ends its programs.
#[derive(Debug)]
pub(crate) struct TunnelHandle {
    plan: TunnelSpec,
    status: Arc<Mutex<TunnelStatus>>,
    next: AtomicUsize,
    requests: Sender<TunnelMessage>,
    thread: Option<JoinHandle<()>>,
}

/// Messages to the thread of a tunnel.
#[derive(Debug)]
enum TunnelMessage {
    /// The program of this lane exited.
    Exited(usize),
    /// The operator requests a retry (SIGHUP).
    Hangup,
    /// The tunnel is no longer used.
    Shutdown,
}

impl TunnelHandle {
    /// Starts the tunnel. Its thread calls `on_change` whenever the number of ready programs
    /// changes.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start(
        plan: TunnelSpec,
        log: Log,
        on_change: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let status = Arc::<Mutex<TunnelStatus>>::default();
        let (requests, messages) = channel();
        let supervisor = TunnelSupervisor {
            tunnel: tunnel::Tunnel::new(plan.settings),
            plan: plan.clone(),
            log,
            status: Arc::clone(&status),
            on_change: Box::new(on_change),
            running: BTreeMap::new(),
            sender: requests.clone(),
            started: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("tunnel".into())
            .spawn(move || supervisor.run(&messages))?;
        let next = AtomicUsize::new(0);
        Ok(Self { plan, status, next, requests, thread: Some(thread) })
    }

    /// Returns the definition of the tunnel.
    #[must_use]
    pub(crate) const fn plan(&self) -> &TunnelSpec {
        &self.plan
    }

    /// Returns the current readiness.
    #[must_use]
    pub(crate) fn status(&self) -> TunnelStatus {
        lock(&self.status).clone()
    }

    /// Returns true if at least one program is ready.
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.status).ready() > 0
    }

    /// Retries programs that are down without waiting for their backoff.
    pub(crate) fn hangup(&self) {
        // The thread exits only when it receives `Shutdown`.
        let _ = self.requests.send(TunnelMessage::Hangup);
    }

    /// Returns the endpoint for one transfer, each program in turn. `None` if no program is ready.
    #[must_use]
    fn next_endpoint(&self) -> Option<TunnelEndpoint> {
        let status = lock(&self.status);
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let port = *status.ready.get(next.checked_rem(status.ready.len())?)?;
        Some(TunnelEndpoint { localhost: self.plan.localhost.clone(), port })
    }
}

impl Drop for TunnelHandle {
    fn drop(&mut self) {
        let _ = self.requests.send(TunnelMessage::Shutdown);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Local endpoint of a tunnel program, for one transfer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TunnelEndpoint {
    localhost: Vec<u8>,
    port: Option<u16>,
}

impl TunnelEndpoint {
    /// Returns true if the text contains placeholders of an endpoint.
    #[must_use]
    pub(crate) fn has_placeholders(text: &[u8]) -> bool {
        let has = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
        has(b"^localport") || has(b"^localhost")
    }

    /// Returns the text with the placeholders replaced.
    #[must_use]
    pub(crate) fn substitute(&self, text: &[u8]) -> Vec<u8> {
        let text = replace_all(text, b"^localhost", &self.localhost);
        match self.port {
            Some(port) => replace_all(&text, b"^localport", port.to_string().as_bytes()),
            None => text,
        }
    }
}

fn replace_all(text: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(name.len()).position(|part| part == name) {
        replaced.extend_from_slice(rest.get(..at).unwrap_or_default());
        replaced.extend_from_slice(value);
        rest = rest.get(at + name.len()..).unwrap_or_default();
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// State of a tunnel's thread.
struct TunnelSupervisor {
    tunnel: tunnel::Tunnel,
    plan: TunnelSpec,
    log: Log,
    status: Arc<Mutex<TunnelStatus>>,
    on_change: Box<dyn Fn() + Send>,
    running: BTreeMap<usize, TunnelProcess>,
    /// Cloned for the threads that wait for programs.
    sender: Sender<TunnelMessage>,
    started: Instant,
}

/// A program that is running, or has exited and is not reaped yet.
struct TunnelProcess {
    child: Child,
    port: Option<u16>,
}

impl TunnelSupervisor {
    fn run(mut self, messages: &Receiver<TunnelMessage>) {
        loop {
            let now = self.now();
            for slot in self.tunnel.advance(now) {
                self.start(slot);
            }
            self.check_listeners();
            self.publish();
            match self.receive(messages) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(TunnelMessage::Exited(slot)) => self.reap(slot),
                Ok(TunnelMessage::Hangup) => {
                    let now = self.now();
                    self.tunnel.retry_now(now);
                }
                Ok(TunnelMessage::Shutdown) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shut_down(messages);
    }

    fn now(&self) -> Moment {
        Moment::new(self.started.elapsed())
    }

    fn receive(
        &self,
        messages: &Receiver<TunnelMessage>,
    ) -> Result<TunnelMessage, RecvTimeoutError> {
        let due = self.tunnel.next_wakeup().map(|at| at - self.now());
        let poll =
            (self.plan.pool && self.tunnel.connecting().next().is_some()).then_some(POLL_INTERVAL);
        match due.into_iter().chain(poll).min() {
            Some(wait) => messages.recv_timeout(wait),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn start(&mut self, slot: usize) {
        let started = self.spawn().and_then(|program| {
            let (pid, sender) = (Pid::from_child(&program.child), self.sender.clone());
            self.running.insert(slot, program);
            let wait = move || {
                // The process stays a zombie until the supervisor has killed the rest of its group.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
                let _ = sender.send(TunnelMessage::Exited(slot));
            };
            thread::Builder::new().name("tunnel".into()).spawn(wait).map(drop)
        });
        if let Err(error) = started {
            if let Some(program) = self.running.get_mut(&slot) {
                kill(&program.child, Signal::KILL);
                let _ = program.child.wait();
            }
            let binary = self.plan.command.first().map(Vec::as_slice).unwrap_or_default();
            self.report_exit(slot, &format!("cannot start {}: {error}", Escaped(binary)));
        }
    }

    fn spawn(&self) -> io::Result<TunnelProcess> {
        let port = if self.plan.pool { Some(free_port()?) } else { None };
        let endpoint = TunnelEndpoint { localhost: self.plan.localhost.clone(), port };
        let mut args =
            self.plan.command.iter().map(|arg| OsString::from_vec(endpoint.substitute(arg)));
        let program = args.next().ok_or(io::ErrorKind::InvalidInput)?;
        self.log.say(Category::Debug("Tunnel"), format!("{}: starting it", self.plan.name));
        let streams = self.log.child_output();
        let mut command = Command::new(program);
        // The parent-death signal is bound to this thread, which outlives all programs.
        signal_on_thread_exit(&mut command, Signal::TERM);
        let is_forwarded = matches!(streams, ChildStdio::Forward);
        let stream = || if is_forwarded { Stdio::piped() } else { streams.stream() };
        let mut child = command
            .args(args)
            // A process group of its own, so that its descendants end with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stream())
            .stderr(stream())
            .spawn()?;
        if let Err(error) = output::forward(&mut child, &self.log) {
            let text = format!("tunnel {}: its output is lost: {error}", self.plan.name);
            self.log.say(Category::Warn, text);
        }
        Ok(TunnelProcess { child, port })
    }

    fn check_listeners(&mut self) {
        let connecting: Vec<usize> = self.tunnel.connecting().collect();
        if !self.plan.pool || connecting.is_empty() {
            return;
        }
        let port_of = |slot| self.running.get(&slot).and_then(|program| program.port);
        let ports: Vec<u16> = connecting.iter().filter_map(|&slot| port_of(slot)).collect();
        let listening = listening(&ports);
        for slot in connecting {
            if port_of(slot).is_some_and(|port| listening.contains(&port)) {
                let now = self.now();
                self.tunnel.mark_ready(slot, now);
            }
        }
    }

    /// Publishes the readiness if it changed.
    fn publish(&self) {
        let ports = self.tunnel.ready().filter_map(|slot| Some(self.running.get(&slot)?.port));
        let status = TunnelStatus { ready: ports.collect() };
        let was = std::mem::replace(&mut *lock(&self.status), status.clone());
        if was == status {
            return;
        }
        let TunnelSpec { name, settings, .. } = &self.plan;
        let text = format!("{name}: {} of {} ready", status.ready(), settings.parallel);
        self.log.say(Category::Debug("Tunnel"), text);
        match (was.ready(), status.ready()) {
            (0, _) => self.log.say(Category::Normal, format!("tunnel {name} is up")),
            (_, 0) => self.log.say(Category::Warn, format!("tunnel {name} is down")),
            _ => {}
        }
        (self.on_change)();
    }

    fn reap(&mut self, slot: usize) {
        let Some(mut program) = self.running.remove(&slot) else { return };
        kill(&program.child, Signal::KILL);
        let what = match program.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("it exited with code {code}"),
                (None, signal) => format!("it was killed by signal {}", signal.unwrap_or_default()),
            },
            Err(error) => format!("it cannot be supervised: {error}"),
        };
        self.report_exit(slot, &what);
    }

    fn report_exit(&mut self, slot: usize, what: &str) {
        self.running.remove(&slot);
        let wait = self.tunnel.process_exited(slot, self.now()).as_secs_f64();
        let name = &self.plan.name;
        let text = format!("tunnel {name}: {what}; retrying in {wait:.1} s");
        self.log.say(Category::Warn, text);
    }

    fn kill(&self, signal: Signal) {
        for program in self.running.values() {
            kill(&program.child, signal);
        }
    }

    fn shut_down(mut self, messages: &Receiver<TunnelMessage>) {
        self.kill(Signal::TERM);
        let until = Instant::now() + KILL_AFTER;
        while !self.running.is_empty() {
            match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(TunnelMessage::Exited(slot)) => {
                    if let Some(mut program) = self.running.remove(&slot) {
                        kill(&program.child, Signal::KILL);
                        let _ = program.child.wait();
                    }
                }
                Ok(TunnelMessage::Hangup | TunnelMessage::Shutdown) => {}
                Err(_) => break,
            }
        }
        self.kill(Signal::KILL);
        for program in self.running.values_mut() {
            let _ = program.child.wait();
        }
    }
}

/// Sends a signal to the process group of a program that is not reaped yet.
fn kill(child: &Child, signal: Signal) {
    // An empty group is no error.
    let _ = kill_process_group(Pid::from_child(child), signal);
}

/// Returns a free port. Another process can take it before the program does: then the program
/// fails, and its successor gets another port.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::process_handle::ProcessHandle;
    use std::{fs, path::Path, sync::mpsc};

    /// Longer than any test program runs, on any machine.
    const LONG: Duration = Duration::from_mins(10);

    /// Starts a tunnel of programs that run `script` and are ready after `ready`. Returns it with
    /// the receiver of its changes.
    fn start(
        script: &str,
        pool: bool,
        parallel: usize,
        ready: Duration,
    ) -> (TunnelHandle, Receiver<()>) {
        let second = Duration::from_secs(1);
        let plan = TunnelSpec {
            name: "Tunnel1".into(),
            command: ["sh", "-c", script].map(|arg| arg.as_bytes().to_vec()).to_vec(),
            pool,
            settings: tunnel::TunnelSettings { parallel, retry: second, ready },
            localhost: b"localhost".to_vec(),
        };
        let (sender, changes) = mpsc::channel();
        let tunnel = TunnelHandle::start(plan, Log::default(), move || {
            let _ = sender.send(());
        });
        (tunnel.unwrap(), changes)
    }

    fn wait_until(changes: &Receiver<()>, condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_mins(3);
        while !condition() {
            assert!(Instant::now() < until, "waited in vain");
            let _ = changes.recv_timeout(Duration::from_millis(100));
        }
    }

    fn is_alive(pid: &str) -> bool {
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        ProcessHandle::open(pid).is_ok_and(|process| !process.has_exited())
    }

    #[test]
    fn a_tunnel_restarts_its_program_and_kills_all_descendants_when_dropped() {
        let place = tempfile::tempdir().unwrap();
        let pid = |name: &str| fs::read_to_string(place.path().join(name)).unwrap_or_default();
        let at = |name: &str| place.path().join(name).display().to_string();
        let script = format!(
            "trap '' TERM; sleep 1000 & echo $! > '{}'; echo $$ > '{}'; wait; wait",
            at("grandchild"),
            at("child")
        );
        let (tunnel, changes) = start(&script, false, 1, Duration::from_millis(10));
        wait_until(&changes, || tunnel.is_up() && !pid("child").is_empty());
        let first = pid("child");
        let number = Pid::from_raw(first.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(number, Signal::KILL).unwrap();
        wait_until(&changes, || pid("child") != first && !pid("child").is_empty());
        wait_until(&changes, || tunnel.is_up());
        let (child, grandchild) = (pid("child"), pid("grandchild"));
        assert!(is_alive(&child) && is_alive(&grandchild));
        drop(tunnel);
        wait_until(&changes, || !is_alive(&child) && !is_alive(&grandchild));
    }

    #[test]
    fn a_pool_is_up_with_its_listeners_and_is_used_round_robin() {
        let Some(listener) = ["python3", "perl"].iter().find(|name| is_installed(name)) else {
            println!("skipped: this needs python3 or perl");
            return;
        };
        let script = match *listener {
            "python3" => {
                "exec python3 -c 'import socket,time; s=socket.socket(); \
                 s.bind((\"127.0.0.1\", ^localport)); s.listen(); time.sleep(1000)'"
            }
            _ => {
                "exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, \
                 LocalAddr => \"127.0.0.1\", LocalPort => ^localport); sleep 1000'"
            }
        };
        let (tunnel, changes) = start(script, true, 3, LONG);
        wait_until(&changes, || tunnel.status().ready() == 3);
        let endpoints: Vec<_> = (0..6).map(|_| tunnel.next_endpoint().unwrap()).collect();
        assert_eq!(endpoints[..3], endpoints[3..]);
        let mut ports: Vec<_> =
            endpoints[..3].iter().map(|endpoint| endpoint.port.unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 3);
        let text = endpoints[0].substitute(b"rsync://^localhost:^localport/^local");
        let port = endpoints[0].port.unwrap();
        assert_eq!(text, format!("rsync://localhost:{port}/^local").as_bytes());
    }

    fn is_installed(name: &str) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|place| Path::new(&place).join(name).is_file())
    }

    #[test]
    fn a_tunnel_whose_program_exits_is_down() {
        let (tunnel, _changes) = start("exit 3", false, 1, LONG);
        assert_eq!(tunnel.next_endpoint(), None);
        assert!(
            !TunnelEndpoint::has_placeholders(b"/a/^local")
                && TunnelEndpoint::has_placeholders(b"h:^localport")
        );
    }
}
