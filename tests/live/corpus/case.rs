//! One configuration file under test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use super::{DIRECTORY, header::Header};
use crate::support::{Daemon, Need, Sandbox, exit_code, lacks};

/// What the files call the directory in which they may do what they want.
const PLACE: &str = "/srv/place";

/// What each source has at the start, beside what the file itself asked for.
const SEEDS: [&str; 5] =
    ["index.html", "pages/about.html", "scratch.tmp", ".git/config", "cache/old"];

/// What is written when all of that has arrived.
const CHANGE: &str = "pages/new.html";

/// Looks at the file of this name, and runs it if that is expected.
pub(super) fn run(name: &str) {
    if let Some(missing) = lacks(&[Need::Program("rsync")]) {
        println!("skipped: {missing}");
        return;
    }
    let case = Case::new(name);
    let told = case.look();
    case.compare(&told);
    let syncs = told.syncs(&case);
    let is_run = case.header.live.is_some();
    assert!(!is_run || !syncs.is_empty(), "the targets are not on this machine");
    if !syncs.is_empty() {
        assert!(is_run != case.header.not_live, "it could be run: is it, or why not?");
    }
    if let Some(code) = case.header.live {
        case.live(&told, &syncs, code);
    }
}

struct Case {
    sandbox: Sandbox,
    file: PathBuf,
    header: Header,
}

/// What `-check` told.
struct Told {
    code: i32,
    text: String,
}

impl Case {
    /// The file and what it needs, in a sandbox that takes the place of [`PLACE`].
    fn new(name: &str) -> Self {
        let sandbox = Sandbox::new();
        let text = fs::read(Path::new(DIRECTORY).join(format!("{name}.lua"))).unwrap();
        let header = Header::read(&text);
        for directory in ["www", "home", "etc", "var"] {
            sandbox.directory(directory);
        }
        for directory in &header.directories {
            sandbox.directory(directory);
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

    /// Writes a text that speaks of [`PLACE`].
    fn write(&self, path: &Path, text: &[u8]) {
        let (top, mut rest) = (self.sandbox.top(), text);
        let mut meant = Vec::new();
        while let Some(at) = rest.windows(PLACE.len()).position(|part| part == PLACE.as_bytes()) {
            meant.extend_from_slice(&rest[..at]);
            meant.extend_from_slice(top.as_os_str().as_encoded_bytes());
            rest = &rest[at + PLACE.len()..];
        }
        meant.extend_from_slice(rest);
        if meant.starts_with(b"#!") {
            self.sandbox.write_program(path, &meant);
        } else {
            fs::write(path, &meant).unwrap();
        }
    }

    fn variables(&self) -> impl Iterator<Item = (&str, String)> {
        let top = self.sandbox.top().to_str().unwrap().to_owned();
        let variables = self.header.variables.iter();
        variables.map(move |(name, value)| (&**name, value.replace(PLACE, &top)))
    }

    /// Runs `-check`, which must not change anything.
    fn look(&self) -> Told {
        let before = listing(self.sandbox.top());
        let output = Command::new(env!("CARGO_BIN_EXE_lsyncd"))
            .arg("-check")
            .arg(&self.file)
            .current_dir(self.sandbox.top())
            .envs(self.variables())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(listing(self.sandbox.top()), before, "a check has changed something");
        let all = [output.stdout, output.stderr].concat();
        let text =
            String::from_utf8(all).unwrap().replace(self.sandbox.top().to_str().unwrap(), PLACE);
        Told { code: exit_code(output.status), text }
    }

    fn compare(&self, told: &Told) {
        let text = &told.text;
        assert_eq!(Some(told.code), self.header.exit, "{text}");
        assert_eq!(text.lines().any(|line| line == "OK"), told.code == 0, "{text}");
        for words in &self.header.words {
            let is_call = |line: &str| {
                let line = line.trim_start();
                line == words || line.split_once(" | ").is_some_and(|(_, call)| call == words)
            };
            assert!(text.lines().any(is_call), "no line is the call {words:?}:\n{text}");
        }
        for part in &self.header.says {
            assert!(text.contains(&**part), "no line has {part:?}:\n{text}");
        }
        for part in &self.header.lacks {
            assert!(!text.contains(&**part), "a line has {part:?}:\n{text}");
        }
    }

    /// Runs it: all that a source has arrives, then a change, and then it is ended.
    fn live(&self, told: &Told, syncs: &[(PathBuf, PathBuf)], code: i32) {
        for (source, _) in syncs {
            for name in SEEDS {
                put(&source.join(name), name);
            }
        }
        // Nobody wants to wait as long as people let their syncs wait.
        let words: &[&str] = if told.waits_long() { &["-delay", "0.1"] } else { &[] };
        let mut start = self.sandbox.daemon().configured(&self.file, syncs).with(words);
        for (name, value) in self.variables() {
            start = start.environment(name, value);
        }
        let mut daemon = start.start();
        let arrives = |name: &str| !self.header.leaves_out.iter().any(|out| out == name);
        for name in SEEDS.into_iter().filter(|name| arrives(name)) {
            wait_for(&daemon, syncs, name);
        }
        if code != 0 {
            for (source, _) in syncs {
                put(&source.join(CHANGE), "changed");
            }
            wait_for(&daemon, syncs, CHANGE);
            daemon.signal(Signal::TERM);
        }
        assert_eq!(exit_code(daemon.wait_end()), code, "{}", daemon.log());
        for name in &self.header.leaves_out {
            let there = syncs.iter().find(|(_, target)| target.join(name).exists());
            assert!(there.is_none(), "{name} is in {there:?}");
        }
        for name in &self.header.makes {
            assert!(self.sandbox.path(name).exists(), "there is no {name}: {}", daemon.log());
        }
    }
}

impl Told {
    /// The values of a line with this name, one for each sync.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.lines().filter_map(move |line| line.strip_prefix("  "));
        lines.filter_map(move |line| line.strip_prefix(name)?.strip_prefix("  ").map(str::trim))
    }

    /// Source and target of each sync; none if one of the targets is on another machine, or the
    /// file is refused.
    fn syncs(&self, case: &Case) -> Vec<(PathBuf, PathBuf)> {
        let top = case.sandbox.top();
        let path = |text: &str| match Path::new(text).strip_prefix(PLACE) {
            Ok(below) => top.join(below),
            Err(_) => top.join(text),
        };
        let is_remote = |target: &str| target.split('/').next().unwrap().contains(':');
        if self.code != 0 || self.values("target").any(is_remote) {
            return Vec::new();
        }
        self.values("source").map(path).zip(self.values("target").map(path)).collect()
    }

    fn waits_long(&self) -> bool {
        self.values("delay").any(|delay| {
            let seconds: f64 = delay.split(' ').next().unwrap().parse().unwrap();
            seconds > 1.0
        })
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Waits until a file is in all targets as it is in the sources.
fn wait_for(daemon: &Daemon, syncs: &[(PathBuf, PathBuf)], name: &str) {
    daemon.wait_until(&format!("{name} is in all targets of {syncs:?}"), || {
        syncs.iter().all(|(source, target)| {
            let wanted = fs::read(source.join(name)).unwrap();
            fs::read(target.join(name)).is_ok_and(|there| there == wanted)
        })
    });
}

/// All that is below a directory, with the contents of files.
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
