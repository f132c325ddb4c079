//! Programs that make a way to a target, and stay as long as it is wanted.
//!
//! When they are started is decided by [`mirror_core::tunnel`]; here one thread for each tunnel does
//! it, and one for each program waits for its end.

pub mod via;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::TcpListener,
    os::unix::{
        ffi::OsStringExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mirror_core::{
    path::Escaped,
    time::Moment,
    tunnel::{self, Plan},
};
use mirror_platform::child::end_with_thread;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use crate::report::{Category, Log};

/// How often it is looked whether somebody listens on the port of a program that was started.
const GLANCE: Duration = Duration::from_millis(50);

/// How long programs have for their end.
const FAREWELL: Duration = Duration::from_secs(1);

/// How it is with a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The ports of the programs that are ready; nothing in the place of a port where they have
    /// none.
    ready: Vec<Option<u16>>,
}

impl Standing {
    /// How many programs are ready.
    #[must_use]
    pub const fn ready(&self) -> usize {
        self.ready.len()
    }
}

/// A tunnel that is kept standing as long as this is there.
#[derive(Debug)]
pub struct Tunnel {
    plan: Plan,
    standing: Arc<Mutex<Standing>>,
    turn: AtomicUsize,
    requests: Sender<News>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of a tunnel is told.
#[derive(Debug)]
enum News {
    /// The program of this lane ended.
    Ended(usize),
    /// A person wants it tried again.
    Hangup,
    /// It is not wanted any more.
    End,
}

impl Tunnel {
    /// Starts it. Whenever it comes up or goes down, `on_change` is called by its thread.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(plan: Plan, log: Log, on_change: impl Fn() + Send + 'static) -> io::Result<Self> {
        let standing = Arc::<Mutex<Standing>>::default();
        let (requests, news) = channel();
        let keeper = Keeper {
            tunnel: tunnel::Tunnel::new(plan.settings),
            plan: plan.clone(),
            log,
            standing: Arc::clone(&standing),
            on_change: Box::new(on_change),
            running: BTreeMap::new(),
            door: requests.clone(),
            started: Instant::now(),
        };
        let thread =
            thread::Builder::new().name("tunnel".into()).spawn(move || keeper.keep(&news))?;
        let turn = AtomicUsize::new(0);
        Ok(Self { plan, standing, turn, requests, thread: Some(thread) })
    }

    /// What it is made of.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How it is with it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        lock(&self.standing).clone()
    }

    /// Whether something can go through it.
    #[must_use]
    pub fn is_up(&self) -> bool {
        lock(&self.standing).ready() > 0
    }

    /// Tries again at once what is not there.
    pub fn hangup(&self) {
        // Its thread ends with this only.
        let _ = self.requests.send(News::Hangup);
    }

    /// What the names in `text` stand for, for one transfer: each takes the next program. `None`
    /// if there is none at the moment.
    #[must_use]
    pub fn next_way(&self) -> Option<Way> {
        let standing = lock(&self.standing);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let port = *standing.ready.get(turn.checked_rem(standing.ready.len())?)?;
        Some(Way { localhost: self.plan.localhost.clone(), port })
    }
}

/// Ends its programs.
impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.requests.send(News::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one transfer goes through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    localhost: Vec<u8>,
    port: Option<u16>,
}

impl Way {
    /// Whether a text has names that stand for something else on each way.
    #[must_use]
    pub fn concerns(text: &[u8]) -> bool {
        let has = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
        has(b"^localport") || has(b"^localhost")
    }

    /// The text with the names replaced.
    #[must_use]
    pub fn put_into(&self, text: &[u8]) -> Vec<u8> {
        let text = replace(text, b"^localhost", &self.localhost);
        match self.port {
            Some(port) => replace(&text, b"^localport", port.to_string().as_bytes()),
            None => text,
        }
    }
}

fn replace(text: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
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

/// The thread of a tunnel.
struct Keeper {
    tunnel: tunnel::Tunnel,
    plan: Plan,
    log: Log,
    standing: Arc<Mutex<Standing>>,
    on_change: Box<dyn Fn() + Send>,
    running: BTreeMap<usize, Program>,
    /// For those who wait for programs.
    door: Sender<News>,
    started: Instant,
}

/// A program that runs, or has ended and was not waited for.
struct Program {
    child: Child,
    port: Option<u16>,
}

impl Keeper {
    fn keep(mut self, news: &Receiver<News>) {
        loop {
            let now = self.now();
            for lane in self.tunnel.advance(now) {
                self.start(lane);
            }
            self.look_for_listeners();
            self.publish();
            match self.receive(news) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(News::Ended(lane)) => self.reap(lane),
                Ok(News::Hangup) => {
                    let now = self.now();
                    self.tunnel.hangup(now);
                }
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end(news);
    }

    fn now(&self) -> Moment {
        Moment::new(self.started.elapsed())
    }

    fn receive(&self, news: &Receiver<News>) -> Result<News, RecvTimeoutError> {
        let due = self.tunnel.next_wakeup().map(|at| at - self.now());
        let glance =
            (self.plan.pool && self.tunnel.connecting().next().is_some()).then_some(GLANCE);
        match due.into_iter().chain(glance).min() {
            Some(wait) => news.recv_timeout(wait),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn start(&mut self, lane: usize) {
        let started = self.spawn().and_then(|program| {
            let (pid, door) = (Pid::from_child(&program.child), self.door.clone());
            self.running.insert(lane, program);
            let wait = move || {
                // It stays a zombie until the keeper has seen to what it left behind.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
                let _ = door.send(News::Ended(lane));
            };
            thread::Builder::new().name("tunnel".into()).spawn(wait).map(drop)
        });
        if let Err(error) = started {
            if let Some(program) = self.running.get_mut(&lane) {
                kill(&program.child, Signal::KILL);
                let _ = program.child.wait();
            }
            let binary = self.plan.command.first().map(Vec::as_slice).unwrap_or_default();
            self.down(lane, &format!("cannot start {}: {error}", Escaped(binary)));
        }
    }

    fn spawn(&self) -> io::Result<Program> {
        let port = if self.plan.pool { Some(free_port()?) } else { None };
        let way = Way { localhost: self.plan.localhost.clone(), port };
        let mut words = self.plan.command.iter().map(|word| OsString::from_vec(way.put_into(word)));
        let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
        self.log.say(Category::Debug("Tunnel"), format!("{}: starting it", self.plan.name));
        let output = self.log.child_output();
        let mut command = Command::new(program);
        // This thread ends only when all of them have.
        end_with_thread(&mut command, Signal::TERM);
        let child = command
            .args(words)
            // A group of its own, so that what it starts ends with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.stream())
            .stderr(output.stream())
            .spawn()?;
        Ok(Program { child, port })
    }

    fn look_for_listeners(&mut self) {
        let connecting: Vec<usize> = self.tunnel.connecting().collect();
        if !self.plan.pool || connecting.is_empty() {
            return;
        }
        let listening = listening_ports();
        for lane in connecting {
            let port = self.running.get(&lane).and_then(|program| program.port);
            if port.is_some_and(|port| listening.contains(&port)) {
                let now = self.now();
                self.tunnel.listens(lane, now);
            }
        }
    }

    /// Tells others how it is with it, if that changed.
    fn publish(&self) {
        let ports = self.tunnel.ready().filter_map(|lane| Some(self.running.get(&lane)?.port));
        let standing = Standing { ready: ports.collect() };
        let was = std::mem::replace(&mut *lock(&self.standing), standing.clone());
        if was == standing {
            return;
        }
        let Plan { name, settings, .. } = &self.plan;
        let text = format!("{name}: {} of {} ready", standing.ready(), settings.parallel);
        self.log.say(Category::Debug("Tunnel"), text);
        match (was.ready(), standing.ready()) {
            (0, _) => self.log.say(Category::Normal, format!("tunnel {name} is up")),
            (_, 0) => self.log.say(Category::Warn, format!("tunnel {name} is down")),
            _ => {}
        }
        (self.on_change)();
    }

    fn reap(&mut self, lane: usize) {
        let Some(mut program) = self.running.remove(&lane) else { return };
        kill(&program.child, Signal::KILL);
        let what = match program.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with code {code}"),
                (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
            },
            Err(error) => format!("it can't be followed: {error}"),
        };
        self.down(lane, &what);
    }

    fn down(&mut self, lane: usize, what: &str) {
        self.running.remove(&lane);
        let wait = self.tunnel.ended(lane, self.now()).as_secs_f64();
        let name = &self.plan.name;
        let text = format!("tunnel {name}: {what}; next try in {wait:.1} seconds");
        self.log.say(Category::Warn, text);
    }

    fn kill(&self, signal: Signal) {
        for program in self.running.values() {
            kill(&program.child, signal);
        }
    }

    fn end(mut self, news: &Receiver<News>) {
        self.kill(Signal::TERM);
        let until = Instant::now() + FAREWELL;
        while !self.running.is_empty() {
            match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(News::Ended(lane)) => {
                    if let Some(mut program) = self.running.remove(&lane) {
                        kill(&program.child, Signal::KILL);
                        let _ = program.child.wait();
                    }
                }
                Ok(News::Hangup | News::End) => {}
                Err(_) => break,
            }
        }
        self.kill(Signal::KILL);
        for program in self.running.values_mut() {
            let _ = program.child.wait();
        }
    }
}

/// Sends a signal to a program that was not waited for, and to all that it started.
fn kill(child: &Child, signal: Signal) {
    // Where nobody is left there is nothing to do.
    let _ = kill_process_group(Pid::from_child(child), signal);
}

/// A port that nobody uses at the moment. Somebody else may take it before the program does: then
/// that ends, and the next one gets another.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The ports on which somebody on this machine listens, as `/proc/net/tcp` tells (`proc_net(5)`).
fn listening_ports() -> Vec<u16> {
    const LISTEN: &str = "0A";
    let mut ports = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            let port = local.and_then(|local| local.rsplit_once(':'));
            let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            ports.extend(port.filter(|_| state == Some(LISTEN)));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{path::Path, sync::mpsc};

    /// Longer than any program runs that ends by itself, on any machine.
    const LONG: Duration = Duration::from_mins(10);

    /// A tunnel of programs that run `script` and are there after `ready`, and who hears of its
    /// changes.
    fn start(script: &str, pool: bool, parallel: usize, ready: Duration) -> (Tunnel, Receiver<()>) {
        let second = Duration::from_secs(1);
        let plan = Plan {
            name: "Tunnel1".into(),
            command: ["sh", "-c", script].map(|word| word.as_bytes().to_vec()).to_vec(),
            pool,
            settings: tunnel::Settings { parallel, retry: second, ready },
            localhost: b"localhost".to_vec(),
        };
        let (sender, changes) = mpsc::channel();
        let tunnel = Tunnel::start(plan, Log::default(), move || {
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
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    }

    #[test]
    fn it_comes_up_and_again_and_all_of_it_ends_with_it() {
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
    fn a_pool_is_up_when_somebody_listens_and_takes_all_in_turn() {
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
        wait_until(&changes, || tunnel.standing().ready() == 3);
        let ways: Vec<_> = (0..6).map(|_| tunnel.next_way().unwrap()).collect();
        assert_eq!(ways[..3], ways[3..]);
        let mut ports: Vec<_> = ways[..3].iter().map(|way| way.port.unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 3);
        let text = ways[0].put_into(b"rsync://^localhost:^localport/^local");
        let port = ways[0].port.unwrap();
        assert_eq!(text, format!("rsync://localhost:{port}/^local").as_bytes());
    }

    fn is_installed(name: &str) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|place| Path::new(&place).join(name).is_file())
    }

    #[test]
    fn one_that_cannot_be_started_is_down() {
        let (tunnel, _changes) = start("exit 3", false, 1, LONG);
        assert_eq!(tunnel.next_way(), None);
        assert!(!Way::concerns(b"/a/^local") && Way::concerns(b"h:^localport"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert!(listening_ports().contains(&listener.local_addr().unwrap().port()));
    }
}
