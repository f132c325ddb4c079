//! Resource usage of processes, as the kernel accounts it.

use std::{fs, io, str::FromStr};

use rustix::process::Pid;

/// The length of a clock tick in `/proc/PID/stat`; Linux shows 100 ticks a second everywhere.
const SECONDS_PER_TICK: f64 = 0.01;

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessUsage {
    /// CPU seconds of the process itself, with all its threads.
    pub(crate) own: f64,
    /// CPU seconds of its children, including running ones.
    pub(crate) children: f64,
}

impl ProcessUsage {
    /// Reads the usage of the process `pid` from `proc_pid_stat(5)`.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub(crate) fn of(pid: &str) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        parse(&stat).ok_or_else(|| io::Error::other(format!("not understood: {stat}")))
    }

    /// Reads the usage of the process `pid` with all its descendants.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub(crate) fn of_tree(pid: Pid) -> io::Result<Self> {
        let mut usage = Self::of(&pid.to_string())?;
        for child in children(pid) {
            // One that exits meanwhile is accounted to its parent.
            let inner = Self::of_tree(child).unwrap_or_default();
            usage.children += inner.own + inner.children;
        }
        Ok(usage)
    }

    /// Reads the CPU seconds of the children of this process that have exited.
    ///
    /// # Errors
    ///
    /// As [`ProcessUsage::of`].
    pub(crate) fn of_own_children() -> io::Result<f64> {
        Ok(Self::of("self")?.children)
    }
}

fn parse(stat: &str) -> Option<ProcessUsage> {
    // The second field is the name in parentheses, which may contain any characters.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let [user, system, children_user, children_system] = *ticks.as_slice() else { return None };
    Some(ProcessUsage {
        own: (user + system) * SECONDS_PER_TICK,
        children: (children_user + children_system) * SECONDS_PER_TICK,
    })
}

/// Returns the peak resident size of `pid`, in megabytes.
///
/// # Errors
///
/// If there is no such process.
pub(crate) fn peak_memory(pid: Pid) -> io::Result<f64> {
    megabytes(pid, "VmHWM:")
}

/// Returns the resident size of `pid`, in megabytes.
///
/// # Errors
///
/// If there is no such process.
pub(crate) fn memory(pid: Pid) -> io::Result<f64> {
    megabytes(pid, "VmRSS:")
}

fn megabytes(pid: Pid, name: &str) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes: f64 =
        field(&status, name).ok_or_else(|| io::Error::other(format!("no {name}")))?;
    Ok(kilobytes / 1024.0)
}

/// Returns the number of voluntary context switches of all threads of `pid`, which equals that of
/// wake-ups.
///
/// # Errors
///
/// If there is no such process.
pub(crate) fn wake_ups(pid: Pid) -> io::Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        sum += field(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
    }
    Ok(sum)
}

/// Returns the running children of `pid`.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
            pids.collect::<Vec<_>>()
        })
        .collect()
}

/// Finds the number after a name in the lines of `/proc/PID/status`.
pub(crate) fn field<T: FromStr>(status: &str, name: &str) -> Option<T> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_contain_blanks_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 1 0 5";
        assert_eq!(parse(stat), Some(ProcessUsage { own: 2.0, children: 0.5 }));
    }

    #[test]
    fn the_usage_of_this_process_is_readable() {
        assert!(ProcessUsage::of("self").is_ok());
        assert!(peak_memory(rustix::process::getpid()).unwrap() > 0.0);
        assert!(wake_ups(rustix::process::getpid()).is_ok());
    }
}
