//! The faults: how each begins and ends.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit},
};

use super::{
    disk::{fill, make_read_only, make_space, make_writable},
    facts::FactBook,
    matrix::{DamageFault, DamageKind, DamageLoad},
    network::{NetworkCondition, TestNetwork},
    process_limit::ProcessLimit,
    setup::{DamageSetup, KEPT},
    state_disk,
};
use crate::{
    bench::usage,
    torture::{
        daemon::{TortureDaemon, descendants},
        round::flood,
    },
};

/// Number of children that are killed.
const KILLS: usize = 3;
/// Time limit of a condition that a fault needs.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between two checks of such a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// The limit of watches before and after the fault.
const MANY_WATCHES: u32 = 1 << 20;

/// A configuration file that was saved too early.
pub(crate) const BROKEN_CONFIG: &str = "sync{ default.direct, source =";

/// A fault that is in force.
#[derive(Debug)]
pub(crate) struct FaultInForce<'a> {
    setup: &'a DamageSetup,
    /// Undoes a limit.
    undo: FaultUndo,
}

/// A limit that has to be restored.
#[derive(Debug)]
enum FaultUndo {
    /// Only what the setup determines.
    Nothing,
    Descriptors(Rlimit),
    Processes(ProcessLimit),
}

impl<'a> FaultInForce<'a> {
    /// Begins the fault of a cell.
    pub(crate) fn begin(
        setup: &'a DamageSetup,
        daemon: &TortureDaemon<'_>,
        book: &FactBook,
        old_rsync: Option<&Path>,
    ) -> io::Result<Self> {
        let mut undo = FaultUndo::Nothing;
        match setup.cell.fault {
            DamageFault::Killed => daemon.terminate(Signal::KILL)?,
            DamageFault::ChildKilled => {
                // What the programs of a script leave is up to the script.
                let kills_inner = setup.cell.kind != DamageKind::Script;
                kill_children(daemon.pid()?, kills_inner)?;
            }
            DamageFault::ConnectionCut => {
                set_network(setup, NetworkCondition::Refusing);
                setup.network.iter().for_each(TestNetwork::cut);
            }
            DamageFault::ConnectionStalled => set_network(setup, NetworkCondition::Stalled),
            DamageFault::TargetFull => fill(&setup.target_disk)?,
            DamageFault::TargetReadOnly => make_read_only(&setup.target_disk)?,
            DamageFault::TargetRemoved => remove_target(setup, book)?,
            DamageFault::TargetReplaced => replace_target(setup, book)?,
            DamageFault::SourceUnmounted => unmount(&setup.source, UnmountFlags::DETACH)?,
            DamageFault::InnerUnmounted => {
                unmount(setup.source.join("inner"), UnmountFlags::DETACH)?;
            }
            DamageFault::QueueOverflow => {
                daemon.signal(Signal::STOP);
                wait_until_stopped(daemon.pid()?)?;
                flood(&setup.origin.join("churn"))?;
            }
            DamageFault::WatchLimit => limit_watches(daemon.pid()?, 1)?,
            DamageFault::NoDescriptors => {
                undo = FaultUndo::Descriptors(limit_descriptors(daemon.pid()?)?);
            }
            DamageFault::NoProcesses => {
                undo = FaultUndo::Processes(ProcessLimit::begin(daemon.pid()?)?);
            }
            DamageFault::ClockStep => fs::write(setup.run_file("clock"), "+3600")?,
            DamageFault::LogDiskFull => fill(&setup.log_disk)?,
            DamageFault::StateDiskFull => state_disk::begin(setup)?,
            DamageFault::BadReload => {
                fs::write(setup.run_file("config.lua"), BROKEN_CONFIG)?;
                daemon.signal(Signal::HUP);
            }
            DamageFault::OldRsync => {
                old_rsync.map_or(Ok(()), |program| use_rsync(setup, program))?;
            }
        }
        Ok(Self { setup, undo })
    }

    /// Ends it.
    pub(crate) fn end(self, daemon: &mut TortureDaemon<'_>) -> io::Result<()> {
        let setup = self.setup;
        match self.undo {
            FaultUndo::Nothing => {}
            FaultUndo::Descriptors(limit) => {
                prlimit(Some(daemon.pid()?), Resource::Nofile, limit)?;
            }
            FaultUndo::Processes(limit) => limit.end()?,
        }
        match setup.cell.fault {
            DamageFault::Killed => daemon.start_process()?,
            DamageFault::ConnectionCut | DamageFault::ConnectionStalled => {
                set_network(setup, NetworkCondition::Normal);
            }
            DamageFault::TargetFull => make_space(&setup.target_disk)?,
            DamageFault::TargetReadOnly => {
                make_writable(&setup.target_disk)?;
            }
            DamageFault::TargetRemoved => fs::create_dir_all(&setup.target)?,
            DamageFault::SourceUnmounted => setup.mount_source()?,
            DamageFault::InnerUnmounted => setup.mount_inner()?,
            DamageFault::QueueOverflow => daemon.signal(Signal::CONT),
            DamageFault::WatchLimit => limit_watches(daemon.pid()?, MANY_WATCHES)?,
            DamageFault::ClockStep => fs::write(setup.run_file("clock"), "+0")?,
            DamageFault::LogDiskFull => make_space(&setup.log_disk)?,
            DamageFault::StateDiskFull => state_disk::end(setup, daemon)?,
            DamageFault::BadReload => {
                fs::write(setup.run_file("config.lua"), setup.config()?)?;
                daemon.signal(Signal::HUP);
            }
            DamageFault::OldRsync => {
                use_rsync(setup, &crate::build::find_program("rsync").unwrap_or_default())?;
            }
            DamageFault::ChildKilled
            | DamageFault::TargetReplaced
            | DamageFault::NoDescriptors
            | DamageFault::NoProcesses => {}
        }
        Ok(())
    }
}

/// Makes the name of rsync in the configuration lead to this program.
pub(crate) fn use_rsync(setup: &DamageSetup, program: &Path) -> io::Result<()> {
    let (link, new) = (setup.run_file("rsync"), setup.run_file("rsync.new"));
    symlink(program, &new)?;
    fs::rename(new, link)
}

fn set_network(setup: &DamageSetup, condition: NetworkCondition) {
    setup.network.iter().for_each(|network| network.set(condition));
}

/// Waits until no thread of a process runs any more.
pub(crate) fn wait_until_stopped(process: Pid) -> io::Result<()> {
    let start = Instant::now();
    let is_stopped = |task: &fs::DirEntry| {
        let state = fs::read_to_string(task.path().join("stat"));
        state.is_ok_and(|text| text.contains(") T "))
    };
    while start.elapsed() < TIMEOUT {
        if fs::read_dir(format!("/proc/{process}/task"))?.flatten().all(|it| is_stopped(&it)) {
            return Ok(());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Err(io::Error::other("the daemon does not stop"))
}

/// Kills a few children, one after the other; with `kills_inner` also those of a child.
fn kill_children(daemon: Pid, kills_inner: bool) -> io::Result<()> {
    let start = Instant::now();
    let mut killed = Vec::new();
    while killed.len() < KILLS && start.elapsed() < TIMEOUT {
        let mut children = usage::children(daemon);
        // A child of its own first, then one that the child has started: a local rsync has several.
        if kills_inner && !killed.is_empty() {
            children = descendants(daemon);
            children.reverse();
        }
        let new = children.into_iter().find(|child| !killed.contains(child));
        match new {
            Some(child) => {
                // It may have ended meanwhile.
                if kill_process(child, Signal::KILL).is_ok() {
                    killed.push(child);
                }
            }
            None => thread::sleep(POLL_INTERVAL),
        }
    }
    if killed.is_empty() {
        Err(io::Error::other("the daemon has no child to kill"))
    } else {
        Ok(())
    }
}

fn remove_target(setup: &DamageSetup, book: &FactBook) -> io::Result<()> {
    // A missing target is noticed by the next transfer, unless it is back by then. That of a script
    // is never checked.
    let is_noticed = match setup.cell.kind {
        DamageKind::Rsync | DamageKind::Direct => true,
        DamageKind::Module | DamageKind::RemoteShell | DamageKind::Rsyncssh => {
            setup.cell.load != DamageLoad::Idle
        }
        DamageKind::Script => false,
    };
    let gone = setup.beside_target.join("gone");
    book.exchange_target(is_noticed, || fs::rename(&setup.target, &gone))?;
    remove_busy(&gone)
}

/// Removes a tree into which a transfer may still write.
pub(crate) fn remove_busy(path: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match fs::remove_dir_all(path) {
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty
                    && start.elapsed() < TIMEOUT =>
            {
                thread::sleep(POLL_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Puts a directory with old and foreign files in the place of the target.
fn replace_target(setup: &DamageSetup, book: &FactBook) -> io::Result<()> {
    let other = setup.beside_target.join("other");
    for directory in 0..KEPT.0 {
        let directory = other.join(format!("keep/{directory}"));
        fs::create_dir_all(&directory)?;
        for file in (0..KEPT.1).step_by(2) {
            fs::write(directory.join(format!("f{file}")), "old")?;
        }
    }
    fs::write(other.join("foreign"), "somebody else's")?;
    let is_noticed = matches!(setup.cell.kind, DamageKind::Rsync | DamageKind::Direct);
    let gone = setup.beside_target.join("gone");
    book.exchange_target(is_noticed, || {
        fs::rename(&setup.target, &gone)?;
        fs::rename(&other, &setup.target)
    })?;
    remove_busy(&gone)
}

/// Limits the watches of a daemon that has a user namespace of its own.
fn limit_watches(daemon: Pid, limit: u32) -> io::Result<()> {
    let script = format!("echo {limit} >/proc/sys/user/max_inotify_watches");
    let daemon = daemon.to_string();
    let mut command = Command::new("nsenter");
    command.args(["--preserve-credentials", "--user", "--target", &daemon, "sh", "-c", &script]);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Lets a process open no file beyond those that it has open, and returns the limit before.
fn limit_descriptors(daemon: Pid) -> io::Result<Rlimit> {
    let open: Vec<u64> = fs::read_dir(format!("/proc/{daemon}/fd"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let free = (0..=open.len() as u64).find(|number| !open.contains(number));
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.unwrap_or_default().split_whitespace().map(|it| it.parse().ok());
    let maximum = numbers.nth(1).flatten();
    Ok(prlimit(Some(daemon), Resource::Nofile, Rlimit { current: free, maximum })?)
}

/// The library that makes the clock of a process step, if it is installed.
pub(crate) fn clock_library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let candidates = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    candidates.into_iter().find(|path| path.is_file())
}
