//! Processes that outlive the daemon.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use crate::bench::usage;

/// The variable by which the processes of a daemon are recognized.
pub(crate) const VARIABLE: &str = "DAMAGE_CELL";

/// Time that the processes of a daemon have to end after it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Waits until no process of the daemons with this mark is left, and until the servers have no
/// connection. Returns the rest after a time limit, one process a line.
pub(crate) fn wait_for_none(mark: &str, servers: &[Pid]) -> Vec<String> {
    let start = Instant::now();
    loop {
        let found = remaining(mark, servers);
        if found.is_empty() || start.elapsed() > TIMEOUT {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the processes whose environment has the mark, and the children of the servers.
fn remaining(mark: &str, servers: &[Pid]) -> Vec<String> {
    let wanted = format!("{VARIABLE}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()) {
            found.push(description(&entry.path()));
        }
    }
    for server in servers {
        let children = usage::children(*server);
        let live = children.iter().map(|child| format!("/proc/{child}"));
        found.extend(live.map(|path| format!("at the target: {}", description(Path::new(&path)))));
    }
    found
}

/// Returns the number and the command line of a process.
fn description(process: &Path) -> String {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    let number = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{number} {}", words.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_with_the_mark_is_found() {
        let mark = format!("test of {}", std::process::id());
        assert_eq!(remaining(&mark, &[]), Vec::<String>::new());
        let mut child = Command::new("sleep").arg("600").env(VARIABLE, &mark).spawn().unwrap();
        // Its environment is visible a moment after its creation.
        let found = loop {
            let found = remaining(&mark, &[]);
            if !found.is_empty() || child.try_wait().unwrap().is_some() {
                break found;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [format!("{} sleep 600", child.id())]);
        assert_eq!(wait_for_none(&mark, &[]), Vec::<String>::new());
    }
}
