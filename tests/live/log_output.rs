//! Lines of the log on the terminal, in a pipe and in the journal.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    process::{Command, Stdio},
};

use rustix::fs::fstat;

use crate::support::Sandbox;

/// Returns a command for one pass of a sync of this sandbox, with these further arguments.
fn one_pass(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncd"));
    let sync = ["-nodaemon", "-onepass", "-direct", "source", "target"];
    command.args(args).args(sync).current_dir(sandbox.top()).stdin(Stdio::null());
    command
}

/// Runs one pass with stdout and stderr in one pipe, and returns what it wrote. `journal` has the
/// value of `$JOURNAL_STREAM` for the device and inode of the pipe.
fn output(sandbox: &Sandbox, args: &[&str], journal: impl Fn(u64, u64) -> String) -> String {
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
