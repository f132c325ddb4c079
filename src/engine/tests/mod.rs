//! The engine with real trees and changing configurations.

mod scripts;

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use mirror_core::{input::Signal, plan::options::DeletePolicy, queue::Debounce};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{SyncConfig, SyncKind, SyncPositions, target_path::with_slash},
    report::{LogFilter, RunMode},
    watch::Preference,
};

/// Results of successive configuration loads.
type QueuedLoads = Arc<Mutex<VecDeque<Result<Config, Vec<String>>>>>;

/// A configuration without scripts.
fn loaded(setup: Config) -> Loaded {
    Loaded {
        config: setup,
        warnings: Vec::new(),
        positions: SyncPositions::default(),
        scripts: None,
        hash: String::new(),
    }
}

/// A running engine and its trees.
struct RunningEngine {
    dir: EngineTestDir,
    inbox: Inbox,
    loads: QueuedLoads,
    thread: Option<JoinHandle<()>>,
}

struct EngineTestDir(TempDir);

impl EngineTestDir {
    fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for name in ["a", "b", "c"] {
            fs::create_dir_all(dir.path(name)).unwrap();
            fs::create_dir_all(dir.path(&format!("of-{name}"))).unwrap();
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    /// Returns a sync from the directory `name` to `of-name`.
    fn sync(&self, name: &str) -> SyncConfig {
        let target = with_slash(self.path(&format!("of-{name}")).as_os_str());
        SyncConfig::new(name.to_owned(), SyncKind::Direct, self.path(name), target)
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), name).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_mins(3), "not {what}:\n{}", self.log());
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn setup(syncs: impl IntoIterator<Item = SyncConfig>) -> Config {
    Config {
        daemon: DaemonConfig::default(),
        syncs: syncs.into_iter().collect(),
        tunnels: Vec::new(),
    }
}

impl RunningEngine {
    fn start(dir: EngineTestDir, syncs: impl IntoIterator<Item = SyncConfig>) -> Self {
        let mut filter = LogFilter::default();
        filter.add(b"Info").unwrap();
        filter.add(b"Inotify").unwrap();
        let log = Log::new(filter);
        log.begin(RunMode::Foreground, Some(dir.path("log")), "--- Startup ---").unwrap();
        log.leave_terminal();
        let MessageChannel { inbox, receiver } = MessageChannel::default();
        let (setup, to_engine, loads) = (setup(syncs), inbox.clone(), QueuedLoads::default());
        let read = Arc::clone(&loads);
        // The callbacks of the engine need not be `Send`.
        let run = move || {
            let load = Box::new(move || {
                let mut loads = read.lock().unwrap_or_else(PoisonError::into_inner);
                let setup = loads.pop_front().expect("it is read as often as somebody asks");
                Ok(loaded(setup?))
            });
            let reload = Reload { load, apply: Box::new(|_, wanted| wanted.clone()) };
            let sender = to_engine.clone();
            let wake = Box::new(move || sender.send(Message::Watch));
            let watch = Watcher::start(Preference::Inotify, log.clone(), wake).unwrap();
            let wanted = loaded(setup);
            let channel = MessageChannel { inbox: to_engine, receiver };
            let engine = Engine::new(wanted, Some(reload), watch, channel, log);
            let _ = engine.unwrap().run();
        };
        let thread = Some(thread::spawn(run));
        Self { dir, inbox, loads, thread }
    }

    /// Reloads with another configuration.
    fn reload(&self, load_result: Result<Config, Vec<String>>) {
        self.loads.lock().unwrap().push_back(load_result);
        self.inbox.signal(Signal::Hangup);
    }

    #[track_caller]
    fn wait_for_log(&self, text: &str) {
        self.dir.wait_until(&format!("in the log: {text}"), || self.dir.log().contains(text));
    }

    #[track_caller]
    fn wait_for_file(&self, name: &str) {
        self.dir.wait_until(&format!("there: {name}"), || self.dir.path(name).exists());
    }

    /// Counts the occurrences of a text in the log.
    fn log_count(&self, text: &str) -> usize {
        self.dir.log().matches(text).count()
    }
}

impl Drop for RunningEngine {
    fn drop(&mut self) {
        self.inbox.signal(Signal::Terminate);
        let _ = self.thread.take().unwrap().join();
    }
}

const STARTUP: &str = "Startup of \"";

#[test]
fn reload_keeps_unchanged_syncs_and_replaces_the_others() {
    let dir = EngineTestDir::new();
    let (a, b, c) = (dir.sync("a"), dir.sync("b"), dir.sync("c"));
    dir.write("a/old");
    let running = RunningEngine::start(dir, [a.clone(), b]);
    running.dir.wait_until("live", || running.log_count(STARTUP) == 2);
    // Names follow the order of the syncs.
    running.reload(Ok(setup([
        SyncConfig { name: "1".into(), ..c },
        SyncConfig { name: "2".into(), ..a },
    ])));
    running.wait_for_log("--- HUP signal, resetting ---");
    running.wait_for_log("1 sync is kept as it is");
    running.wait_for_log("1 sync is new or changed: it starts");
    running.wait_for_log("1 sync is gone or changed: it ends");
    for name in ["b/new", "a/new", "c/new"] {
        running.dir.write(name);
    }
    running.wait_for_file("of-a/new");
    running.wait_for_file("of-c/new");
    assert!(!running.dir.path("of-b/new").exists());
    // Only the new sync made a startup.
    running.dir.wait_until("three startups", || running.log_count(STARTUP) == 3);
    assert!(running.dir.log().contains(&format!("{STARTUP}{}/\"", path_of(&running, "c"))));
}

fn path_of(running: &RunningEngine, name: &str) -> String {
    running.dir.path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_failed_reload_changes_nothing() {
    let dir = EngineTestDir::new();
    let a = dir.sync("a");
    let running = RunningEngine::start(dir, [a]);
    running.dir.wait_until("live", || running.log_count(STARTUP) == 1);
    running.reload(Err(vec!["line 3 is wrong".into(), "so is line 4".into()]));
    running.wait_for_log("Error: line 3 is wrong");
    running.wait_for_log("Error: so is line 4");
    running.wait_for_log("reload failed: keeping the running configuration");
    running.dir.write("a/new");
    running.wait_for_file("of-a/new");
    assert_eq!(running.log_count(STARTUP), 1);
}

#[test]
fn reload_keeps_both_of_two_equal_syncs() {
    let dir = EngineTestDir::new();
    let a = dir.sync("a");
    let running = RunningEngine::start(dir, [a.clone(), a.clone()]);
    running.dir.wait_until("live", || running.log_count(STARTUP) == 2);
    running.reload(Ok(setup([a.clone(), a])));
    running.wait_for_log("2 syncs are kept as they are");
    assert_eq!(running.log_count("syncs are gone"), 0);
}

#[test]
fn reload_keeps_the_pending_changes_of_a_changed_sync() {
    let dir = EngineTestDir::new();
    // The change would wait for an hour, and the next sync starts without a full transfer.
    let delay = Duration::from_hours(1);
    let slow = Debounce::FixedDelay { delay, max_waiting: 1000 };
    let a = SyncConfig { init: false, debounce: slow, ..dir.sync("a") };
    let running = RunningEngine::start(dir, [a.clone()]);
    running.wait_for_log(" is watched: ");
    running.dir.write("a/new");
    running.reload(Ok(setup([SyncConfig {
        debounce: Debounce::DEFAULT,
        delete: DeletePolicy::Never,
        ..a
    }])));
    running.wait_for_file("of-a/new");
    running.wait_for_log(STARTUP);
}

#[test]
fn a_changed_sync_starts_after_the_running_job_has_ended() {
    let dir = EngineTestDir::new();
    // After SIGTERM the script continues until it is allowed to exit.
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         trap 'while [ ! -e may-end ]; do sleep 0.02; done; echo end >>calls; exit 20' TERM\n\
         echo begin >>calls\n\
         while [ -e hangs ]; do sleep 0.02; done\n\
         echo end >>calls\n",
        dir.path("").display()
    );
    let binary = executable(&dir.path("rsync.sh"), &script);
    dir.write("hangs");
    let a = SyncConfig { kind: SyncKind::Rsync, binary: binary.into(), ..dir.sync("a") };
    let running = RunningEngine::start(dir, [a.clone()]);
    let calls = || fs::read_to_string(running.dir.path("calls")).unwrap_or_default();
    running.dir.wait_until("begun", || calls() == "begin\n");
    running.reload(Ok(setup([SyncConfig { init: false, delete: DeletePolicy::Never, ..a }])));
    running.wait_for_log("1 sync is new or changed: it starts");
    assert_eq!(calls(), "begin\n");
    running.dir.write("may-end");
    fs::remove_file(running.dir.path("hangs")).unwrap();
    running.dir.wait_until("done", || calls().matches("end").count() == 2);
    assert_eq!(calls(), "begin\nend\nbegin\nend\n");
    running.wait_for_log("finished.");
}

#[test]
fn a_job_that_ignores_sigterm_is_killed_and_its_successor_starts() {
    let dir = EngineTestDir::new();
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         if [ -e hangs ]; then trap '' TERM; rm hangs; exec sleep 600; fi\n",
        dir.path("").display()
    );
    let binary = executable(&dir.path("rsync.sh"), &script);
    dir.write("hangs");
    let a = SyncConfig { kind: SyncKind::Rsync, binary: binary.into(), ..dir.sync("a") };
    let running = RunningEngine::start(dir, [a.clone()]);
    running.dir.wait_until("begun", || !running.dir.path("hangs").exists());
    running.reload(Ok(setup([SyncConfig { delete: DeletePolicy::Never, ..a }])));
    running.wait_for_log("finished.");
}

#[test]
fn a_redirected_source_link_is_followed_after_the_running_job_has_ended() {
    let dir = EngineTestDir::new();
    let script = format!(
        "#!/bin/sh\ncd '{}'\n\
         trap 'while [ ! -e may-end ]; do sleep 0.02; done; echo end >>calls; exit 20' TERM\n\
         echo begin $* >>calls\n\
         while [ -e hangs ]; do sleep 0.02; done\n\
         echo end >>calls\n",
        dir.path("").display()
    );
    let binary = executable(&dir.path("rsync.sh"), &script);
    dir.write("hangs");
    let link = dir.path("link");
    symlink("a", &link).unwrap();
    let delay = Duration::ZERO;
    let a = SyncConfig {
        kind: SyncKind::Rsync,
        binary: binary.into(),
        source_as_given: link.clone(),
        init: false,
        debounce: Debounce::FixedDelay { delay, max_waiting: 1 },
        ..dir.sync("a")
    };
    let direct = SyncConfig { kind: SyncKind::Direct, name: "b".into(), ..a.clone() };
    let running = RunningEngine::start(dir, [a, direct]);
    running.dir.wait_until("watched", || running.log_count(" is watched: ") == 2);
    let calls = || fs::read_to_string(running.dir.path("calls")).unwrap_or_default();
    running.dir.write("a/new");
    running.dir.wait_until("begun", || calls().starts_with("begin"));
    running.dir.write("b/of b");
    let next = running.dir.path("next");
    symlink("b", &next).unwrap();
    fs::rename(&next, &link).unwrap();
    running.dir.wait_until("followed", || running.log_count(": it is followed (") == 2);
    assert_eq!(running.log_count("has changed (source) and begins anew"), 2);
    assert!(!calls().contains("/b/"));
    running.dir.write("may-end");
    fs::remove_file(running.dir.path("hangs")).unwrap();
    running.dir.wait_until("done", || calls().contains("/b/") && calls().ends_with("end\n"));
    running.wait_for_file("of-a/of b");
    assert_eq!(running.log_count("is kept"), 0);
}

/// Writes a program by a shell. If this process wrote it, a concurrent test that forks would
/// inherit the descriptor and keep the program from being run.
fn executable(path: &Path, text: &str) -> PathBuf {
    let write = "printf '%s' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status();
    assert!(status.unwrap().success());
    path.to_owned()
}

#[test]
fn crontab_triggers_a_full_transfer() {
    let dir = EngineTestDir::new();
    dir.write("a/old");
    let crontab = vec!["* * * * * *".parse().unwrap()];
    let a = SyncConfig { init: false, crontab, ..dir.sync("a") };
    let running = RunningEngine::start(dir, [a]);
    running.wait_for_log("Info: Crontab triggered full sync");
    running.wait_for_log(&format!("Finished Full on {}/ = 0", path_of(&running, "a")));
    assert!(running.dir.path("of-a/old").exists());
    assert_eq!(running.log_count(STARTUP), 0);
}
