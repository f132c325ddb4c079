//! Start and exit of the process.

#[cfg(target_os = "linux")]
mod linux;

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::support::{
    FakeRsync, LiveMirror, Sandbox, TransferMode, exit_code, in_both_modes, needs, wait_until,
};

in_both_modes!(
    a_signal_exits_with_the_code_of_a_shell,
    onepass_exits_once_everything_is_in_sync,
    onepass_fails_if_only_the_source_is_empty,
    a_daemon_detaches_and_manages_its_pidfile,
    a_second_daemon_with_the_same_pidfile_exits,
    a_log_in_the_source_does_not_cause_a_loop,
);

fn a_signal_exits_with_the_code_of_a_shell(mode: TransferMode) {
    for (signal, code, name) in [(Signal::TERM, 143, "TERM"), (Signal::INT, 130, "INT")] {
        let mut live = LiveMirror::start(mode);
        live.daemon.signal(signal);
        assert_eq!(exit_code(live.daemon.wait_exit()), code);
        live.daemon.wait_for_log(&format!("--- {name} signal, fading ---"));
    }
}

fn onepass_exits_once_everything_is_in_sync(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    let targets = ["one", "two"].map(|name| sandbox.create_dir(name));
    fs::write(source.join("file"), vec![1; 1500]).unwrap();
    let start = sandbox.daemon().args(["-onepass"]);
    let start = targets.iter().fold(start, |start, target| start.mirror(mode, &source, target));
    let mut daemon = start.start();
    assert_eq!(exit_code(daemon.wait_exit()), 0, "{}", daemon.log());
    for (number, target) in targets.iter().enumerate() {
        daemon.wait_mirrored(mode, &source, target);
        let target = target.display();
        let summary = format!("Sync{} -> {target}/: transferred, 1 file, 1.5 kB, in ", number + 1);
        assert!(daemon.log().contains(&summary), "{summary}: {}", daemon.log());
    }
}

#[test]
fn onepass_fails_if_a_startup_fails() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_failing(true);
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).args(["-onepass"]);
    let mut daemon = start.env("PATH", rsync.search_path()).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
}

/// rsync may report a partial transfer without the paths.
#[test]
fn onepass_fails_after_a_partial_transfer() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let rsync = FakeRsync::new(&sandbox);
    rsync.fail_with(23);
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).args(["-onepass"]);
    let mut daemon = start.env("PATH", rsync.search_path()).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    let log = daemon.log();
    assert!(log.contains(": transferred except for 1 failed paths, in "), "{log}");
    assert!(
        log.contains("Sync1 -> ") && log.contains(": not on the target after this pass: /"),
        "{log}"
    );
}

/// An empty source looks like an unmounted one: the target is kept, which is not a success.
fn onepass_fails_if_only_the_source_is_empty(mode: TransferMode) {
    needs!(mode.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let onepass = || sandbox.daemon().mirror(mode, &source, &target).args(["-onepass"]).start();
    assert_eq!(exit_code(onepass().wait_exit()), 0);
    fs::write(target.join("precious"), "").unwrap();
    let mut daemon = onepass();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    let log = daemon.log();
    assert!(log.contains("deletions held of 1 of "), "{log}");
    assert!(log.contains(": transferred, 1 deletions held, 0 files, 0 B, in "), "{log}");
    assert!(target.join("precious").exists());
}

#[test]
fn onepass_fails_if_an_init_event_is_never_done() {
    let sandboxes = [Sandbox::new(), Sandbox::new()];
    let [one, other] = sandboxes.each_ref().map(|sandbox| {
        sandbox.create_dir("src");
        sandbox.daemon().args(["-onepass"])
    });
    let sync = |init| format!("sync{{ source = '@/src', init = function(event) {init} end }}");
    let mut idle = one.config(&sync(""), 1).start();
    // As long as an alarm is pending, it waits.
    let late = "if begun then return end begun = true
        alarm(now() + 13, function() event.inlet.discardEvent(event) end)";
    let late = format!("begun = false {}", sync(late));
    let mut late = other.config(&late, 1).start();
    assert_eq!(exit_code(idle.wait_exit()), 255, "{}", idle.log());
    let lines = [
        "its init neither spawns nor discards its event: all else waits for that",
        "nothing is left that could end the startup, so one pass has no end",
    ];
    for line in lines {
        assert_eq!(idle.log().matches(line).count(), 1, "{}", idle.log());
    }
    assert_eq!(exit_code(late.wait_exit()), 0, "{}", late.log());
}

fn a_daemon_detaches_and_manages_its_pidfile(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let [pidfile, log] = ["pid", "log"].map(|name| sandbox.path(name));
    fs::write(source.join("file"), "").unwrap();
    let start = sandbox.daemon().mirror(mode, &source, &target);
    let daemon = start.start_detached(&pidfile, &log);
    daemon.wait_until("the startup is logged", || daemon.log().contains("Startup of"));
    assert!(daemon.log().contains("--- Startup, daemonizing ---"), "{}", daemon.log());
    #[cfg(target_os = "linux")]
    {
        let pid = fs::read_to_string(&pidfile).unwrap();
        let directory = fs::read_link(format!("/proc/{}/cwd", pid.trim_end())).unwrap();
        assert_eq!(directory, PathBuf::from("/"));
    }
    fs::write(source.join("later"), "").unwrap();
    let later = target.join("later");
    daemon.wait_until("a change is mirrored", || later.exists());
    daemon.signal(Signal::TERM);
    daemon.wait_until("it ends", || !daemon.is_running());
    assert!(!pidfile.exists(), "the pidfile is removed");
    assert!(daemon.log().contains("--- TERM signal, fading ---"), "{}", daemon.log());
}

/// The threads that load the configuration must have ended before.
#[test]
fn a_daemon_detaches_each_time() {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let [pidfile, log] = ["pid", "log"].map(|name| sandbox.path(name));
    for _ in 0..10 {
        let start = sandbox.daemon().mirror(TransferMode::Direct, &source, &target);
        let daemon = start.start_detached(&pidfile, &log);
        daemon.signal(Signal::TERM);
        daemon.wait_until("it ends", || !daemon.is_running());
    }
}

fn a_second_daemon_with_the_same_pidfile_exits(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let [pidfile, log, other] = ["pid", "log", "other-log"].map(|name| sandbox.path(name));
    let first = sandbox.daemon().mirror(mode, &source, &target).start_detached(&pidfile, &log);
    let start = sandbox.daemon().mirror(mode, &source, &target);
    // It must neither change nor delete the pidfile of the first one.
    let output = start.fail_to_detach(&pidfile, &other);
    assert!(output.contains("Cannot lock pidfile"), "{output}");
    assert!(fs::read_to_string(&other).unwrap().contains("Cannot lock pidfile"));
    assert!(first.is_running());
    assert!(pidfile.exists());
}

/// The person who starts a daemon sees what keeps it from running.
#[test]
fn the_command_fails_if_the_socket_of_the_daemon_is_in_use() {
    let sandbox = Sandbox::new();
    let config = |name: &str| {
        for dir in ["source", "target"] {
            sandbox.create_dir(&format!("{dir}{name}"));
        }
        format!(
            "settings{{ socket = '@/socket' }}\n\
             sync{{ default.direct, source = '@/source{name}', target = '@/target{name}' }}"
        )
    };
    let [pidfile, log, other_pidfile, other_log] =
        ["pid", "log", "other-pid", "other-log"].map(|name| sandbox.path(name));
    let first = sandbox.daemon().config(&config("1"), 1).start_detached(&pidfile, &log);
    let second = sandbox.daemon().config(&config("2"), 1);
    let output = second.fail_to_detach(&other_pidfile, &other_log);
    assert!(output.contains("another daemon serves it"), "{output}");
    assert!(!other_pidfile.exists() && first.is_running());
}

/// Returns a configuration of several syncs by rsync, and the expected file on each target.
fn many_syncs(sandbox: &Sandbox, number: usize) -> (Vec<String>, Vec<PathBuf>) {
    let sync = |number: usize| {
        let (source, target) = (format!("s{number}"), format!("t{number}"));
        fs::write(sandbox.create_dir(&source).join("file"), "").unwrap();
        let sync = format!("sync{{ default.rsync, source = '@/{source}', target = '@/{target}' }}");
        (sync, sandbox.path(&target).join("file"))
    };
    (0..number).map(sync).unzip::<_, _, Vec<_>, Vec<_>>()
}

#[test]
fn few_descriptors_are_enough_for_many_syncs() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (text, files) = many_syncs(&sandbox, 40);
    let daemon =
        sandbox.daemon().shell_prefix("ulimit -n 100 && exec").config(&text.concat(), 40).start();
    daemon.wait_live();
    assert!(files.iter().all(|file| file.exists()));
}

fn a_log_in_the_source_does_not_cause_a_loop(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let log = source.join("own.log");
    let args = ["-log", "all", "-logfile", log.to_str().unwrap()];
    let daemon = sandbox.daemon().mirror(mode, &source, &target).args(args).start();
    daemon.wait_live();
    fs::write(source.join("file"), "").unwrap();
    let file = target.join("file");
    daemon.wait_until("a change is mirrored", || file.exists());
    let length = daemon.wait_until_unchanged("the log no longer grows", || {
        Some(fs::metadata(&log).unwrap().len())
    });
    assert!(length < 1 << 20, "the log has {length} bytes");
}

#[test]
fn a_rotated_log_is_created_again() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let live =
        LiveMirror::start_with(sandbox, TransferMode::Rsync, &["-logfile", log.to_str().unwrap()]);
    let has =
        |path: &PathBuf, text: &str| fs::read_to_string(path).unwrap_or_default().contains(text);
    // The logfile follows the terminal with a short delay.
    wait_until("the logfile has it, too", || live.daemon.log(), || has(&log, "Startup of"));
    let rotated = live.sandbox.path("log.1");
    fs::rename(&log, &rotated).unwrap();
    fs::write(live.source_path("file"), "").unwrap();
    live.expect_mirrored();
    let finished = "Finished a list after exitcode: 0";
    wait_until("the new log has the new lines", || live.daemon.log(), || has(&log, finished));
    assert!(!has(&rotated, finished));
}
