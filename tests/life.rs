//! The life of the process: what the command line, the log and the daemon do together.
//!
//! This program is both sides: without [`ROLE`] in its environment it tests, and with it it is a
//! daemon that does nothing but wait for a signal. It has a `main` of its own because the usual
//! one starts threads, and a process with threads can't detach.
#![expect(
    clippy::unwrap_used,
    reason = "a test, though clippy does not know one by a main of its own"
)]

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitCode, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use lsyncd::{
    config::Daemon,
    daemon::{self, Life, Pending},
    frontend::{cli, load::Loader},
    report::{Category, Log},
};
use mirror_core::input::Signal;
use rustix::process::{Pid, Signal as Raw, kill_process, test_kill_process};

const ROLE: &str = "LSYNCD_TEST_DAEMON";

/// Names a pipe that the daemon opens for writing before it does anything but hold signals.
const SLOW: &str = "LSYNCD_TEST_SLOW";

/// Has the daemon say more than the pipes to its reader take.
const NOISY: &str = "LSYNCD_TEST_NOISY";

/// How often.
const NOISE: usize = 1000;

/// Nothing here takes that long.
const TOO_LONG: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return run().unwrap_or_else(|code| code);
    }
    for (name, test) in TESTS {
        println!("test {name}");
        test(&Place::new());
    }
    println!("test result: ok. {} passed", TESTS.len());
    ExitCode::SUCCESS
}

type Test = (&'static str, fn(&Place));

const TESTS: &[Test] = &[
    ("what_is_asked_for_is_printed", what_is_asked_for_is_printed),
    ("what_is_wrong_is_told_on_stderr", what_is_wrong_is_told_on_stderr),
    ("the_foreground_has_clock_and_streams", the_foreground_has_clock_and_streams),
    ("a_closed_stdout_ends_nothing", a_closed_stdout_ends_nothing),
    ("an_unwritable_logfile_ends_the_start", an_unwritable_logfile_ends_the_start),
    ("a_daemon_leaves_its_terminal", a_daemon_leaves_its_terminal),
    ("a_daemon_without_standard_streams_is_one_too", a_daemon_without_standard_streams),
    ("a_second_daemon_is_kept_out", a_second_daemon_is_kept_out),
    ("a_signal_has_its_exit_code", a_signal_has_its_exit_code),
    ("no_signal_is_too_early", no_signal_is_too_early),
    ("signals_that_mean_nothing_end_nothing", signals_that_mean_nothing_end_nothing),
    ("a_pidfile_that_cannot_be_made_fails_the_caller", a_pidfile_that_cannot_be_made),
    ("a_daemon_that_nobody_hears_says_so", a_daemon_that_nobody_hears_says_so),
    ("a_stream_that_nobody_reads_holds_up_nothing", a_stream_that_nobody_reads),
];

// The daemon.

/// The shape of the real `main`, with a wait in the place of the mirrors.
fn run() -> Result<ExitCode, ExitCode> {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let signals = daemon::hold_signals().map_err(|_| ExitCode::FAILURE)?;
    if let Some(path) = env::var_os(SLOW) {
        // Opened as soon as the test reads: till then it has not got any further.
        let _ = fs::write(path, "");
    }
    let (invocation, log) = cli::read(&words)?;
    let loaded = Loader::new(invocation, log.clone()).start()?;
    let Daemon { mode, logfile, pidfile, .. } = loaded.setup.daemon;
    let life = Life { mode, logfile, pidfile };
    let _living = daemon::start(life, &signals, &log)?;
    let signal = wait(signals, &log).map_err(|error| {
        log.say(Category::Error, error);
        ExitCode::FAILURE
    })?;
    log.say(Category::Normal, format_args!("--- {} signal, fading ---", signal.name()));
    Ok(ExitCode::from(128 + signal.number()))
}

/// Tells what a test wants to see, and waits for a signal to end.
fn wait(pending: Pending, log: &Log) -> io::Result<Signal> {
    let (sender, signals) = mpsc::channel();
    daemon::watch_signals(pending, Log::default(), move |signal| {
        let _ = sender.send(signal);
    })?;
    log.say(Category::Warn, format_args!("works in {}", env::current_dir()?.display()));
    for stream in 0..3 {
        let open = fs::read_link(format!("/proc/self/fd/{stream}"))?;
        log.say(Category::Debug("Streams"), format_args!("{stream} is {}", open.display()));
    }
    if env::var_os(NOISY).is_some() {
        for number in 0..NOISE {
            let category = if number % 2 == 0 { Category::Normal } else { Category::Error };
            log.say(category, format_args!("nobody reads this {number} {}", "x".repeat(5000)));
        }
    }
    if env::var_os(NOISY).is_none() {
        let output = log.child_output();
        let mut child = Command::new("sh");
        child.args(["-c", "echo child speaks"]).stdout(output.stream()).stderr(output.stream());
        child.status()?;
    }
    log.say(Category::Error, "ready");
    loop {
        match signals.recv().map_err(io::Error::other)? {
            Signal::Hangup => log.say(Category::Normal, "--- HUP signal, resetting ---"),
            end @ (Signal::Terminate | Signal::Interrupt) => return Ok(end),
        }
    }
}

// The tests.

/// A directory that holds `src`.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("src")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(words.split_whitespace()).env(ROLE, "").env("TZ", "UTC");
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// The number in the pidfile `name`, once it is there.
    fn pid(&self, name: &str) -> Pid {
        let path = self.path(name);
        let text = until("a pidfile", || {
            fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
        });
        Pid::from_raw(text.trim_end().parse().unwrap()).unwrap()
    }

    /// What stands in the logfile `name` once `end` is a part of it; the dates are cut off.
    fn log_until(&self, name: &str, end: &str) -> String {
        let path = self.path(name);
        let text = until(end, || fs::read_to_string(&path).ok().filter(|text| text.contains(end)));
        let date = "Mon Nov  2 22:04:05 2026 ".len();
        let cut = |line: &str| line.get(date..).unwrap_or(line).to_owned();
        text.lines().map(cut).collect::<Vec<_>>().join("\n")
    }
}

/// A process that is ended when the test is over, however it is over.
struct Running(Child);

impl Running {
    fn kill(&self, signal: Raw) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon that is ended when the test is over.
struct Detached(Pid);

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Raw::KILL);
    }
}

/// Waits for a condition.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < TOO_LONG, "{what} did not come");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The lines without the time before them.
fn without_clock(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().map(|line| line["22:04:05 ".len()..].to_owned()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn what_is_asked_for_is_printed(place: &Place) {
    let version = place.output("-version -unknown");
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), format!("Version: {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.output("--version").status.code(), Some(0));
    assert_eq!(place.output("-V").stdout, version.stdout);
    for (words, code) in [
        ("", 255),
        ("-nodaemon", 255),
        ("-logfile -help", 0),
        ("--help", 0),
        ("-h", 0),
        ("-nodaemon -h", 0),
    ] {
        let help = place.output(words);
        assert_eq!(help.status.code(), Some(code), "{words:?}");
        let shown = text(&help.stdout);
        assert!(shown.starts_with("lsyncd version: "), "{words:?}");
        assert!(shown.contains("\n\nUSAGE:\n") && shown.contains("\nOPTIONS:"), "{words:?}");
        assert!(help.stderr.is_empty(), "{words:?}");
    }
    let monitors = place.output("-monitor");
    assert_eq!(monitors.status.code(), Some(255));
    assert_eq!(text(&monitors.stdout), "This Lsyncd supports these monitors:\n   inotify\n\n");
}

fn what_is_wrong_is_told_on_stderr(place: &Place) {
    for (words, said) in [
        ("-foo", "Error: unknown option command line option -foo\n"),
        ("-log scarce -foo", "Error: unknown option command line option -foo\n"),
        ("-log foo -help", "Error: 'foo' is not a valid logging category\n"),
        (
            "-rsync no host:",
            "Error: failure getting absolute path of [no]\n\
             Error: Cannot access source directory: no\n",
        ),
        (
            "-nodaemon -rsync src /",
            "Error: the target '/' is the root directory of this machine: all of it would go\n",
        ),
    ] {
        let output = place.output(words);
        assert_eq!(output.status.code(), Some(255), "{words}");
        assert_eq!(text(&output.stderr), said, "{words}");
        assert!(output.stdout.is_empty(), "{words}");
    }
}

fn the_foreground_has_clock_and_streams(place: &Place) {
    let command = place.command("-nodaemon -logfile log -pidfile pid -rsync src host:dst").spawn();
    let mut running = Running(command.unwrap());
    place.log_until("log", "ready");
    assert_eq!(place.pid("pid"), Pid::from_child(&running.0));
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    assert!(!place.path("pid").exists());
    let here = format!("Warn: works in {}", place.path("").display());
    let here = here.trim_end_matches('/');
    let fading = "Normal: --- TERM signal, fading ---";
    let log = place.log_until("log", "fading");
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        ["Normal: --- Startup ---", here, "Error: ready", fading]
    );
    let mut out = Vec::new();
    io::copy(&mut running.0.stdout.take().unwrap(), &mut out).unwrap();
    let (child, out): (Vec<_>, Vec<_>) =
        text(&out).lines().map(str::to_owned).partition(|line| line == "child speaks");
    assert_eq!(child.len(), 1);
    let out = without_clock(out.join("\n").as_bytes());
    assert_eq!(out, ["Normal: --- Startup ---", here, fading]);
    let mut err = Vec::new();
    io::copy(&mut running.0.stderr.take().unwrap(), &mut err).unwrap();
    assert_eq!(without_clock(&err), ["Error: ready"]);
}

fn a_closed_stdout_ends_nothing(place: &Place) {
    let mut running = Running(place.command("-nodaemon -rsync src host:dst").spawn().unwrap());
    drop(running.0.stdout.take());
    let mut err = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    // The child that speaks gets the broken pipe too, and may complain before.
    while !line.ends_with("Error: ready\n") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0);
    }
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
}

fn an_unwritable_logfile_ends_the_start(place: &Place) {
    for (mode, greeting) in [
        ("-nodaemon", "Normal: --- Startup ---"),
        ("-insist", "Normal: --- Startup, daemonizing ---"),
    ] {
        let output = place.output(&format!("{mode} -logfile no/log -rsync src host:dst"));
        assert_eq!(output.status.code(), Some(255));
        assert_eq!(without_clock(&output.stdout), [greeting]);
        let said = format!("Cannot open logfile [{}]!\n", place.path("no/log").display());
        assert_eq!(text(&output.stderr), said);
    }
}

fn a_daemon_leaves_its_terminal(place: &Place) {
    let words = "-log Streams -logfile log -pidfile pid -rsync src host:dst";
    check_daemon(place, &mut place.command(words));
}

/// A program that is started without its standard streams.
fn a_daemon_without_standard_streams(place: &Place) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
    shell.arg(env::current_exe().unwrap());
    shell.args("-log Streams -logfile log -pidfile pid -rsync src host:dst".split_whitespace());
    shell.env(ROLE, "").current_dir(place.directory.path());
    check_daemon(place, &mut shell);
}

fn check_daemon(place: &Place, command: &mut Command) {
    // Its end comes although the daemon lives on: both streams were let go.
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let daemon = Detached(place.pid("pid"));
    let log = place.log_until("log", "ready");
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        [
            "Normal: --- Startup, daemonizing ---",
            "Warn: works in /",
            "Streams: 0 is /dev/null",
            "Streams: 1 is /dev/null",
            "Streams: 2 is /dev/null",
            "child speaks",
            "Error: ready"
        ]
    );
    assert_eq!(session(daemon.0), daemon.0.as_raw_nonzero().get());
    // The file has another name now, and the daemon does not know.
    fs::rename(place.path("log"), place.path("log.1")).unwrap();
    kill_process(daemon.0, Raw::HUP).unwrap();
    assert_eq!(place.log_until("log", "HUP"), "Normal: --- HUP signal, resetting ---");
    kill_process(daemon.0, Raw::TERM).unwrap();
    until("the end", || (!place.path("pid").exists()).then_some(()));
    place.log_until("log", "--- TERM signal, fading ---");
    until("the end", || test_kill_process(daemon.0).is_err().then_some(()));
}

/// The session of a process.
fn session(pid: Pid) -> i32 {
    rustix::process::getsid(Some(pid)).unwrap().as_raw_nonzero().get()
}

fn a_second_daemon_is_kept_out(place: &Place) {
    let words = "-logfile log -pidfile pid -rsync src host:dst";
    assert_eq!(place.output(words).status.code(), Some(0));
    let daemon = Detached(place.pid("pid"));
    place.log_until("log", "ready");
    let refused = format!("Error: Cannot lock pidfile; '{}'", place.path("pid").display());

    let second = place.output("-logfile log2 -pidfile pid -rsync src host:dst");
    assert_eq!(second.status.code(), Some(255));
    assert_eq!(without_clock(&second.stdout), ["Normal: --- Startup, daemonizing ---"]);
    assert_eq!(without_clock(&second.stderr), [refused.as_str()]);
    assert!(place.log_until("log2", "pidfile").ends_with(&refused));

    let third = place.output("-nodaemon -pidfile pid -rsync src host:dst");
    assert_eq!(third.status.code(), Some(255));
    assert_eq!(without_clock(&third.stderr), [refused]);

    assert_eq!(place.pid("pid"), daemon.0);
    assert!(test_kill_process(daemon.0).is_ok());
}

fn a_signal_has_its_exit_code(place: &Place) {
    for (signal, name, code) in [(Raw::TERM, "TERM", 143), (Raw::INT, "INT", 130)] {
        let log = format!("log-{name}");
        let command =
            place.command(&format!("-nodaemon -logfile {log} -rsync src host:dst")).spawn();
        let mut running = Running(command.unwrap());
        place.log_until(&log, "ready");
        running.kill(signal);
        let status = running.0.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        place.log_until(&log, &format!("Normal: --- {name} signal, fading ---"));
    }
}

/// SIGHUP waits for somebody who takes it; who asks the process to end is not kept waiting.
fn no_signal_is_too_early(place: &Place) {
    let pipe = place.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let start = || {
        let mut command = place.command("-nodaemon -logfile log -rsync src host:dst");
        let running = Running(command.env(SLOW, &pipe).spawn().unwrap());
        let status = format!("/proc/{}/status", running.0.id());
        until("the handler", || {
            let text = fs::read_to_string(&status).ok()?;
            let mask = |name| {
                let mask = text.lines().find_map(|line| line.strip_prefix(name))?;
                u64::from_str_radix(mask.trim(), 16).ok()
            };
            // SIGHUP, SIGUSR1 and SIGUSR2; and SIGXFSZ is no trouble.
            (mask("SigCgt:")? & 0xa01 == 0xa01 && mask("SigIgn:")? & 1 << 24 != 0).then_some(())
        });
        running
    };
    let mut running = start();
    running.kill(Raw::HUP);
    drop(fs::File::open(&pipe).unwrap());
    place.log_until("log", "--- HUP signal, resetting ---");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    let mut running = start();
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().signal(), Some(15));
}

fn signals_that_mean_nothing_end_nothing(place: &Place) {
    let command = place.command("-nodaemon -logfile log -rsync src host:dst").spawn();
    let mut running = Running(command.unwrap());
    place.log_until("log", "ready");
    for signal in [Raw::USR1, Raw::USR2, Raw::XFSZ, Raw::PIPE, Raw::HUP] {
        running.kill(signal);
    }
    place.log_until("log", "HUP");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
}

fn a_pidfile_that_cannot_be_made(place: &Place) {
    std::os::unix::fs::symlink(place.path("victim"), place.path("pid")).unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(place.directory.path(), all).unwrap();
    for pidfile in ["no/pid", "src", "pid"] {
        let output = place.output(&format!("-logfile log -pidfile {pidfile} -rsync src host:dst"));
        assert_eq!(output.status.code(), Some(255), "{pidfile}");
        let said = without_clock(&output.stderr).join("\n");
        let refused = format!("Error: Cannot create pidfile; '{}'", place.path(pidfile).display());
        assert!(said.starts_with(&refused), "{said}");
    }
    assert!(!place.path("victim").exists());
}

fn a_daemon_that_nobody_hears_says_so(place: &Place) {
    let output = place.output("-pidfile pid -rsync src host:dst");
    assert_eq!(output.status.code(), Some(0));
    let _daemon = Detached(place.pid("pid"));
    let told = text(&output.stdout).contains("nobody listens at /dev/log");
    let is_there =
        |path| std::os::unix::net::UnixDatagram::unbound().unwrap().connect(path).is_ok();
    assert_eq!(told, !is_there("/dev/log"), "{}", text(&output.stdout));
}

fn a_stream_that_nobody_reads(place: &Place) {
    let words = "-nodaemon -log all -logfile log -rsync src host:dst";
    let mut running = Running(place.command(words).env(NOISY, "").spawn().unwrap());
    place.log_until("log", "ready");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    let said = place.log_until("log", "fading");
    assert_eq!(said.matches("nobody reads this").count(), NOISE);
}
