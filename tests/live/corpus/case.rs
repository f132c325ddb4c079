//! Test of one configuration file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use super::{DIRECTORY, header::ConfigHeader};
use crate::support::{Requirement, Sandbox, TestDaemon, exit_code, unmet};

/// The directory in the files that the sandbox replaces.
const CONFIG_ROOT: &str = "/srv/place";

/// The initial files of each source, in addition to those that the file requests.
const INITIAL_FILES: [&str; 5] =
    ["index.html", "pages/about.html", "scratch.tmp", ".git/config", "cache/old"];

/// The file that is written once all of them have arrived.
const CHANGED_FILE: &str = "pages/new.html";

/// Checks the file of this name, and runs it if its header requests that.
pub(super) fn run(name: &str) {
    if let Some(missing) = unmet(&[Requirement::Program("rsync")]) {
        println!("skipped: {missing}");
        return;
    }
    let case = ConfigCase::new(name);
    let output = case.check();
    case.compare(&output);
    let syncs = output.syncs(&case);
    let is_run = case.header.live.is_some();
    assert!(!is_run || !syncs.is_empty(), "the targets are remote");
    if !syncs.is_empty() {
        assert!(is_run != case.header.not_live, "its targets are local: add `live` or `not live`");
    }
    if let Some(code) = case.header.live {
        case.run_live(&output, &syncs, code);
    }
}

struct ConfigCase {
    sandbox: Sandbox,
    file: PathBuf,
    header: ConfigHeader,
}

/// The output of `-check`.
struct CheckOutput {
    code: i32,
    text: String,
}

impl ConfigCase {
    /// Copies the file and its requirements to a sandbox that replaces [`CONFIG_ROOT`].
    fn new(name: &str) -> Self {
        let sandbox = Sandbox::new();
        let text = fs::read(Path::new(DIRECTORY).join(format!("{name}.lua"))).unwrap();
        let header = ConfigHeader::parse(&text);
        for directory in ["www", "home", "etc", "var"] {
            sandbox.create_dir(directory);
        }
        for directory in &header.directories {
            sandbox.create_dir(directory);
        }
        let case = Self { file: sandbox.path(&format!("etc/{name}.lua")), sandbox, header };
        case.write(&case.file, &text);
        for name in &case.header.files {
            let text = fs::read(Path::new(DIRECTORY).join(name)).unwrap();
            let path = case.sandbox.path(&format!("etc/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            case.write(&path, &text);
        }
        case
    }

    /// Writes a text with [`CONFIG_ROOT`] replaced.
    fn write(&self, path: &Path, text: &[u8]) {
        let (top, mut rest) = (self.sandbox.top(), text);
        let mut replaced = Vec::new();
        while let Some(at) =
            rest.windows(CONFIG_ROOT.len()).position(|part| part == CONFIG_ROOT.as_bytes())
        {
            replaced.extend_from_slice(&rest[..at]);
            replaced.extend_from_slice(top.as_os_str().as_encoded_bytes());
            rest = &rest[at + CONFIG_ROOT.len()..];
        }
        replaced.extend_from_slice(rest);
        if replaced.starts_with(b"#!") {
            self.sandbox.write_program(path, &replaced);
        } else {
            fs::write(path, &replaced).unwrap();
        }
    }

    fn variables(&self) -> impl Iterator<Item = (&str, String)> {
        let top = self.sandbox.top().to_str().unwrap().to_owned();
        let variables = self.header.variables.iter();
        variables.map(move |(name, value)| (&**name, value.replace(CONFIG_ROOT, &top)))
    }

    /// Runs `-check`, which must not change anything.
    fn check(&self) -> CheckOutput {
        let before = listing(self.sandbox.top());
        let output = Command::new(env!("CARGO_BIN_EXE_lsyncd"))
            .args(["-check", "-v"])
            .arg(&self.file)
            .current_dir(self.sandbox.top())
            .envs(self.variables())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(listing(self.sandbox.top()), before, "the check has changed a file");
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(all)
            .unwrap()
            .replace(self.sandbox.top().to_str().unwrap(), CONFIG_ROOT);
        CheckOutput { code: exit_code(output.status), text }
    }

    fn compare(&self, output: &CheckOutput) {
        let text = &output.text;
        assert_eq!(Some(output.code), self.header.exit, "{text}");
        assert_eq!(text.lines().any(|line| line == "OK"), output.code == 0, "{text}");
        for command in &self.header.commands {
            let is_call = |line: &str| {
                let line = line.trim_start();
                line == command || line.split_once(" | ").is_some_and(|(_, call)| call == command)
            };
            assert!(text.lines().any(is_call), "no line is the command {command:?}:\n{text}");
        }
        for part in &self.header.output {
            assert!(text.contains(&**part), "no line has {part:?}:\n{text}");
        }
        for part in &self.header.no_output {
            assert!(!text.contains(&**part), "a line has {part:?}:\n{text}");
        }
    }

    /// Runs it: waits for the initial files, for a change, and for the exit.
    fn run_live(&self, output: &CheckOutput, syncs: &[(PathBuf, PathBuf)], code: i32) {
        for (source, _) in syncs {
            for name in INITIAL_FILES {
                write_file(&source.join(name), name);
            }
        }
        // Shortens the delays of real files.
        let args: &[&str] = if output.has_long_delay() { &["-delay", "0.1"] } else { &[] };
        let mut start = self.sandbox.daemon().config_file(&self.file, syncs).args(args);
        for (name, value) in self.variables() {
            start = start.env(name, value);
        }
        let mut daemon = start.start();
        let arrives = |name: &str| !self.header.excluded.iter().any(|out| out == name);
        for name in INITIAL_FILES.into_iter().filter(|name| arrives(name)) {
            wait_for(&daemon, syncs, name);
        }
        if code != 0 {
            for (source, _) in syncs {
                write_file(&source.join(CHANGED_FILE), "changed");
            }
            wait_for(&daemon, syncs, CHANGED_FILE);
            daemon.signal(Signal::TERM);
        }
        assert_eq!(exit_code(daemon.wait_exit()), code, "{}", daemon.log());
        for name in &self.header.excluded {
            let there = syncs.iter().find(|(_, target)| target.join(name).exists());
            assert!(there.is_none(), "{name} is in {there:?}");
        }
        for name in &self.header.creates {
            assert!(self.sandbox.path(name).exists(), "there is no {name}: {}", daemon.log());
        }
    }
}

impl CheckOutput {
    /// Returns the values of the lines with this name, one for each sync.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.lines().filter_map(move |line| line.strip_prefix("  "));
        lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix("  ").map(str::trim))
    }

    /// Returns source and target of each sync, or none if a target is remote or the file is
    /// invalid.
    fn syncs(&self, case: &ConfigCase) -> Vec<(PathBuf, PathBuf)> {
        let top = case.sandbox.top();
        let path = |text: &str| match Path::new(text).strip_prefix(CONFIG_ROOT) {
            Ok(below) => top.join(below),
            Err(_) => top.join(text),
        };
        let is_remote = |target: &str| target.split('/').next().unwrap().contains(':');
        if self.code != 0 || self.values("target").any(is_remote) {
            return Vec::new();
        }
        self.values("source").map(path).zip(self.values("target").map(path)).collect()
    }

    fn has_long_delay(&self) -> bool {
        self.values("delay").any(|delay| {
            let seconds: f64 = delay.split(' ').next().unwrap().parse().unwrap();
            seconds > 1.0
        })
    }
}

fn write_file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Waits until a file of all targets equals that of the sources.
fn wait_for(daemon: &TestDaemon, syncs: &[(PathBuf, PathBuf)], name: &str) {
    daemon.wait_until(&format!("{name} is in all targets of {syncs:?}"), || {
        syncs.iter().all(|(source, target)| {
            let wanted = fs::read(source.join(name)).unwrap();
            fs::read(target.join(name)).is_ok_and(|there| there == wanted)
        })
    });
}

/// Returns all entries below a directory, with the contents of files.
fn listing(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        let text = fs::read(&path).unwrap_or_default();
        found.push((path, text));
    }
    found.sort();
    found
}
