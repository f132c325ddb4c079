//! Lines of the log on the terminal, in a pipe and in the journal.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    process::{Command, Stdio},
};

use rustix::{
    fs::{Dev, fstat},
    io::{FdFlags, fcntl_setfd},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;

use crate::support::{Sandbox, TransferMode, in_both_modes, needs};

/// Returns a command for one pass of a sync of this sandbox, with these further arguments.
fn one_pass(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncd"));
    let sync = ["-nodaemon", "-onepass", "-direct", "source", "target"];
    command.args(args).args(sync).current_dir(sandbox.top()).stdin(Stdio::null());
    command
}

/// Runs one pass with stdout and stderr in one pipe, and returns what it wrote. `journal` has the
/// value of `$JOURNAL_STREAM` for the device and inode of the pipe.
fn output(sandbox: &Sandbox, args: &[&str], journal: impl Fn(Dev, u64) -> String) -> String {
    let (mut pipe, writer) = io::pipe().unwrap();
    let stat = fstat(writer.as_fd()).unwrap();
    let mut command = one_pass(sandbox, args);
    command.env("JOURNAL_STREAM", journal(stat.st_dev, stat.st_ino));
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // The command has the only other descriptors of the pipe.
    drop(command);
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

#[test]
fn lines_for_the_journal_have_a_priority_and_no_date() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let journal = output(&sandbox, &["-log", "all"], |device, inode| format!("{device}:{inode}"));
    for line in ["<6>Normal: --- Startup ---\n", "<6>Normal: Startup of \""] {
        assert!(journal.contains(line), "{line}: {journal}");
    }
    assert!(journal.lines().all(|line| line.starts_with('<')), "{journal}");
    assert!(journal.contains("\n<7>"), "{journal}");
    // Even before the configuration is read.
    let early = output(&sandbox, &["-direct", "none", "target"], |d, i| format!("{d}:{i}"));
    assert!(early.starts_with("<3>Error: "), "{early}");
    let pipe = output(&sandbox, &[], |device, inode| format!("{device}:{}", inode + 1));
    assert!(pipe.contains(" Normal: --- Startup ---\n") && !pipe.contains('<'), "{pipe}");
}

/// Parses each line as a JSON object.
fn objects(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    text.lines().map(parse).inspect(|line: &Value| assert!(line.is_object())).collect()
}

#[test]
fn each_line_of_a_log_in_json_is_an_object_whatever_the_names_are() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    let target = sandbox.create_dir("target");
    let logfile = sandbox.path("file.log");
    let daemon = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target);
    let args = ["-logFormat", "json", "-log", "all", "-delay", "0", "-logfile"];
    let daemon = daemon.args(args).args([&logfile]).start();
    daemon.wait_live();
    // The file systems of macOS refuse what is no UTF-8.
    let (first, shown) = if cfg!(target_os = "linux") { (0xff, "\\xff") } else { (b'a', "a") };
    let odd = [&[first][..], b"\x1b[1m\n\"\\"].concat();
    let odd = OsStr::from_bytes(&odd);
    fs::write(source.join(odd), "").unwrap();
    daemon.wait_until("a change is mirrored", || target.join(odd).exists());
    daemon.wait_for_log("Finished a list");
    for text in [daemon.log(), fs::read_to_string(&logfile).unwrap()] {
        let lines = objects(&text);
        let list = "Calling rsync with filter-list of new/modified files/dirs\n/";
        let list = format!("{list}{shown}");
        let is_list = |line: &&Value| line["message"].as_str().unwrap().starts_with(&list);
        let line = lines.iter().find(is_list).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!((&line["category"], &line["sync"]), (&"Normal".into(), &"Sync1".into()));
        let time = line["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        assert!(lines.iter().any(|line| line["level"] == "debug"), "{text}");
    }
}

#[test]
fn sighup_changes_the_format_of_the_log() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let text = |format: &str| {
        format!(
            "settings{{ logFormat = '{format}' }}
             sync{{ default.direct, source = '@/source', target = '@/target' }}"
        )
    };
    let daemon = sandbox.daemon().config(&text("text"), 1).start();
    daemon.wait_live();
    let before = daemon.log().len();
    sandbox.write_config(&text("json"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("\"message\":\"1 sync is kept as it is\"");
    let log = daemon.log();
    let after = log[before..].split_once("resetting ---\n").unwrap().1;
    assert!(!objects(after).is_empty(), "{log}");
}

#[test]
fn a_rejected_command_line_is_reported_in_the_format_of_the_log() {
    let sandbox = Sandbox::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncd"));
    command.args(["-logFormat", "json", "-direct", "none", "target"]).current_dir(sandbox.top());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let lines = objects(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(lines[0]["level"], "error", "{lines:?}");
}

#[test]
fn a_large_batch_is_counted_unless_all_names_are_wanted() {
    needs!(TransferMode::Rsync.requirement());
    for (categories, listed) in [(&[][..], 100), (&["-log", "Names"], 150)] {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let daemon = sandbox.daemon().mirror(TransferMode::Rsync, &source, &target);
        let daemon = daemon.args(["-delay", "1"]).args(categories).start();
        daemon.wait_live();
        daemon.while_stopped(|| {
            for number in 0..150 {
                fs::write(source.join(format!("file{number}")), "").unwrap();
            }
        });
        daemon.wait_for_log("Finished a list after exitcode: 0");
        let log = daemon.log();
        assert_eq!(log.matches("\n/file").count(), listed, "{log}");
        assert_eq!(log.contains("\n... and 50 more\n"), listed == 100, "{log}");
    }
}

/// Runs one pass of a slow sync on a terminal, and returns what the terminal gets.
fn on_terminal(mode: TransferMode, environment: &[(&str, &str)]) -> String {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    fs::write(source.join("file"), vec![7; 1_500_000]).unwrap();
    // The value of `delete` causes a warning.
    let kind = mode.option().trim_start_matches('-');
    let text = format!(
        "sync{{ default.{kind}, source = 'source', target = 'target', delete = 'false',
             rsync = {{ bwlimit = 1000 }} }}"
    );
    fs::write(sandbox.path("conf.lua"), text).unwrap();
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    fcntl_setfd(&controller, FdFlags::CLOEXEC).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = fs::File::options().read(true).write(true).open(name).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncd"));
    command.args(["-nodaemon", "-onepass", "conf.lua"]).current_dir(sandbox.top());
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut output = Vec::new();
    // Once no process has the terminal open, reading fails.
    let _ = fs::File::from(controller).read_to_end(&mut output);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    String::from_utf8(output).unwrap()
}

in_both_modes!(a_terminal_gets_progress_and_colours);

/// A part of the line with the progress that no path of a sandbox has: these have random letters,
/// such as `live-ZQkB/source`.
const PROGRESS: &str = " files, ";

fn a_terminal_gets_progress_and_colours(mode: TransferMode) {
    let text = on_terminal(mode, &[]);
    assert!(text.contains(" \u{1b}[33mWarn\u{1b}[0m: "), "{text:?}");
    let progress = "\r\u{1b}[2KSync1: ";
    assert!(text.contains(progress), "{text:?}");
    let is_under_way = |line: &str| line.contains(" MB, ") || line.contains(" kB, ");
    assert!(text.split(progress).skip(1).any(is_under_way), "{text:?}");
    assert!(text.contains(PROGRESS), "{text:?}");
    // The line is erased before the next message, and at the end.
    let messages = text.split("\r\n").filter(|line| line.contains("Normal: "));
    for line in messages {
        let last = line.rsplit("\u{1b}[2K").next().unwrap();
        assert!(!last.contains(PROGRESS), "{line:?}");
    }
    assert!(text.ends_with("\r\n"), "{text:?}");
    // rsync's own progress is not in the log.
    assert!(!text.contains("xfr#"), "{text:?}");
    let plain = on_terminal(mode, &[("NO_COLOR", "1")]);
    assert!(plain.contains(" Warn: ") && !plain.contains("\u{1b}[33m"), "{plain:?}");
    let dumb = on_terminal(mode, &[("TERM", "dumb")]);
    assert!(!dumb.contains('\u{1b}') && !dumb.contains(PROGRESS), "{dumb:?}");
}

#[test]
fn a_pipe_gets_neither_progress_nor_colours() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    fs::write(sandbox.path("source/file"), "x").unwrap();
    let text = output(&sandbox, &[], |_, _| String::new());
    assert!(text.contains("Normal: ") && !text.contains('\u{1b}'), "{text}");
}
