//! Other processes, as `/proc` tells of them: proc(5).

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::process::Pid;

use crate::processes::ProcessCounters;

/// Kernel function in which a process sleeps that opens a FIFO without a writer: `fs/pipe.c`.
const FIFO_OPEN_WCHAN: &str = "wait_for_partner";

impl ProcessCounters {
    /// Reads the counters of a process: `proc_pid_io(5)`, `proc_pid_stat(5)`.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `ENOENT` if there is no such process, `EACCES` if it has other privileges.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let directory = directory(pid);
        let io = fs::read_to_string(directory.join("io"))?;
        let stat = fs::read_to_string(directory.join("stat"))?;
        Self::parse(pid, &io, &stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(pid: Pid, io: &str, stat: &str) -> Option<Self> {
        let bytes = |name| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        // The program name, in parentheses, can contain any character.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| u64::from_str(field).ok());
        Some(Self {
            pid,
            sleeps: *fields.first()? == "S",
            read: bytes("rchar:")?,
            written: bytes("wchar:")?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }
}

/// Returns the file name of the program of a process. If the program was replaced since, it may end
/// in ` (deleted)`.
///
/// # Errors
///
/// As `readlink(2)`: `ENOENT` if there is no such process, `EACCES` if it has other privileges.
pub fn program_name(pid: Pid) -> io::Result<OsString> {
    let program = fs::read_link(directory(pid).join("exe"))?;
    Ok(program.file_name().unwrap_or_default().to_owned())
}

/// Returns the child processes of a process that were not waited for.
#[must_use]
pub fn children(of: Pid) -> Vec<Pid> {
    // Each thread lists those that it has started.
    let threads = fs::read_dir(directory(of).join("task")).into_iter().flatten().flatten();
    threads.flat_map(|thread| read_children(&thread.path().join("children"))).collect()
}

/// Returns the child processes that this thread has started and that were not waited for. It is
/// empty if the kernel does not list them: `CONFIG_PROC_CHILDREN`.
#[must_use]
pub fn children_of_this_thread() -> Vec<Pid> {
    read_children(Path::new("/proc/thread-self/children"))
}

fn read_children(list: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(list).unwrap_or_default();
    let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// Returns true if the process waits for a writer of a FIFO, and false also if that is unknown.
#[must_use]
pub fn is_opening_fifo(pid: Pid) -> bool {
    let place = fs::read_to_string(directory(pid).join("wchan"));
    place.is_ok_and(|place| place.trim_end() == FIFO_OPEN_WCHAN)
}

fn directory(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn counters(io: &str, state: &str) -> Option<ProcessCounters> {
        let stat = format!("42 (a) S (b) {state} 1 42 42 0 -1 4194560 99 0 0 0 3 4 0 0");
        ProcessCounters::parse(Pid::from_raw(42).unwrap(), io, &stat)
    }

    #[test]
    fn counters_are_parsed() {
        let io = "rchar: 100\nwchar: 200\nsyscr: 7\nread_bytes: 0\n";
        let seen = counters(io, "S").unwrap();
        assert_eq!((seen.sleeps, seen.read, seen.written, seen.ticks), (true, 100, 200, 7));
        assert!(!counters(io, "D").unwrap().sleeps);
        assert_eq!(counters("wchar: 200\n", "S"), None);
        ProcessCounters::of(rustix::process::getpid()).unwrap();
    }

    #[test]
    fn children_are_found_until_they_are_waited_for() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let found = children_of_this_thread();
        assert!(found.is_empty() || found.contains(&pid), "{found:?}");
        let of_process = children(rustix::process::getpid());
        assert!(found.is_empty() || of_process.contains(&pid), "{of_process:?}");
        assert!(program_name(pid).is_ok());
        assert!(!is_opening_fifo(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_of_this_thread().contains(&pid));
        program_name(pid).unwrap_err();
    }
}
