//! A limit of the processes and threads of a daemon, by a control group.
//!
//! The limit of resources does not apply to root.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::process::Pid;

/// The directories of control groups of both versions.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A control group with one daemon, removed on drop.
#[derive(Debug)]
pub(crate) struct ProcessLimit {
    group: PathBuf,
}

impl ProcessLimit {
    /// Creates a group without a member.
    fn create() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("damage-{}-{number}", std::process::id());
        let mut last = io::Error::other("there is no control group");
        for hierarchy in HIERARCHIES {
            let limit = Self { group: Path::new(hierarchy).join(&name) };
            match fs::create_dir(&limit.group) {
                Ok(()) if limit.group.join("pids.max").is_file() => return Ok(limit),
                Ok(()) => last = io::Error::other("control groups cannot limit processes"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Returns why no such limit is possible.
    pub(crate) fn obstacle() -> Option<String> {
        Self::create().err().map(|error| format!("processes cannot be limited: {error}"))
    }

    /// Allows a process no further child or thread.
    pub(crate) fn begin(daemon: Pid) -> io::Result<Self> {
        let limit = Self::create()?;
        fs::write(limit.group.join("cgroup.procs"), daemon.to_string())?;
        let current = fs::read_to_string(limit.group.join("pids.current"))?;
        fs::write(limit.group.join("pids.max"), current.trim())?;
        Ok(limit)
    }

    /// Allows everything again. The processes leave the group.
    pub(crate) fn end(&self) -> io::Result<()> {
        fs::write(self.group.join("pids.max"), "max")?;
        let parent = self.group.parent().unwrap_or(Path::new("/"));
        for process in fs::read_to_string(self.group.join("cgroup.procs"))?.lines() {
            // One that has ended cannot leave.
            let _ = fs::write(parent.join("cgroup.procs"), process);
        }
        Ok(())
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = fs::remove_dir(&self.group);
    }
}
