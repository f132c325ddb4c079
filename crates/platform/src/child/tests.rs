use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _, pipe},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    },
    process::ExitStatus,
};

use super::*;
use crate::descriptor::null_device;

pub(crate) fn spec<'a>(program: &'a str, args: &[&'a str]) -> ChildSpec<'a> {
    ChildSpec {
        program: program.as_ref(),
        args: args.iter().map(|&arg| OsStr::new(arg)).collect(),
        environment: &[],
        working_dir: Path::new("/"),
        streams: [(); 3].map(|()| null_device().unwrap()),
        inherited: None,
        parent_death_signal: Signal::TERM,
    }
}

/// Runs a program to its end. Returns its status and its stdout.
pub(crate) fn run(mut spec: ChildSpec<'_>) -> io::Result<(ExitStatus, String)> {
    let (mut reader, writer) = pipe()?;
    spec.streams[1] = writer.into();
    let mut child = ChildProcess::spawn(&spec)?;
    drop(spec);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    Ok((child.wait()?, text))
}

fn shell(script: &str) -> (ExitStatus, String) {
    run(spec("sh", &["-c", script])).unwrap()
}

#[test]
fn a_child_gets_arguments_streams_and_a_working_directory() {
    let (status, text) = shell("pwd; echo \"$0\"; cat; exit 7");
    assert_eq!((status.code(), &*text), (Some(7), "/\nsh\n"));
    let directory = tempfile::tempdir().unwrap();
    let mut echo = spec("sh", &["-c", "cat; pwd -P; echo \"$@\"", "name", "a  b", ""]);
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(b"input\n").unwrap();
    drop(writer);
    echo.streams[0] = reader.into();
    echo.working_dir = directory.path();
    let at = directory.path().canonicalize().unwrap();
    assert_eq!(run(echo).unwrap().1, format!("input\n{}\na  b \n", at.display()));
}

#[test]
fn standard_streams_can_be_exchanged() {
    // The numbers of the streams of this process may be those that the child needs.
    let mut swapped = spec("sh", &["-c", "echo out; echo err >&2"]);
    let (mut reader, writer) = pipe().unwrap();
    swapped.streams[2] = writer.into();
    swapped.streams[1] = io::stderr().as_fd().try_clone_to_owned().unwrap();
    let mut child = ChildProcess::spawn(&swapped).unwrap();
    drop(swapped);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(text, "err\n");
}

#[test]
fn the_environment_is_inherited_and_extended() {
    let script = "echo \"$HOME $NEW $PATH\"";
    let new = [("NEW".into(), "a=b".into()), ("HOME".into(), "/nowhere".into())];
    let mut changed = spec("sh", &["-c", script]);
    changed.environment = &new;
    let path = std::env::var("PATH").unwrap();
    assert_eq!(run(changed).unwrap().1, format!("/nowhere a=b {path}\n"));
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).into_os_string().into_string().unwrap();
    fs::write(at("text"), "echo").unwrap();
    let path = [("PATH".into(), at("").into())];
    let kind = |spec: &ChildSpec<'_>| ChildProcess::spawn(spec).unwrap_err().kind();
    assert_eq!(kind(&spec("no such program", &[])), io::ErrorKind::NotFound);
    assert_eq!(kind(&spec(&at("no such program"), &[])), io::ErrorKind::NotFound);
    assert_eq!(kind(&spec("", &[])), io::ErrorKind::NotFound);
    assert_eq!(kind(&spec(&at("text"), &[])), io::ErrorKind::PermissionDenied);
    assert_eq!(kind(&spec("sh\0", &[])), io::ErrorKind::InvalidInput);
    assert_eq!(kind(&spec("sh", &["\0"])), io::ErrorKind::InvalidInput);
    let mut in_path = spec("text", &[]);
    in_path.environment = &path;
    assert_eq!(kind(&in_path), io::ErrorKind::PermissionDenied);
    let mut nowhere = spec("sh", &[]);
    nowhere.working_dir = Path::new("/no such directory");
    assert_eq!(kind(&nowhere), io::ErrorKind::NotFound);
}

/// Creates a program in the directory, by another process: a descriptor open for writing here could
/// be inherited for a moment by a child of another test, and `execve(2)` would fail with `ETXTBSY`.
fn write_program(path: &Path, text: &str) {
    let args = ["-c", "printf %s \"$1\" >\"$2\"; chmod 755 \"$2\"", "sh", text];
    let mut write = spec("sh", &args);
    write.args.push(path.as_os_str());
    assert!(run(write).unwrap().0.success());
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_program_is_looked_up_in_its_own_path() {
    let directory = tempfile::tempdir().unwrap();
    write_program(&directory.path().join("program"), "#!/bin/sh\necho found");
    let link = directory.path().join("loop");
    std::os::unix::fs::symlink("loop", &link).unwrap();
    let (link, long) = (link.display(), "x".repeat(5000));
    let value = format!("/nowhere::{link}:/{long}:{}", directory.path().display());
    let path = [("PATH".into(), value.into())];
    let mut found = spec("program", &[]);
    found.environment = &path;
    assert_eq!(run(found).unwrap().1, "found\n");
    let mut relative = spec("./program", &[]);
    relative.working_dir = directory.path();
    assert_eq!(run(relative).unwrap().1, "found\n");
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    write_program(&script, "echo \"$0\" \"$@\"");
    let script = script.to_str().unwrap();
    assert_eq!(run(spec(script, &["a", "b"])).unwrap().1, format!("{script} a b\n"));
}

#[test]
fn a_child_inherits_no_other_descriptors() {
    let file = File::open("/").unwrap();
    let number = file.as_raw_fd();
    let script = format!("[ -e /dev/fd/0 ] && ! [ -e /dev/fd/{number} ]");
    assert!(shell(&script).0.success());
    let mut keeping = spec("sh", &["-c", &script]);
    keeping.inherited = Some(file.as_fd());
    assert_eq!(run(keeping).unwrap().0.code(), Some(1));
}

#[test]
fn an_inherited_lock_lasts_until_the_last_process_has_ended() {
    use rustix::fs::{FlockOperation, flock};

    let directory = tempfile::tempdir().unwrap();
    let open = || File::open(directory.path()).unwrap();
    let ours = open();
    flock(&ours, FlockOperation::NonBlockingLockShared).unwrap();
    // The shell ends at once; its child reads to the end.
    let number = if ours.as_raw_fd() == 9 { 8 } else { 9 };
    let script = format!("exec {number}<&0; cat <&{number} >/dev/null 2>&1 & exit 0");
    let mut holder = spec("sh", &["-c", &script]);
    let (reader, mut input) = pipe().unwrap();
    holder.streams[0] = reader.into();
    holder.inherited = Some(ours.as_fd());
    let mut child = ChildProcess::spawn(&holder).unwrap();
    drop(holder);
    drop(ours);
    assert!(child.wait().unwrap().success());
    let refused = flock(open(), FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(rustix::io::Errno::WOULDBLOCK));
    input.write_all(b"end").unwrap();
    drop(input);
    flock(open(), FlockOperation::LockExclusive).unwrap();
}

#[test]
fn a_child_is_killed_and_waited_for_once() {
    let mut child = ChildProcess::spawn(&spec("sleep", &["600"])).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Another process may have its id by now.
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn threads_start_programs_at_the_same_time() {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..25 {
                    let code = (thread * 25 + round) % 256;
                    let script = format!("echo {code}; exit {code}");
                    let (status, text) = shell(&script);
                    assert_eq!((status.code(), text), (Some(code), format!("{code}\n")));
                    ChildProcess::spawn(&spec("no such program", &[])).unwrap_err();
                }
            });
        }
    });
}
