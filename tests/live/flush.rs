//! Flush: what was written before the request is on the target when it is answered.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{FakeRsync, Sandbox, TestDaemon, TransferMode, in_both_modes};

in_both_modes!(
    a_flush_brings_what_concurrent_writers_had_written,
    a_flush_brings_a_file_that_is_still_open,
    a_flush_does_not_wait_for_the_delay,
    a_verification_counts_the_differences_and_changes_nothing,
);

/// Number of flushes while the writers write, in each mode.
const FLUSHES: usize = 50;

/// Number of turns that each writer gets for a flush.
const TURNS: usize = 30;

/// Number of concurrent writers.
const WRITERS: usize = 3;

/// A daemon with one sync and a control socket.
struct FlushedMirror {
    sandbox: Sandbox,
    daemon: TestDaemon,
    source: PathBuf,
    target: PathBuf,
}

impl FlushedMirror {
    fn start(mode: TransferMode, settings: &str) -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let base = match mode {
            TransferMode::Direct => "direct",
            TransferMode::Rsync => "rsync",
        };
        let config = format!(
            "settings{{ socket = '@/control.sock', nodaemon = true }}\n\
             sync{{ default.{base}, source = '@/source', target = '@/target/', {settings} }}"
        );
        let daemon = sandbox.daemon().config(&config, 1).start();
        daemon.wait_live();
        Self { sandbox, daemon, source, target }
    }

    fn flush(&self, fields: &str) -> String {
        ask(
            &self.sandbox.path("control.sock"),
            &format!(r#"{{"version":1,"command":"flush"{fields}}}"#),
        )
    }
}

/// Sends a request to a control socket, and returns the answer.
fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

/// Writes numbers, one for each turn: into a file that exists, into a new one, and through a
/// rename. `written` is the last one that is complete.
fn write_numbers(directory: &Path, written: &AtomicU64, turns: &Receiver<()>) {
    for (number, ()) in (1..).zip(turns) {
        // Not truncated: an empty file would be a later state, too.
        let mut same = fs::OpenOptions::new();
        let mut same =
            same.write(true).create(true).truncate(false).open(directory.join("same")).unwrap();
        same.write_all(format!("{number:010}").as_bytes()).unwrap();
        drop(same);
        let sub = directory.join(format!("dir{}", number % 7));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("new{number}")), number.to_string()).unwrap();
        fs::write(directory.join("temporary"), number.to_string()).unwrap();
        fs::rename(directory.join("temporary"), directory.join("renamed")).unwrap();
        written.store(number, Ordering::SeqCst);
    }
}

/// Returns the number in a file.
fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.parse().ok()
}

fn a_flush_brings_what_concurrent_writers_had_written(mode: TransferMode) {
    let mirror = FlushedMirror::start(mode, "");
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let name = format!("w{number}");
            let directory = mirror.source.join(&name);
            fs::create_dir(&directory).unwrap();
            let written = Arc::new(AtomicU64::new(0));
            let (turns, taken) = channel();
            let last = Arc::clone(&written);
            let thread = thread::spawn(move || write_numbers(&directory, &last, &taken));
            (name, written, turns, thread)
        })
        .collect();
    for _ in 0..FLUSHES {
        // The writers write before, during and after the flush.
        for (_, _, turns, _) in &writers {
            (0..TURNS).for_each(|_| turns.send(()).unwrap());
        }
        let before: Vec<u64> =
            writers.iter().map(|(_, written, ..)| written.load(Ordering::SeqCst)).collect();
        let answer = mirror.flush("");
        assert!(answer.contains(r#""is_complete":true"#), "{answer}");
        for ((name, ..), before) in writers.iter().zip(before).filter(|(_, before)| *before > 0) {
            let target = mirror.target.join(name);
            for file in ["same", "renamed"] {
                let found = number_in(&target.join(file));
                assert!(found.is_some_and(|found| found >= before), "{name}/{file}: {found:?}");
            }
            let last = target.join(format!("dir{}/new{before}", before % 7));
            assert_eq!(number_in(&last), Some(before), "{}", last.display());
        }
    }
    for (_, _, turns, thread) in writers {
        drop(turns);
        thread.join().unwrap();
    }
    mirror.daemon.wait_mirrored(mode, &mirror.source, &mirror.target);
}

fn a_flush_brings_a_file_that_is_still_open(mode: TransferMode) {
    let mirror = FlushedMirror::start(mode, "openQuiet = 1000, openMaxWait = 1000");
    let mut file = fs::File::create(mirror.source.join("log")).unwrap();
    file.write_all(b"first").unwrap();
    let path = mirror.source.join("log");
    let fields = format!(r#","path":"{}""#, path.display());
    let answer = mirror.flush(&fields);
    assert!(answer.contains(r#""is_complete":true"#), "{answer}");
    assert_eq!(fs::read_to_string(mirror.target.join("log")).unwrap(), "first");
    file.write_all(b", second").unwrap();
    assert!(mirror.flush("").contains(r#""is_complete":true"#));
    assert_eq!(fs::read_to_string(mirror.target.join("log")).unwrap(), "first, second");
}

fn a_flush_does_not_wait_for_the_delay(mode: TransferMode) {
    let mirror = FlushedMirror::start(mode, "delay = 1000");
    fs::write(mirror.source.join("a"), "a").unwrap();
    assert!(mirror.flush(r#","timeout":30"#).contains(r#""is_complete":true"#));
    assert_eq!(fs::read_to_string(mirror.target.join("a")).unwrap(), "a");
}

#[test]
fn a_flush_names_a_target_that_fails_and_retries_until_its_timeout() {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let programs = FakeRsync::new(&sandbox);
    let config = "settings{ socket = '@/control.sock', nodaemon = true, insist = true }\n\
                  sync{ default.rsync, source = '@/source', target = '@/target/' }";
    let daemon = sandbox.daemon().config(config, 1).env("PATH", programs.search_path()).start();
    daemon.wait_live();
    programs.set_failing(true);
    fs::write(source.join("a"), "a").unwrap();
    let socket = sandbox.path("control.sock");
    let flush =
        |fields: &str| ask(&socket, &format!(r#"{{"version":1,"command":"flush"{fields}}}"#));
    let answer = flush("");
    assert!(answer.contains("is_complete\":false"), "{answer}");
    assert!(answer.contains("the last transfer failed"), "{answer}");
    assert!(!target.join("a").exists());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| flush(r#","timeout":60"#));
        let retries = || daemon.log().matches("retrying").count();
        let before = retries();
        daemon.wait_until("a retry during the flush", || retries() > before);
        programs.set_failing(false);
        assert!(waiting.join().unwrap().contains(r#""is_complete":true"#));
    });
    assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "a");
}

fn a_verification_counts_the_differences_and_changes_nothing(mode: TransferMode) {
    let mirror = FlushedMirror::start(mode, "");
    fs::write(mirror.source.join("a"), "a").unwrap();
    assert!(mirror.flush("").contains(r#""is_complete":true"#));
    let verify =
        || ask(&mirror.sandbox.path("control.sock"), r#"{"version":1,"command":"verify"}"#);
    let answer = verify();
    assert!(answer.contains(r#""error":null,"different":0,"extra":0,"names":[]"#), "{answer}");
    fs::write(mirror.target.join("a"), "other").unwrap();
    fs::write(mirror.target.join("extra"), "").unwrap();
    for _ in 0..2 {
        let answer = verify();
        assert!(answer.contains(r#""error":null,"different":1,"extra":1"#), "{answer}");
        assert!(answer.contains(r#""/a","/extra""#), "{answer}");
    }
    assert_eq!(fs::read_to_string(mirror.target.join("a")).unwrap(), "other");
}

#[test]
fn a_patient_flush_retries_each_second_whatever_failed_before() {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let programs = FakeRsync::new(&sandbox);
    let config = "settings{ socket = '@/control.sock', nodaemon = true, insist = true }\n\
                  sync{ default.rsync, source = '@/source', target = '@/target/' }";
    let daemon = sandbox.daemon().config(config, 1).env("PATH", programs.search_path()).start();
    daemon.wait_live();
    programs.set_failing(true);
    fs::write(source.join("a"), "a").unwrap();
    let socket = sandbox.path("control.sock");
    let flush =
        |fields: &str| ask(&socket, &format!(r#"{{"version":1,"command":"flush"{fields}}}"#));
    for _ in 0..8 {
        assert!(flush("").contains("the last transfer failed"));
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| flush(r#","timeout":30"#));
        let retries = || daemon.log().matches("retrying").count();
        let before = retries();
        daemon.wait_until("three retries during the flush", || retries() >= before + 3);
        programs.set_failing(false);
        assert!(waiting.join().unwrap().contains(r#""is_complete":true"#));
    });
    assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "a");
}

#[test]
fn metrics_follow_a_target_that_goes_and_returns() {
    let sandbox = Sandbox::new();
    let (source, _) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let programs = FakeRsync::new(&sandbox);
    let config = "settings{ socket = '@/control.sock', nodaemon = true, insist = true }\n\
                  sync{ default.rsync, name = 'web', source = '@/source', target = '@/target/' }";
    let daemon = sandbox.daemon().config(config, 1).env("PATH", programs.search_path()).start();
    daemon.wait_live();
    let target = sandbox.path("target/");
    let labels = format!("sync=\\\"web\\\",target=\\\"{}\\\"", target.display());
    let metrics = || ask(&sandbox.path("control.sock"), r#"{"version":1,"command":"metrics"}"#);
    let is_in = |state: &str| {
        let line = format!("lsyncd_sync_state{{{labels},state=\\\"{state}\\\"}} 1\\n");
        metrics().contains(&line)
    };
    let has = |name: &str, value: &str| {
        metrics().contains(&format!("lsyncd_{name}{{{labels}}} {value}\\n"))
    };
    daemon.wait_until("the sync is in sync", || is_in("in_sync"));
    assert!(has("pending_paths", "0"), "{}", metrics());
    programs.set_failing(true);
    fs::write(source.join("a"), "12345").unwrap();
    daemon.wait_until("the target is retried", || is_in("retrying"));
    assert!(has("pending_paths", "1"), "{}", metrics());
    assert!(metrics().contains("lsyncd_oldest_change_seconds{sync"));
    programs.set_failing(false);
    let retry = r#"{"version":1,"command":"retry"}"#;
    daemon.wait_until("the sync is in sync again", || {
        ask(&sandbox.path("control.sock"), retry);
        is_in("in_sync")
    });
    assert!(has("pending_paths", "0") && has("failed_paths", "0"), "{}", metrics());
    // rsync tells what it has sent.
    assert!(has("sent_bytes_total", "5") && has("sent_files_total", "1"), "{}", metrics());
}

#[test]
fn a_flush_of_a_script_waits_for_its_programs() {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let config = "settings{ socket = '@/control.sock', nodaemon = true }\n\
                  sync{ source = '@/source', target = '@/target', delay = 1000,\n\
                  onCreate = 'cp ^sourcePathname ^targetPathname', \
                  onModify = 'sleep 0.2; cp ^sourcePathname ^targetPathname' }";
    let daemon = sandbox.daemon().config(config, 1).args(["-log", "Inotify"]).start();
    daemon.wait_watched();
    for round in 0..5 {
        fs::write(source.join("a"), round.to_string()).unwrap();
        fs::write(source.join(format!("f{round}")), round.to_string()).unwrap();
        let answer =
            ask(&sandbox.path("control.sock"), r#"{"version":1,"command":"flush","timeout":60}"#);
        assert!(answer.contains(r#""is_complete":true"#), "{answer}");
        for name in ["a".to_owned(), format!("f{round}")] {
            assert_eq!(fs::read_to_string(target.join(name)).unwrap(), round.to_string());
        }
    }
}

#[test]
fn a_flush_waits_for_the_successors_of_its_syncs_after_sighup() {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let socket = sandbox.path("control.sock");
    // A startup function covers what its predecessor has not processed.
    let copy = "until [ -e @/go ]; do sleep 0.01; done; cp -r ^source/. ^target";
    for startup in [String::new(), format!("onStartup = '{copy}', ")] {
        let config = format!(
            "settings{{ socket = '@/control.sock', nodaemon = true }}\n\
             sync{{ source = '@/source', target = '@/target', {startup}onCreate = '{copy}' }}"
        );
        let go = sandbox.path("go");
        fs::write(&go, "").unwrap();
        let daemon = sandbox.daemon().config(&config, 1).args(["-log", "Inotify"]).start();
        daemon.wait_watched();
        let flush = || ask(&socket, r#"{"version":1,"command":"flush","timeout":60}"#);
        assert!(flush().contains(r#""is_complete":true"#));
        fs::remove_file(&go).unwrap();
        let name = format!("file{}", startup.len());
        fs::write(source.join(&name), "content").unwrap();
        let answer = thread::scope(|scope| {
            let flushing = scope.spawn(flush);
            daemon.wait_for_log("Event Create spawns shell");
            daemon.signal(Signal::HUP);
            daemon.wait_for_log("begins anew");
            fs::write(&go, "").unwrap();
            flushing.join().unwrap()
        });
        assert!(answer.contains(r#""is_complete":true"#), "{answer}");
        assert!(target.join(&name).exists());
    }
}
