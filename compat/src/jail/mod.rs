//! Where a program can do no harm: its own mounts, processes and devices.
//!
//! The original, run as root with a wrong target, empties the machine. So nothing is started before
//! three things are true, and the third has been tried: every mount but the case's own directory
//! is read-only, there are no devices of disks, and a file cannot be made anywhere else.
//!
//! A jail is a process of its own (`compat-jail`). It ends with the one that started it, and all
//! that was started in it ends with it, since it is the first process of its namespace.

mod errand;
mod mounts;
mod probe;

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

pub use errand::{Errand, Programs};

/// What came of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that must be seen was seen. What was printed.
    Passed(String),
    /// What was not, for people.
    Failed(String),
    /// Why nothing was started at all.
    Impossible(String),
}

/// The exit code of a jail in which the case failed.
const FAILED: i32 = 1;
/// The exit code of one that could not be made.
const IMPOSSIBLE: i32 = 2;
/// The word that tells the process within from the one around it.
const WITHIN: &str = "within";

/// Does an errand in a jail, and waits for it.
///
/// # Errors
///
/// If the jail's program cannot be run.
pub fn send(errand: &Errand) -> io::Result<Verdict> {
    let output =
        Command::new(&errand.programs.jail).args(errand.to_words()).process_group(0).output()?;
    Ok(verdict(output.status, &output.stdout, &output.stderr))
}

fn verdict(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Verdict {
    let said = [stdout, stderr].map(String::from_utf8_lossy).concat();
    match status.code() {
        Some(0) => Verdict::Passed(said),
        Some(FAILED) => Verdict::Failed(said),
        Some(IMPOSSIBLE) => Verdict::Impossible(said.trim().to_owned()),
        _ => Verdict::Failed(format!("the jail itself: {status}\n{said}")),
    }
}

/// The program `compat-jail`: first around the jail, then within.
///
/// `play` does what is to be done in it, and tells what was wrong. It is given the text of the case,
/// which may lie where the jail can't look.
#[must_use]
pub fn main(play: impl FnOnce(&Errand, Option<&str>, UnixDatagram) -> Result<(), String>) -> i32 {
    let words: Vec<String> = env::args().skip(1).collect();
    let (within, words) = match words.split_first() {
        Some((first, rest)) if first == WITHIN => (true, rest),
        _ => (false, &*words),
    };
    let Some(errand) = Errand::from_words(words) else {
        eprintln!("this is started by the suite");
        return IMPOSSIBLE;
    };
    let text = match errand.case.as_ref().map(fs::read_to_string).transpose() {
        Ok(text) => text,
        Err(error) => {
            println!("cannot be read: {error}");
            return IMPOSSIBLE;
        }
    };
    let result = if within { stay(&errand) } else { enter(&errand) };
    match result {
        Ok(Stage::Around(code)) => code,
        Ok(Stage::Within(syslog)) => match play(&errand, text.as_deref(), syslog) {
            Ok(()) => 0,
            Err(report) => {
                println!("{report}");
                FAILED
            }
        },
        Err(why) => {
            println!("{why}");
            IMPOSSIBLE
        }
    }
}

/// Which of the two processes this is.
enum Stage {
    /// The one around, with the exit code of the one within.
    Around(i32),
    /// The one within, when all is safe, with what is sent to the log of the system.
    Within(UnixDatagram),
}

/// Makes the namespaces, and goes on in a process within them.
fn enter(errand: &Errand) -> Result<Stage, String> {
    end_with_parent()?;
    if parent_id() != errand.parent {
        return Err("the suite has ended".to_owned());
    }
    let (user, group) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWUSER, !user.is_root());
    unshare(flags).map_err(|error| format!("no namespaces of one's own: {error}"))?;
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
        Command::new(&errand.programs.jail)
            .arg(WITHIN)
            .args(errand.to_words())
            .status()
            .map_err(|error| format!("cannot start the first process of a namespace: {error}"))?;
    Ok(Stage::Around(status.code().unwrap_or(FAILED + IMPOSSIBLE)))
}

/// Makes everything but the case's own directory read-only, and tries whether it is.
fn stay(errand: &Errand) -> Result<Stage, String> {
    end_with_parent()?;
    if !getpid().is_init() {
        return Err("not the first process of its namespace".to_owned());
    }
    let syslog = mounts::seal(errand)?;
    probe::check(&errand.place)?;
    Ok(Stage::Within(syslog))
}

fn end_with_parent() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot end with the suite: {error}"))
}
