//! A jail in which a program can do no harm: namespaces of mounts, processes and devices.
//!
//! The original, run as root with a wrong target, deletes the whole machine. So nothing is started
//! before three conditions hold, and the third has been tested: every mount but the case's own
//! directory is read-only, there are no block devices, and no file can be created anywhere else.
//!
//! A jail is a separate process (`compat-jail`). It exits with the suite, and everything that was
//! started in it exits with it, because it is the first process of its PID namespace.

mod mounts;
mod probe;
mod request;

use std::{
    env, fs, io,
    os::unix::{
        net::UnixDatagram,
        process::{CommandExt, parent_id},
    },
    process::{Command, ExitStatus},
};

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, getegid, geteuid, getpid, set_parent_process_death_signal};

pub use request::{JailPrograms, JailRequest};

/// The outcome of a case in a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// All observations held. Contains the output.
    Passed(String),
    /// An observation did not hold. Contains the report.
    Failed(String),
    /// The jail could not be set up and nothing was started. Contains the reason.
    NotRun(String),
}

/// Exit code of a jail in which the case failed.
const FAILED: i32 = 1;
/// Exit code of a jail that could not be set up.
const NOT_RUN: i32 = 2;
/// Argument that tells the inner process from the outer one.
const INNER: &str = "inner";

/// Runs a request in a jail and waits for it.
///
/// # Errors
///
/// If the jail's program cannot be run.
pub fn run(request: &JailRequest) -> io::Result<CaseOutcome> {
    let output =
        Command::new(&request.programs.jail).args(request.to_args()).process_group(0).output()?;
    Ok(outcome(output.status, &output.stdout, &output.stderr))
}

fn outcome(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> CaseOutcome {
    let output = [stdout, stderr].map(String::from_utf8_lossy).concat();
    match status.code() {
        Some(0) => CaseOutcome::Passed(output),
        Some(FAILED) => CaseOutcome::Failed(output),
        Some(NOT_RUN) => CaseOutcome::NotRun(output.trim().to_owned()),
        _ => CaseOutcome::Failed(format!("the jail itself: {status}\n{output}")),
    }
}

/// Main function of `compat-jail`, both of the outer process and of the inner one.
///
/// `run_case` runs in the inner process and returns a report if the case fails. It gets the text of
/// the case, whose file may be invisible in the jail.
#[must_use]
pub fn main(
    run_case: impl FnOnce(&JailRequest, Option<&str>, UnixDatagram) -> Result<(), String>,
) -> i32 {
    let args: Vec<String> = env::args().skip(1).collect();
    let (is_inner, args) = match args.split_first() {
        Some((first, rest)) if first == INNER => (true, rest),
        _ => (false, &*args),
    };
    let Some(request) = JailRequest::from_args(args) else {
        eprintln!("this is started by the suite");
        return NOT_RUN;
    };
    let text = match request.case.as_ref().map(fs::read_to_string).transpose() {
        Ok(text) => text,
        Err(error) => {
            println!("cannot be read: {error}");
            return NOT_RUN;
        }
    };
    let result = if is_inner { seal(&request) } else { unshare_and_wait(&request) };
    match result {
        Ok(JailProcess::Outer(code)) => code,
        Ok(JailProcess::Inner(syslog)) => match run_case(&request, text.as_deref(), syslog) {
            Ok(()) => 0,
            Err(report) => {
                println!("{report}");
                FAILED
            }
        },
        Err(reason) => {
            println!("{reason}");
            NOT_RUN
        }
    }
}

/// The two processes of a jail.
enum JailProcess {
    /// The outer process, with the exit code of the inner one.
    Outer(i32),
    /// The sealed inner process, with the socket that receives syslog messages.
    Inner(UnixDatagram),
}

/// Creates the namespaces, and runs the inner process in them.
fn unshare_and_wait(request: &JailRequest) -> Result<JailProcess, String> {
    exit_with_parent()?;
    if parent_id() != request.parent {
        return Err("the suite has exited".to_owned());
    }
    let (user, group) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWUSER, !user.is_root());
    unshare(flags).map_err(|error| format!("cannot create namespaces: {error}"))?;
    if !user.is_root() {
        let write = |name: &str, text: String| {
            fs::write(format!("/proc/self/{name}"), text)
                .map_err(|error| format!("cannot write {name}: {error}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {} 1", user.as_raw()))?;
        write("gid_map", format!("0 {} 1", group.as_raw()))?;
    }
    let status =
        Command::new(&request.programs.jail)
            .arg(INNER)
            .args(request.to_args())
            .status()
            .map_err(|error| format!("cannot start the first process of a namespace: {error}"))?;
    Ok(JailProcess::Outer(status.code().unwrap_or(FAILED + NOT_RUN)))
}

/// Makes everything but the case's own directory read-only, and tests that it is.
fn seal(request: &JailRequest) -> Result<JailProcess, String> {
    exit_with_parent()?;
    if !getpid().is_init() {
        return Err("not the first process of its namespace".to_owned());
    }
    let syslog = mounts::seal(request)?;
    probe::check(&request.directory)?;
    Ok(JailProcess::Inner(syslog))
}

fn exit_with_parent() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot set the parent death signal: {error}"))
}
