//! Tests that need `/proc`: counters and signals of processes.

use std::{process::Command, time::Duration};

use rustix::event::Timespec;

use super::*;

/// Runs `script` with a shell named `rsync`, sampled at this interval.
fn run_as_rsync(script: &str, interval: Duration) -> ProcessExit {
    let place = tempfile::tempdir().unwrap();
    let rsync = place.path().join("rsync");
    // Another process writes the file: a descriptor open for writing here could be inherited
    // for a moment by a child of another test, and exec would fail with ETXTBSY.
    let copied = Command::new("cp").arg("/bin/sh").arg(&rsync).status();
    assert!(copied.unwrap().success());
    let program = ChildProgram {
        binary: "sh".into(),
        working_dir: "/".into(),
        environment: vec![("RSYNC".into(), rsync.into())],
        output: ChildOutput::Null,
        parent_death_signal: Signal::TERM,
        inherited: None,
    };
    let script = format!("\"$RSYNC\" -c '{script}'; exit $?");
    let call = CommandLine { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
    let limit = ChildLimit::Stall { interval, max_quiet: 4 };
    program.run_with_limit(limit, &call, &CancelToken::default(), &mut |_| ())
}

#[test]
fn a_stalled_rsync_is_killed_with_its_wrapper() {
    let interval = Duration::from_millis(10);
    let end = run_as_rsync("sleep 600; :", interval);
    assert!(matches!(end, ProcessExit::Stalled(it) if it == 4 * interval), "{end:?}");
}

/// A local rsync consists of several processes; the one that writes removes its temporary file when
/// it is terminated.
#[test]
fn the_processes_of_a_stalled_rsync_can_clean_up() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let fifo = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let script = format!("trap \"echo removed >{}; exit\" TERM; sleep 600 & wait", path.display());
    let end = run_as_rsync(&script, Duration::from_millis(10));
    assert!(matches!(end, ProcessExit::Stalled(_)), "{end:?}");
    let mut ready = [PollFd::new(&fifo, PollFlags::IN)];
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut ready, Some(&limit)).unwrap(), 1, "it was killed before");
}

#[test]
fn a_busy_rsync_without_io_is_not_stalled() {
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exit 7";
    let end = run_as_rsync(busy, Duration::from_millis(1));
    assert!(matches!(end, ProcessExit::Exited(7)), "{end:?}");
}

#[test]
fn the_child_has_default_signal_dispositions() {
    let (_, lines) = run("grep -E 'SigBlk|SigIgn' /proc/self/status >&2", None, ChildOutput::Null);
    let masks: Vec<u64> = lines
        .iter()
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
        .collect();
    let sigpipe = 1 << (13 - 1);
    assert_eq!((masks[0], masks[1] & sigpipe), (0, 0), "{lines:?}");
}
