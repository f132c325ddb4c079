//! Start and exit of the process.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use crate::support::{
    FakeRsync, LiveMirror, Requirement, Sandbox, TransferMode, exit_code, in_both_modes, needs,
    wait_until, with_private_mounts,
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
fn the_limit_of_open_files_is_raised() {
    let live = LiveMirror::start(TransferMode::Direct);
    let pid = live.daemon.pid().as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| files.split_whitespace().nth(column).unwrap());
    let most: u64 = hard.parse().unwrap_or(u64::MAX).min(1 << 20);
    assert!(soft == "unlimited" || soft.parse::<u64>().unwrap() >= most, "{files}");
}

/// Replaces syslog for this test by a socket in a private `/dev`.
#[test]
fn a_daemon_without_a_logfile_logs_to_syslog() {
    needs!(Requirement::Mounts);
    with_private_mounts(|| {
        let sandbox = Sandbox::new();
        let dev = sandbox.create_dir("dev");
        fs::write(dev.join("null"), "").unwrap();
        let bind = |from: &Path, to: &Path| rustix::mount::mount_bind(from, to).unwrap();
        bind(Path::new("/dev/null"), &dev.join("null"));
        let socket = UnixDatagram::bind(dev.join("log")).unwrap();
        rustix::mount::mount_bind_recursive(&dev, "/dev").unwrap();
        sandbox.create_dir("a");
        let text = "settings{ logfacility = 'Local3', logident = 'mine', pidfile = '@/pid' }
            sync{ default.direct, source = '@/a', target = '@/b' }";
        // Few messages, because the socket drops those that exceed its buffer.
        let daemon = sandbox.daemon().args(["-log", "Inotify"]).config(text, 1);
        let daemon = daemon.start_detached_without_log(&sandbox.path("pid"));
        socket.set_nonblocking(true).unwrap();
        let mut messages = Vec::new();
        let mut buffer = [0; 4096];
        daemon.wait_until("the end of the startup is logged", || {
            while let Ok(length) = socket.recv(&mut buffer) {
                messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            messages.iter().any(|line: &String| line.contains("finished"))
        });
        // The facility local3 is 19: 19 * 8 + 5 (notice), also for enabled categories.
        assert!(messages.iter().all(|line| line.starts_with("<157>")), "{messages:#?}");
        assert!(
            messages[0].ends_with(" mine: Normal, --- Startup, daemonizing ---"),
            "{messages:#?}"
        );
        assert!(messages.iter().any(|line| line.contains(" mine: Inotify, ")), "{messages:#?}");
        daemon.signal(Signal::TERM);
        daemon.wait_until("it ends", || !daemon.is_running());
    });
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
    let directory = fs::read_link(format!("/proc/{}/cwd", daemon.pid())).unwrap();
    assert_eq!(directory, PathBuf::from("/"));
    fs::write(source.join("later"), "").unwrap();
    let later = target.join("later");
    daemon.wait_until("a change is mirrored", || later.exists());
    daemon.signal(Signal::TERM);
    daemon.wait_until("it ends", || !daemon.is_running());
    assert!(!pidfile.exists(), "the pidfile is removed");
    assert!(daemon.log().contains("--- TERM signal, fading ---"), "{}", daemon.log());
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

/// Returns the processes of a process group, each with its state.
fn group(of: i32) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stat = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        (fields.nth(1)?.parse::<i32>().ok()? == of).then_some((pid, state))
    };
    processes.filter_map(stat).collect()
}

#[test]
fn orphans_are_reaped_in_a_container() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Mounts);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    // The background process outlives its shell.
    let hook = "onSynced = { 'sh', '-c', '(sleep 0.1; true) &' }";
    let text = format!("sync{{ default.rsync, source = '@/source', target = '@/target', {hook} }}");
    let start =
        sandbox.daemon().shell_prefix("exec unshare --pid --fork --kill-child").config(&text, 1);
    let mut daemon = start.start();
    daemon.wait_live();
    for number in 0..3 {
        let name = format!("file{number}");
        fs::write(source.join(&name), "").unwrap();
        daemon.wait_until("it is there", || target.join(&name).exists());
    }
    let pid = daemon.pid().as_raw_nonzero().get();
    daemon.wait_until("all orphans are gone", || {
        let group = group(pid);
        // `unshare`, the first process of the namespace, and its child.
        group.len() == 3 && group.iter().all(|(_, state)| *state != 'Z')
    });
    let mut pids: Vec<i32> = group(pid).into_iter().map(|(pid, _)| pid).collect();
    pids.sort_unstable();
    let first = rustix::process::Pid::from_raw(pids[1]).unwrap();
    rustix::process::kill_process(first, Signal::TERM).unwrap();
    assert_eq!(exit_code(daemon.wait_exit()), 143, "{}", daemon.log());
    daemon.wait_for_log("--- TERM signal, fading ---");
}

#[test]
fn no_child_outlives_a_daemon_that_is_killed() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_hanging(true);
    let start = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target);
    let mut daemon = start.env("PATH", rsync.search_path()).start();
    daemon.wait_until("the child runs", || rsync.hanging_process().is_some());
    let child = rsync.hanging_process().unwrap().as_raw_nonzero();
    daemon.signal(Signal::KILL);
    daemon.wait_exit();
    let seen = || fs::read_to_string(format!("/proc/{child}/stat"));
    wait_until("the child ends", String::new, || seen().map_or(true, |it| it.contains(") Z")));
}

/// Writes of an orphaned rsync would interfere with those of the next daemon.
#[test]
fn nothing_is_written_after_the_daemon_was_killed() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    for number in 0..20_000 {
        fs::write(source.join(format!("file{number}")), "").unwrap();
    }
    let mut daemon = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target).start();
    let count = || fs::read_dir(&target).unwrap().count();
    daemon.wait_until("some are there", || count() > 1000);
    daemon.signal(Signal::KILL);
    daemon.wait_exit();
    let before = count();
    let of_target = target.to_str().unwrap().to_owned();
    let runs = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(&of_target))
    };
    wait_until("all of its processes end", String::new, || !runs());
    // Without the kill, half a second yields 700 and more.
    assert!(count() < before + 300, "{before} files and {} later", count());
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
