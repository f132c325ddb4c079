//! A sandbox in which the commands of a page run.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{blocks, transcript};

/// Beginnings of the paths in the manual that are in the sandbox.
const DIRECTORIES: [&str; 7] =
    ["/srv/", "/mnt/", "/backup/", "/etc/", "/run/lsyncd", "/var/", "/hosts/"];
/// Hosts of the manual, which are directories of the sandbox.
const HOSTS: [&str; 4] = ["web1:/", "web2:/", "web3:/", "backup:/"];
/// Programs that would change this machine, or reach another one.
const HARMLESS: [&str; 7] =
    ["systemctl", "ssh", "logger", "mail", "journalctl", "nginx", "stunnel"];
/// Commands that only show something, and can be repeated until they show it.
const QUERIES: [&str; 7] = [
    "lsyncctl status",
    "lsyncctl explain",
    "lsyncctl history",
    "lsyncctl metrics",
    "cat ",
    "ls ",
    "diff ",
];
/// Time until a query has to show what the manual says.
const PATIENCE: Duration = Duration::from_mins(1);

/// A sandbox with the state of a page.
#[derive(Debug)]
pub(crate) struct ManualSession {
    page: String,
    line: usize,
    directory: TempDir,
    daemon: Option<ShownDaemon>,
}

/// A daemon that a page starts. Its process group is killed on drop.
#[derive(Debug)]
struct ShownDaemon {
    child: Child,
    log: PathBuf,
}

impl Drop for ShownDaemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The group was created for this child.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl ManualSession {
    /// Creates the sandbox of a page.
    pub(crate) fn new(page: &str) -> Self {
        let base = fs::canonicalize(std::env::temp_dir()).unwrap();
        let directory = tempfile::Builder::new().prefix("man-").tempdir_in(base).unwrap();
        let top = directory.path();
        fs::set_permissions(top, Permissions::from_mode(0o755)).unwrap();
        for name in ["home", "srv/www", "mnt", "backup", "etc/lsyncd", "run/lsyncd", "var/log"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        for host in HOSTS.map(|host| host.trim_end_matches(":/")) {
            fs::create_dir_all(top.join("hosts").join(host).join("srv")).unwrap();
        }
        let programs = top.join("bin");
        fs::create_dir(&programs).unwrap();
        // Written by another process: a child of another test could inherit a descriptor that is
        // open for writing, and a program that is open for writing cannot be run.
        let write = "for name; do echo '#!/bin/sh' > \"$name\" && chmod 755 \"$name\"; done";
        let mut shell = Command::new("sh");
        shell.args(["-c", write, "sh"]).args(HARMLESS).current_dir(&programs);
        assert!(shell.status().unwrap().success());
        for program in [env!("CARGO_BIN_EXE_lsyncd"), env!("CARGO_BIN_EXE_lsyncctl")] {
            let name = Path::new(program).file_name().unwrap();
            std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
        }
        Self { page: page.to_owned(), line: 0, directory, daemon: None }
    }

    /// Notes the line for messages.
    pub(crate) const fn at(&mut self, line: usize) -> &mut Self {
        self.line = line;
        self
    }

    /// Writes a configuration, and checks it.
    pub(crate) fn check_config(&self, text: &str, file: Option<&str>, is_strict: bool) {
        let text = self.localized(text);
        let path = match file {
            Some(file) => PathBuf::from(self.localized(file)),
            None => self.directory.path().join("block.lua"),
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
        self.create_sources(&text);
        let option = if is_strict { "-check=strict" } else { "-check" };
        let script = format!("exec lsyncd {option} \"$0\"");
        let output = self.shell(&script).arg(&path).output().unwrap();
        let has_warning = both(&output).contains("Warning: ");
        assert!(is_strict || has_warning, "{}: there is no warning", self.place());
        assert!(output.status.success(), "{}: {}{text}", self.place(), both(&output));
    }

    /// Creates the sources of a configuration, and the parents of its targets.
    fn create_sources(&self, text: &str) {
        let top = self.directory.path().to_str().unwrap();
        for part in text.split(['"', '\'']).filter(|part| part.starts_with(top)) {
            let is_source = text
                .match_indices(part)
                .any(|(at, _)| text[..at].trim_end_matches(['"', ' ', '=']).ends_with("source"));
            let path = Path::new(part);
            let directory = if is_source { path } else { path.parent().unwrap() };
            fs::create_dir_all(directory).unwrap();
        }
    }

    /// Writes a text to its file in the sandbox.
    pub(crate) fn keep(&self, text: &str, file: Option<&str>) {
        let Some(file) = file else { return };
        let path = PathBuf::from(self.localized(file));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut write = self.shell("cat > \"$0\" && chmod 755 \"$0\"");
        let mut child = write.arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        let text = self.localized(text);
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.place());
    }

    /// Runs a command that readers do not see.
    pub(crate) fn run_hidden(&self, command: &str) {
        let output = self.run(command);
        assert!(output.status.success(), "{}: {command}: {}", self.place(), both(&output));
    }

    /// Runs a whole script.
    pub(crate) fn script(&self, text: &str) {
        self.run_hidden(&format!("set -e\n{text}"));
    }

    /// Runs commands, and compares their output.
    pub(crate) fn transcript(&self, text: &str, last_code: i32) {
        let commands = blocks::transcript(text);
        let last = commands.len() - 1;
        for (index, shown) in commands.iter().enumerate() {
            let code = if index == last { last_code } else { 0 };
            let deadline = Instant::now() + PATIENCE;
            let is_query = QUERIES.iter().any(|query| shown.command.starts_with(query));
            loop {
                let output = self.run(&shown.command);
                let is_right = output.status.code() == Some(code)
                    && transcript::matches(&shown.output, &self.public(&both(&output)));
                if is_right {
                    break;
                }
                let log = self.daemon.as_ref().map(|it| fs::read_to_string(&it.log).unwrap());
                assert!(
                    is_query && Instant::now() < deadline,
                    "{}: {} ends with {}:\n{}\n--- log ---\n{}",
                    self.place(),
                    shown.command,
                    output.status,
                    self.public(&both(&output)),
                    log.unwrap_or_default(),
                );
                pause();
            }
        }
    }

    /// Starts a daemon that the manual shows, and waits for its output.
    pub(crate) fn start_shown(&mut self, text: &str) {
        let commands = blocks::transcript(text);
        let [shown] = &*commands else { panic!("{}: one command", self.place()) };
        self.start(&shown.command, &shown.output);
    }

    /// Starts a daemon in place of the one before, and waits for its socket and its output.
    pub(crate) fn start(&mut self, command: &str, output: &[String]) {
        assert!(command.contains(" -nodaemon "), "{}: {command}", self.place());
        self.daemon = None;
        let log = self.directory.path().join("daemon.log");
        let file = File::create(&log).unwrap();
        let mut shell = self.shell(&format!("exec {}", self.localized(command)));
        shell.process_group(0).stdout(file.try_clone().unwrap()).stderr(file);
        self.daemon = Some(ShownDaemon { child: shell.spawn().unwrap(), log: log.clone() });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = self.run("lsyncctl metrics").status.success();
            let text = self.public(&fs::read_to_string(&log).unwrap());
            if answers && transcript::begins(output, &text) {
                return;
            }
            assert!(Instant::now() < deadline, "{}: {command}:\n{text}", self.place());
            pause();
        }
    }

    fn run(&self, command: &str) -> Output {
        self.shell(&self.localized(command)).output().unwrap()
    }

    fn shell(&self, script: &str) -> Command {
        let top = self.directory.path();
        let mut path = top.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        // Nothing is left behind if the test is killed.
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "TERM", "--", "bash", "-c", script]);
            command
        } else {
            let mut command = Command::new("bash");
            command.args(["-c", script]);
            command
        };
        command
            .current_dir(top.join("home"))
            .env("PATH", path)
            .env("HOME", top.join("home"))
            .env("RUNTIME_DIRECTORY", top.join("run/lsyncd"))
            .env("LSYNCD_SOCKET", top.join("run/lsyncd/lsyncd.sock"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Replaces the paths and hosts of the manual by paths of the sandbox.
    fn localized(&self, text: &str) -> String {
        let top = self.directory.path().to_str().unwrap();
        let mut result = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let is_start = result.ends_with(|c: char| " \t\n\"'=({<>`,".contains(c));
            let is_start = is_start || result.is_empty();
            let directory = DIRECTORIES.iter().find(|it| rest.starts_with(**it));
            let host = HOSTS.iter().find(|host| rest.starts_with(**host));
            let (taken, replacement) = match (is_start, host, directory) {
                (true, Some(host), _) => {
                    (host.len(), format!("{top}/hosts/{}/", host.trim_end_matches(":/")))
                }
                (true, None, Some(directory)) => (directory.len(), format!("{top}{directory}")),
                (true, None, None) if rest.starts_with("~/") => (2, format!("{top}/home/")),
                _ => (next.len_utf8(), next.to_string()),
            };
            result += &replacement;
            rest = &rest[taken..];
        }
        result
    }

    /// Replaces the paths of the sandbox by those of the manual.
    fn public(&self, text: &str) -> String {
        let top = self.directory.path().to_str().unwrap();
        let mut text = text.to_owned();
        for host in HOSTS {
            text = text.replace(&format!("{top}/hosts/{}/", host.trim_end_matches(":/")), host);
        }
        text.replace(&format!("{top}/home"), "~").replace(top, "")
    }

    fn place(&self) -> String {
        format!("docs/{}:{}", self.page, self.line)
    }
}

/// Waits between two tries.
fn pause() {
    thread::park_timeout(Duration::from_millis(50));
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn paths_and_hosts_are_those_of_the_sandbox() {
    let session = ManualSession::new("a.md");
    let top = session.directory.path().display().to_string();
    let text = "cp /srv/www/a web1:/srv/ 'x/srv/www' me@backup:/srv /usr/srv/ ~/b";
    let localized = session.localized(text);
    assert_eq!(
        localized,
        format!(
            "cp {top}/srv/www/a {top}/hosts/web1/srv/ 'x/srv/www' me@backup:/srv /usr/srv/ \
             {top}/home/b"
        )
    );
    assert_eq!(session.public(&localized), text);
}
