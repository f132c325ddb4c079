//! Limits, orphans and the system's log, with `/proc`, mounts and signals of Linux.

use std::os::unix::net::UnixDatagram;

use rustix::mount::{mount_bind, mount_bind_recursive};

use super::*;
use crate::support::{Requirement, with_private_mounts};

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
        mount_bind("/dev/null", dev.join("null")).unwrap();
        let socket = UnixDatagram::bind(dev.join("log")).unwrap();
        mount_bind_recursive(&dev, "/dev").unwrap();
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
