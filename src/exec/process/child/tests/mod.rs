#[cfg(target_os = "linux")]
mod linux;

use std::thread;

use mirror_platform::process_handle::ProcessHandle;
use nix::{sys::stat::Mode, unistd::mkfifo};
use rustix::process::Pid;

use super::*;
use crate::report::RunMode;

fn shell(output: ChildOutput) -> ChildProgram {
    ChildProgram {
        binary: "sh".into(),
        working_dir: "/".into(),
        environment: Vec::new(),
        output,
        parent_death_signal: Signal::TERM,
        inherited: None,
    }
}

/// Runs `script` with a shell. Returns its exit and the lines of stderr.
fn run(script: &str, stdin: Option<Vec<u8>>, output: ChildOutput) -> (ProcessExit, Vec<String>) {
    let program = shell(output);
    let call = CommandLine { args: vec![b"-c".to_vec(), script.into()], stdin };
    let mut lines = Vec::new();
    let mut read = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
    let end = program.run(&call, &CancelToken::default(), &mut read);
    (end, lines)
}

#[test]
fn stderr_is_read_by_line_and_the_exit_code_is_returned() {
    let (end, lines) = run("printf 'a\\nb\\n\\nc' >&2; exit 23", None, ChildOutput::Null);
    assert!(matches!(end, ProcessExit::Exited(23)), "{end:?}");
    assert_eq!(lines, ["a", "b", "", "c"]);
}

#[test]
fn a_deadlocked_child_is_killed_with_its_descendants() {
    let program = shell(ChildOutput::Null);
    let script = b"echo alas >&2; sleep 600 & echo $!; wait; true";
    let call = CommandLine { args: vec![b"-c".to_vec(), script.to_vec()], stdin: None };
    let (kill_at, mut child) = (Cell::new(None), None);
    let mut on_line = |stream, line: &[u8]| {
        if stream == StdStream::Out {
            child = std::str::from_utf8(line).ok().and_then(|it| it.parse::<i32>().ok());
            kill_at.set(Some(Instant::now()));
        }
        true
    };
    let cancel = CancelToken::default();
    let filter = OutputFilter {
        on_line: &mut on_line,
        filters_stdout: false,
        splits_returns: false,
        kill_at: &kill_at,
    };
    let end = program.run_filtered(ChildLimit::Unlimited, &call, &cancel, filter);
    assert!(matches!(end, ProcessExit::Deadlocked), "{end:?}");
    // The reaper of orphans may not have waited for the process yet.
    let child = child.and_then(Pid::from_raw).unwrap();
    while ProcessHandle::open(child).is_ok_and(|process| !process.has_exited()) {
        thread::yield_now();
    }
}

#[test]
fn only_selected_lines_of_stdout_reach_the_log() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let log = Log::default();
    log.begin(RunMode::Daemon, Some(path.clone()), "--- Startup ---").unwrap();
    log.leave_terminal();
    let program = ChildProgram {
        binary: "sh".into(),
        working_dir: "/".into(),
        environment: Vec::new(),
        output: ChildOutput::Log(log),
        parent_death_signal: Signal::TERM,
        inherited: None,
    };
    let script = b"echo one; echo two >&2; printf three";
    let call = CommandLine { args: vec![b"-c".to_vec(), script.to_vec()], stdin: None };
    let mut lines = Vec::new();
    let mut on_line = |stream, line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        lines.push(format!("{stream:?} {text}"));
        line != b"one"
    };
    let (kill_at, cancel) = (Cell::new(None), CancelToken::default());
    let filter = OutputFilter {
        on_line: &mut on_line,
        filters_stdout: true,
        splits_returns: false,
        kill_at: &kill_at,
    };
    let end = program.run_filtered(ChildLimit::Unlimited, &call, &cancel, filter);
    assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
    lines.sort();
    assert_eq!(lines, ["Err two", "Out one", "Out three"]);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("two\n") && text.contains("three\n"), "{text}");
    assert!(!text.contains("one\n"), "{text}");
}

#[test]
fn a_child_that_does_not_read_stdin_does_not_block() {
    let text = vec![b'x'; 1 << 20];
    let noise = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                 i=$((i+1)); done >&2";
    let (end, lines) = run(noise, Some(text.clone()), ChildOutput::Null);
    assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
    assert_eq!(lines.len(), 3000);
    let (end, _) = run("exec 0<&-; exit 5", Some(text), ChildOutput::Null);
    assert!(matches!(end, ProcessExit::Exited(5)), "{end:?}");
}

#[test]
fn a_child_receives_all_of_its_stdin() {
    let (_, lines) = run("wc -c >&2", Some(vec![b'x'; 300_000]), ChildOutput::Null);
    assert_eq!(lines.concat().trim(), "300000");
}

#[test]
fn a_background_process_with_open_stderr_does_not_delay_the_exit() {
    // The background child exits when the FIFO, held here, is closed.
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let writer = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let program = shell(ChildOutput::Null);
    let script = format!("exec 3<'{}'; cat <&3 & exit 7", path.display());
    let call = CommandLine { args: vec![b"-c".to_vec(), script.into_bytes()], stdin: None };
    let end = program.run(&call, &CancelToken::default(), &mut |_| ());
    assert!(matches!(end, ProcessExit::Exited(7)), "{end:?}");
    drop(writer);
}

#[test]
fn a_killed_child_reports_its_signal() {
    let (end, _) = run("kill -KILL $$", None, ChildOutput::Null);
    assert!(matches!(end, ProcessExit::Killed(9)), "{end:?}");
}

#[test]
fn a_child_is_killed_at_its_deadline() {
    let program = shell(ChildOutput::Null);
    let args = [&b"-c"[..], b"trap '' TERM; exec sleep 600"];
    let call = CommandLine { args: args.map(<[u8]>::to_vec).into(), stdin: None };
    let end = program.run_with_limit(
        ChildLimit::Deadline(Instant::now()),
        &call,
        &CancelToken::default(),
        &mut |_| (),
    );
    assert!(matches!(end, ProcessExit::Killed(9)), "{end:?}");
}

#[test]
fn output_is_appended_to_the_log_file() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    std::fs::write(&log, "before\n").unwrap();
    let to_file = Log::default();
    to_file.begin(RunMode::Daemon, Some(log.clone()), "--- Startup ---").unwrap();
    to_file.leave_terminal();
    run("echo out; echo err >&2", None, ChildOutput::Log(to_file.clone()));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
    run("echo direct; echo err2 >&2", None, ChildOutput::Inherit(to_file));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("direct\n") && text.contains("err2\n"));
    assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
}

#[test]
fn a_missing_program_is_reported_as_not_started() {
    let program = ChildProgram {
        binary: "/nonexistent/rsync".into(),
        working_dir: "/".into(),
        environment: Vec::new(),
        output: ChildOutput::Null,
        parent_death_signal: Signal::TERM,
        inherited: None,
    };
    let call = CommandLine { args: vec![], stdin: None };
    let end = program.run(&call, &CancelToken::default(), &mut |_| ());
    assert!(
        matches!(end, ProcessExit::NotStarted(error) if error.kind() == io::ErrorKind::NotFound)
    );
}

#[test]
fn both_streams_are_read() {
    let program = shell(ChildOutput::Null);
    let call = CommandLine {
        args: vec![b"-c".to_vec(), b"echo a; echo b >&2; printf c".into()],
        stdin: None,
    };
    let mut lines_read = Vec::new();
    let mut on_line = |stream, line: &[u8]| {
        lines_read.push((stream, String::from_utf8_lossy(line).into_owned()));
    };
    let end = program.run_with_output(
        ChildLimit::Unlimited,
        &call,
        &CancelToken::default(),
        &mut on_line,
    );
    assert!(matches!(end, ProcessExit::Exited(0)), "{end:?}");
    let of =
        |wanted| lines_read.iter().filter(move |(it, _)| *it == wanted).map(|(_, line)| &**line);
    assert_eq!(of(StdStream::Out).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(of(StdStream::Err).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_child_with_endless_output_can_be_cancelled() {
    for script in ["exec yes noise", "exec yes noise >&2", "yes noise >&2 & exec yes noise"] {
        let cancel = CancelToken::default();
        let asked = cancel.clone();
        let mut lines_read = 0;
        let mut on_line = |_, _: &[u8]| {
            lines_read += 1;
            if lines_read == 100_000 {
                asked.cancel();
            }
        };
        let call = CommandLine { args: vec![b"-c".to_vec(), script.into()], stdin: None };
        let end = shell(ChildOutput::Null).run_with_output(
            ChildLimit::Unlimited,
            &call,
            &cancel,
            &mut on_line,
        );
        assert!(matches!(end, ProcessExit::Killed(15)), "{script}: {end:?}");
    }
}
