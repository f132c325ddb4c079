//! What a process used, as the kernel counts it.

use std::{fs, io};

/// The length of a clock tick in `/proc/PID/stat`; Linux shows 100 ticks a second everywhere.
const SECONDS_PER_TICK: f64 = 0.01;

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds of the process itself, with all its threads.
    pub(crate) own: f64,
    /// CPU seconds of its children, also of those that still run.
    pub(crate) children: f64,
}

impl Usage {
    /// What the process `pid` used, from `proc_pid_stat(5)`.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub(crate) fn of(pid: &str) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        parse(&stat).ok_or_else(|| io::Error::other(format!("not understood: {stat}")))
    }

    /// What the process `pid` and all that it has started used.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub(crate) fn of_tree(pid: u32) -> io::Result<Self> {
        let mut usage = Self::of(&pid.to_string())?;
        for child in children(pid) {
            // One that ends meanwhile is counted with those that have been waited for.
            let inner = Self::of_tree(child).unwrap_or_default();
            usage.children += inner.own + inner.children;
        }
        Ok(usage)
    }

    /// What the children of this very process used, as far as they have ended.
    ///
    /// # Errors
    ///
    /// As [`Usage::of`].
    pub(crate) fn of_own_children() -> io::Result<f64> {
        Ok(Self::of("self")?.children)
    }
}

fn parse(stat: &str) -> Option<Usage> {
    // The second field is the name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let [user, system, children_user, children_system] = *ticks.as_slice() else { return None };
    Some(Usage {
        own: (user + system) * SECONDS_PER_TICK,
        children: (children_user + children_system) * SECONDS_PER_TICK,
    })
}

/// The largest resident size of `pid` so far, in megabytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn peak_memory(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = field(&status, "VmHWM:").ok_or_else(|| io::Error::other("no VmHWM"))?;
    Ok(kilobytes / 1024.0)
}

/// How often the threads of `pid` have gone to sleep by themselves, and so have been woken up.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn wake_ups(pid: u32) -> io::Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        sum += field(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
    }
    Ok(sum)
}

/// The running children of `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_is_no_obstacle() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 1 0 5";
        assert_eq!(parse(stat), Some(Usage { own: 2.0, children: 0.5 }));
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(Usage::of("self").is_ok());
        assert!(peak_memory(std::process::id()).unwrap() > 0.0);
        assert!(wake_ups(std::process::id()).is_ok());
    }
}
