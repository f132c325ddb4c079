//! Lifecycle of the process: command line, log and daemon together.
//!
//! This program is both the tests and, with [`DAEMON_VAR`] in its environment, a daemon that only
//! waits for a signal. It has its own `main` because the usual one starts threads, and a process
//! with threads cannot detach.
#![expect(
    clippy::unwrap_used,
    reason = "a test, which clippy does not recognize without the test harness"
)]

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitCode, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use lsyncd::{
    config::DaemonConfig,
    daemon::{self, CaughtSignal, PendingSignals, ProcessOptions},
    frontend::{cli, load::Loader},
    report::{Category, Log},
};
use mirror_core::input::Signal;
use mirror_platform::places::SYSLOG_SOCKET;
use rustix::{
    process::{Pid, Signal as Raw, kill_process, test_kill_process},
    stdio::{stderr, stdin, stdout},
};

/// Makes this program a daemon.
const DAEMON_VAR: &str = "LSYNCD_TEST_DAEMON";

/// Path of a fifo that the daemon opens for writing right after it has blocked signals.
const FIFO_VAR: &str = "LSYNCD_TEST_SLOW";

/// Makes the daemon log more than the pipes to its reader hold.
const NOISY_VAR: &str = "LSYNCD_TEST_NOISY";

/// Number of messages with [`NOISY_VAR`].
const NOISY_MESSAGES: usize = 1000;

/// Time limit of a condition.
const TIMEOUT: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    if env::var_os(DAEMON_VAR).is_some() {
        return run_daemon().unwrap_or_else(|code| code);
    }
    for (name, test) in TESTS {
        println!("test {name}");
        test(&TestDirectory::new());
    }
    println!("test result: ok. {} passed", TESTS.len());
    ExitCode::SUCCESS
}

type NamedTest = (&'static str, fn(&TestDirectory));

const TESTS: &[NamedTest] = &[
    ("help_and_version_are_printed", help_and_version_are_printed),
    ("command_line_errors_go_to_stderr", command_line_errors_go_to_stderr),
    (
        "foreground_messages_have_a_time_and_go_to_both_streams",
        foreground_messages_have_a_time_and_go_to_both_streams,
    ),
    ("a_closed_stdout_does_not_stop_the_daemon", a_closed_stdout_does_not_stop_the_daemon),
    ("an_unwritable_logfile_aborts_the_start", an_unwritable_logfile_aborts_the_start),
    ("a_daemon_detaches_from_its_terminal", a_daemon_detaches_from_its_terminal),
    (
        "a_daemon_started_without_standard_streams_detaches",
        a_daemon_started_without_standard_streams,
    ),
    ("a_second_daemon_is_rejected", a_second_daemon_is_rejected),
    ("a_signal_determines_the_exit_code", a_signal_determines_the_exit_code),
    // Where `/proc` tells which signals are caught.
    #[cfg(target_os = "linux")]
    ("signals_before_startup_are_honoured", signals_before_startup_are_honoured),
    ("unused_signals_are_ignored", unused_signals_are_ignored),
    ("an_uncreatable_pidfile_fails_the_caller", an_uncreatable_pidfile),
    ("a_daemon_without_any_log_warns", a_daemon_without_any_log_warns),
    ("an_unread_stream_does_not_block_the_daemon", an_unread_stream),
];

// The daemon.

/// Does the same as the real `main`, but waits instead of mirroring.
fn run_daemon() -> Result<ExitCode, ExitCode> {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let signals = daemon::hold_signals().map_err(|_| ExitCode::FAILURE)?;
    if let Some(path) = env::var_os(FIFO_VAR) {
        // Blocks until the test opens the fifo.
        let _ = fs::write(path, "");
    }
    let (invocation, log) = cli::read(&args)?;
    let loaded = Loader::new(invocation, log.clone()).start()?;
    let DaemonConfig { mode, logfile, pidfile, .. } = loaded.config.daemon;
    let options = ProcessOptions { mode, logfile, pidfile };
    let mut process = daemon::start(options, &signals, &log)?;
    process.detach(&log)?;
    let signal = wait(signals, &log).map_err(|error| {
        log.say(Category::Error, error);
        ExitCode::FAILURE
    })?;
    log.say(Category::Normal, format_args!("--- {} signal, fading ---", signal.name()));
    Ok(ExitCode::from(128 + signal.number()))
}

/// Logs what the tests check, and waits for a signal to exit.
fn wait(pending: PendingSignals, log: &Log) -> io::Result<Signal> {
    let (sender, signals) = mpsc::channel();
    daemon::watch_signals(pending, Log::default(), move |caught| match caught {
        CaughtSignal::Fleet(signal) => drop(sender.send(signal)),
        CaughtSignal::LogState => {}
    })?;
    log.say(Category::Warn, format_args!("works in {}", env::current_dir()?.display()));
    let null = fs::metadata("/dev/null")?.rdev();
    for (number, stream) in [stdin(), stdout(), stderr()].into_iter().enumerate() {
        let stream = fs::File::from(stream.try_clone_to_owned()?).metadata()?;
        let is = if stream.rdev() == null { "/dev/null" } else { "open" };
        log.say(Category::Debug("Streams"), format_args!("{number} is {is}"));
    }
    if env::var_os(NOISY_VAR).is_some() {
        for number in 0..NOISY_MESSAGES {
            let category = if number % 2 == 0 { Category::Normal } else { Category::Error };
            log.say(category, format_args!("nobody reads this {number} {}", "x".repeat(5000)));
        }
    }
    if env::var_os(NOISY_VAR).is_none() {
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

/// A temporary directory with a source `src`.
struct TestDirectory {
    temp: tempfile::TempDir,
}

impl TestDirectory {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("src")).unwrap();
        Self { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(name)
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(args.split_whitespace()).env(DAEMON_VAR, "").env("TZ", "UTC");
        command.current_dir(self.temp.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Waits for the pidfile `name`, and returns its PID.
    fn pid(&self, name: &str) -> Pid {
        let path = self.path(name);
        let text = until("a pidfile", || {
            fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
        });
        Pid::from_raw(text.trim_end().parse().unwrap()).unwrap()
    }

    /// Waits until the log file `name` contains `end`, and returns its lines without dates.
    fn log_until(&self, name: &str, end: &str) -> String {
        let path = self.path(name);
        let text = until(end, || fs::read_to_string(&path).ok().filter(|text| text.contains(end)));
        let date = "Mon Nov  2 22:04:05 2026 ".len();
        let cut = |line: &str| line.get(date..).unwrap_or(line).to_owned();
        text.lines().map(cut).collect::<Vec<_>>().join("\n")
    }
}

/// A process that is killed on drop.
struct RunningDaemon(Child);

impl RunningDaemon {
    fn kill(&self, signal: Raw) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for RunningDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A detached daemon that is killed on drop.
struct DetachedProcess(Pid);

impl Drop for DetachedProcess {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Raw::KILL);
    }
}

/// Polls until `condition` returns a value.
fn until<T>(description: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < TIMEOUT, "timeout waiting for {description}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the lines without their time.
fn without_time(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().map(|line| line["22:04:05 ".len()..].to_owned()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn help_and_version_are_printed(directory: &TestDirectory) {
    let version = directory.output("-version -unknown");
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), format!("Version: {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(directory.output("--version").status.code(), Some(0));
    assert_eq!(directory.output("-V").stdout, version.stdout);
    for (args, code) in [
        ("", 255),
        ("-nodaemon", 255),
        ("-logfile -help", 0),
        ("--help", 0),
        ("-h", 0),
        ("-nodaemon -h", 0),
    ] {
        let help = directory.output(args);
        assert_eq!(help.status.code(), Some(code), "{args:?}");
        let shown = text(&help.stdout);
        assert!(shown.starts_with("lsyncd version: "), "{args:?}");
        assert!(shown.contains("\n\nUSAGE:\n") && shown.contains("\nOPTIONS:"), "{args:?}");
        assert!(help.stderr.is_empty(), "{args:?}");
    }
    let monitors = directory.output("-monitor");
    assert_eq!(monitors.status.code(), Some(255));
    assert_eq!(text(&monitors.stdout), "This Lsyncd supports these monitors:\n   inotify\n\n");
}

fn command_line_errors_go_to_stderr(directory: &TestDirectory) {
    for (args, message) in [
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
            "Error: the target '/' is the root directory of this machine, which would be erased\n",
        ),
    ] {
        let output = directory.output(args);
        assert_eq!(output.status.code(), Some(255), "{args}");
        assert_eq!(text(&output.stderr), message, "{args}");
        assert!(output.stdout.is_empty(), "{args}");
    }
}

fn foreground_messages_have_a_time_and_go_to_both_streams(directory: &TestDirectory) {
    let command =
        directory.command("-nodaemon -logfile log -pidfile pid -rsync src host:dst").spawn();
    let mut running = RunningDaemon(command.unwrap());
    directory.log_until("log", "ready");
    assert_eq!(directory.pid("pid"), Pid::from_child(&running.0));
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    assert!(!directory.path("pid").exists());
    let here = format!("Warn: works in {}", directory.path("").display());
    let here = here.trim_end_matches('/');
    let fading = "Normal: --- TERM signal, fading ---";
    let log = directory.log_until("log", "fading");
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        ["Normal: --- Startup ---", here, "Error: ready", fading]
    );
    let mut out = Vec::new();
    io::copy(&mut running.0.stdout.take().unwrap(), &mut out).unwrap();
    let (child, out): (Vec<_>, Vec<_>) =
        text(&out).lines().map(str::to_owned).partition(|line| line == "child speaks");
    assert_eq!(child.len(), 1);
    let out = without_time(out.join("\n").as_bytes());
    assert_eq!(out, ["Normal: --- Startup ---", here, fading]);
    let mut err = Vec::new();
    io::copy(&mut running.0.stderr.take().unwrap(), &mut err).unwrap();
    assert_eq!(without_time(&err), ["Error: ready"]);
}

fn a_closed_stdout_does_not_stop_the_daemon(directory: &TestDirectory) {
    let mut running =
        RunningDaemon(directory.command("-nodaemon -rsync src host:dst").spawn().unwrap());
    drop(running.0.stdout.take());
    let mut err = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    // The child that writes gets the broken pipe too, and may report it before.
    while !line.ends_with("Error: ready\n") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0);
    }
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
}

fn an_unwritable_logfile_aborts_the_start(directory: &TestDirectory) {
    for (mode, greeting) in [
        ("-nodaemon", "Normal: --- Startup ---"),
        ("-insist", "Normal: --- Startup, daemonizing ---"),
    ] {
        let output = directory.output(&format!("{mode} -logfile no/log -rsync src host:dst"));
        assert_eq!(output.status.code(), Some(255));
        assert_eq!(without_time(&output.stdout), [greeting]);
        let first = format!("Cannot open logfile [{}]!", directory.path("no/log").display());
        let lines = [first, "No such file or directory: create its directory".into()];
        assert_eq!(text(&output.stderr).lines().collect::<Vec<_>>(), lines);
    }
}

fn a_daemon_detaches_from_its_terminal(directory: &TestDirectory) {
    let args = "-log Streams -logfile log -pidfile pid -rsync src host:dst";
    check_daemon(directory, &mut directory.command(args));
}

fn a_daemon_started_without_standard_streams(directory: &TestDirectory) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
    shell.arg(env::current_exe().unwrap());
    shell.args("-log Streams -logfile log -pidfile pid -rsync src host:dst".split_whitespace());
    shell.env(DAEMON_VAR, "").current_dir(directory.temp.path());
    check_daemon(directory, &mut shell);
}

fn check_daemon(directory: &TestDirectory, command: &mut Command) {
    // The pipes are closed although the daemon still runs: it has released both streams.
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let daemon = DetachedProcess(directory.pid("pid"));
    let log = directory.log_until("log", "ready");
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
    // Renames the file without notifying the daemon.
    fs::rename(directory.path("log"), directory.path("log.1")).unwrap();
    kill_process(daemon.0, Raw::HUP).unwrap();
    assert_eq!(directory.log_until("log", "HUP"), "Normal: --- HUP signal, resetting ---");
    kill_process(daemon.0, Raw::TERM).unwrap();
    until("the exit", || (!directory.path("pid").exists()).then_some(()));
    directory.log_until("log", "--- TERM signal, fading ---");
    until("the exit", || test_kill_process(daemon.0).is_err().then_some(()));
}

fn session(pid: Pid) -> i32 {
    rustix::process::getsid(Some(pid)).unwrap().as_raw_nonzero().get()
}

fn a_second_daemon_is_rejected(directory: &TestDirectory) {
    let args = "-logfile log -pidfile pid -rsync src host:dst";
    assert_eq!(directory.output(args).status.code(), Some(0));
    let daemon = DetachedProcess(directory.pid("pid"));
    directory.log_until("log", "ready");
    let refused = format!(
        "Error: Cannot lock pidfile; '{}', another daemon holds it: stop that, or set another pidfile",
        directory.path("pid").display()
    );

    let second = directory.output("-logfile log2 -pidfile pid -rsync src host:dst");
    assert_eq!(second.status.code(), Some(255));
    assert_eq!(without_time(&second.stdout), ["Normal: --- Startup, daemonizing ---"]);
    assert_eq!(without_time(&second.stderr), [refused.as_str()]);
    assert!(directory.log_until("log2", "pidfile").ends_with(&refused));

    let third = directory.output("-nodaemon -pidfile pid -rsync src host:dst");
    assert_eq!(third.status.code(), Some(255));
    assert_eq!(without_time(&third.stderr), [refused]);

    assert_eq!(directory.pid("pid"), daemon.0);
    assert!(test_kill_process(daemon.0).is_ok());
}

fn a_signal_determines_the_exit_code(directory: &TestDirectory) {
    for (signal, name, code) in [(Raw::TERM, "TERM", 143), (Raw::INT, "INT", 130)] {
        let log = format!("log-{name}");
        let command =
            directory.command(&format!("-nodaemon -logfile {log} -rsync src host:dst")).spawn();
        let mut running = RunningDaemon(command.unwrap());
        directory.log_until(&log, "ready");
        running.kill(signal);
        let status = running.0.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        directory.log_until(&log, &format!("Normal: --- {name} signal, fading ---"));
    }
}

/// SIGHUP stays pending until the daemon handles it; SIGTERM kills the process at once.
#[cfg(target_os = "linux")]
fn signals_before_startup_are_honoured(directory: &TestDirectory) {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    let pipe = directory.path("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let start = || {
        let mut command = directory.command("-nodaemon -logfile log -rsync src host:dst");
        let running = RunningDaemon(command.env(FIFO_VAR, &pipe).spawn().unwrap());
        let status = format!("/proc/{}/status", running.0.id());
        until("the handler", || {
            let text = fs::read_to_string(&status).ok()?;
            let mask = |name| {
                let mask = text.lines().find_map(|line| line.strip_prefix(name))?;
                u64::from_str_radix(mask.trim(), 16).ok()
            };
            // SIGHUP, SIGUSR1 and SIGUSR2 are caught, and SIGXFSZ is ignored.
            (mask("SigCgt:")? & 0xa01 == 0xa01 && mask("SigIgn:")? & 1 << 24 != 0).then_some(())
        });
        running
    };
    let mut running = start();
    running.kill(Raw::HUP);
    drop(fs::File::open(&pipe).unwrap());
    directory.log_until("log", "--- HUP signal, resetting ---");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    let mut running = start();
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().signal(), Some(15));
}

fn unused_signals_are_ignored(directory: &TestDirectory) {
    let command = directory.command("-nodaemon -logfile log -rsync src host:dst").spawn();
    let mut running = RunningDaemon(command.unwrap());
    directory.log_until("log", "ready");
    for signal in [Raw::USR1, Raw::USR2, Raw::XFSZ, Raw::PIPE, Raw::HUP] {
        running.kill(signal);
    }
    directory.log_until("log", "HUP");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
}

fn an_uncreatable_pidfile(directory: &TestDirectory) {
    std::os::unix::fs::symlink(directory.path("victim"), directory.path("pid")).unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(directory.temp.path(), all).unwrap();
    for pidfile in ["no/pid", "src", "pid"] {
        let output =
            directory.output(&format!("-logfile log -pidfile {pidfile} -rsync src host:dst"));
        assert_eq!(output.status.code(), Some(255), "{pidfile}");
        let message = without_time(&output.stderr).join("\n");
        let refused =
            format!("Error: Cannot create pidfile; '{}'", directory.path(pidfile).display());
        assert!(message.starts_with(&refused), "{message}");
    }
    assert!(!directory.path("victim").exists());
}

fn a_daemon_without_any_log_warns(directory: &TestDirectory) {
    let output = directory.output("-pidfile pid -rsync src host:dst");
    assert_eq!(output.status.code(), Some(0));
    let _daemon = DetachedProcess(directory.pid("pid"));
    let message = format!("no listener at {SYSLOG_SOCKET}");
    let warned = text(&output.stdout).contains(&message);
    let is_there =
        |path| std::os::unix::net::UnixDatagram::unbound().unwrap().connect(path).is_ok();
    assert_eq!(warned, !is_there(SYSLOG_SOCKET), "{}", text(&output.stdout));
}

fn an_unread_stream(directory: &TestDirectory) {
    let args = "-nodaemon -log all -logfile log -rsync src host:dst";
    let mut running = RunningDaemon(directory.command(args).env(NOISY_VAR, "").spawn().unwrap());
    directory.log_until("log", "ready");
    running.kill(Raw::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
    let log = directory.log_until("log", "fading");
    assert_eq!(log.matches("nobody reads this").count(), NOISY_MESSAGES);
}
