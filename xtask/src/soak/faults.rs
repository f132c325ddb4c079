//! The faults of a soak run: how each begins and ends, and what it may affect.

use std::{fs, io, path::Path};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use super::{
    setup::SoakSetup,
    targets::{SOURCES, SoakTarget},
};
use crate::{
    bench::{scratch::ScratchDir, usage},
    damage::{
        disk::{fill, make_read_only, make_space, make_writable},
        fault::{BROKEN_CONFIG, remove_busy, wait_until_stopped},
        matrix::DamageKind,
        network::NetworkCondition,
    },
    torture::{daemon::descendants, random::TortureRng, round::flood},
};

/// The name of a target that was moved away.
const AWAY: &str = "away";

/// A failure that a running daemon has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SoakFault {
    /// SIGKILL of a process that the daemon has started.
    ChildKilled,
    /// The ssh connections are closed, and no new one succeeds.
    ConnectionCut,
    /// They stay open, and no data passes.
    ConnectionStalled,
    /// SIGKILL of the server's processes for the ssh connections.
    SessionsKilled,
    /// The rsync daemon stops, and starts again.
    ServerStopped,
    TargetFull(usize),
    TargetReadOnly(usize),
    /// The target is moved away, and back again.
    TargetMoved(usize),
    QueueOverflow(usize),
    /// SIGHUP with the same configuration, or with other delays.
    Reload(bool),
    /// SIGHUP while the configuration file is broken.
    BadReload,
}

/// The resource that only one fault can use at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultSubject {
    Children,
    Ssh,
    Rsyncd,
    Target(usize),
    Queue,
    Configuration,
}

impl SoakFault {
    /// Chooses a fault.
    pub(crate) fn choose(random: &mut TortureRng) -> Self {
        let disks = SoakTarget::numbers(SoakTarget::has_disk);
        let local = SoakTarget::numbers(can_move);
        match random.below(40) {
            0..=9 => Self::ChildKilled,
            10..=13 => Self::ConnectionCut,
            14..=16 => Self::ConnectionStalled,
            17..=19 => Self::SessionsKilled,
            20..=22 => Self::ServerStopped,
            23..=26 => Self::TargetFull(random.pick(&disks)),
            27..=30 => Self::TargetReadOnly(random.pick(&disks)),
            31..=33 => Self::TargetMoved(random.pick(&local)),
            34 => Self::QueueOverflow(random.index(SOURCES)),
            35 | 36 => Self::Reload(random.once_in(2)),
            _ => Self::BadReload,
        }
    }

    /// Returns the description in the report.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::ChildKilled => "child killed",
            Self::ConnectionCut => "ssh connections cut",
            Self::ConnectionStalled => "ssh connections stalled",
            Self::SessionsKilled => "sessions of sshd killed",
            Self::ServerStopped => "rsync daemon stopped",
            Self::TargetFull(_) => "target full",
            Self::TargetReadOnly(_) => "target read-only",
            Self::TargetMoved(_) => "target moved away and back",
            Self::QueueOverflow(_) => "overflow of the event queue",
            Self::Reload(_) => "SIGHUP",
            Self::BadReload => "SIGHUP with a broken file",
        }
    }

    /// Returns true if it lasts no longer than it takes to make it.
    pub(crate) const fn is_momentary(self) -> bool {
        match self {
            Self::ChildKilled | Self::SessionsKilled | Self::QueueOverflow(_) | Self::Reload(_) => {
                true
            }
            Self::ConnectionCut
            | Self::ConnectionStalled
            | Self::ServerStopped
            | Self::TargetFull(_)
            | Self::TargetReadOnly(_)
            | Self::TargetMoved(_)
            | Self::BadReload => false,
        }
    }

    /// Returns true if both cannot be in force at once.
    pub(crate) fn excludes(self, other: Self) -> bool {
        self.subject() == other.subject()
    }

    const fn subject(self) -> FaultSubject {
        match self {
            Self::ChildKilled => FaultSubject::Children,
            Self::ConnectionCut | Self::ConnectionStalled | Self::SessionsKilled => {
                FaultSubject::Ssh
            }
            Self::ServerStopped => FaultSubject::Rsyncd,
            Self::TargetFull(number) | Self::TargetReadOnly(number) | Self::TargetMoved(number) => {
                FaultSubject::Target(number)
            }
            Self::QueueOverflow(_) => FaultSubject::Queue,
            Self::Reload(_) | Self::BadReload => FaultSubject::Configuration,
        }
    }

    /// Returns the targets that it may affect.
    fn targets(self) -> Vec<usize> {
        SoakTarget::numbers(|number| match self {
            Self::ChildKilled => false,
            Self::ConnectionCut | Self::ConnectionStalled | Self::SessionsKilled => {
                SoakTarget::kind_of(number).needs_ssh()
            }
            Self::ServerStopped => SoakTarget::kind_of(number) == DamageKind::Module,
            Self::TargetFull(target) | Self::TargetReadOnly(target) | Self::TargetMoved(target) => {
                number == target
            }
            Self::QueueOverflow(_) | Self::Reload(_) | Self::BadReload => true,
        })
    }

    /// Begins it, and returns the targets that it may affect.
    pub(crate) fn begin(self, setup: &mut SoakSetup, daemon: Pid) -> io::Result<Vec<usize>> {
        match self {
            Self::ChildKilled => return Ok(kill_child(daemon)),
            Self::ConnectionCut => {
                setup.ssh_network.set(NetworkCondition::Refusing);
                setup.ssh_network.cut();
            }
            Self::ConnectionStalled => setup.ssh_network.set(NetworkCondition::Stalled),
            Self::SessionsKilled => {
                for session in descendants(setup.sshd_pid()) {
                    // It may have ended meanwhile.
                    let _ = kill_process(session, Signal::KILL);
                }
            }
            Self::ServerStopped => setup.stop_rsyncd(),
            Self::TargetFull(number) => fill(disk(setup, number)?)?,
            Self::TargetReadOnly(number) => make_read_only(disk(setup, number)?)?,
            Self::TargetMoved(number) => {
                let target = directory(setup, number)?;
                fs::rename(target, target.with_extension(AWAY))?;
            }
            Self::QueueOverflow(source) => {
                kill_process(daemon, Signal::STOP)?;
                let flooded = wait_until_stopped(daemon)
                    .and_then(|()| setup.sources.get(source).map_or(Ok(()), |it| flood(it)));
                kill_process(daemon, Signal::CONT)?;
                flooded?;
            }
            Self::Reload(has_delay) => {
                setup.write_config(has_delay.then_some("0.3"))?;
                kill_process(daemon, Signal::HUP)?;
            }
            Self::BadReload => {
                fs::write(setup.run_file("config.lua"), BROKEN_CONFIG)?;
                kill_process(daemon, Signal::HUP)?;
            }
        }
        Ok(self.targets())
    }

    /// Ends it.
    pub(crate) fn end(
        self,
        setup: &mut SoakSetup,
        daemon: Pid,
        scratch: &ScratchDir,
    ) -> io::Result<()> {
        match self {
            Self::ConnectionCut | Self::ConnectionStalled => {
                setup.ssh_network.set(NetworkCondition::Normal);
                Ok(())
            }
            Self::ServerStopped => setup.start_rsyncd(scratch),
            Self::TargetFull(number) => make_space(disk(setup, number)?),
            Self::TargetReadOnly(number) => make_writable(disk(setup, number)?),
            Self::TargetMoved(number) => {
                move_back(directory(setup, number)?)?;
                setup.exchanged.insert(number);
                Ok(())
            }
            Self::BadReload => {
                setup.write_config(None)?;
                Ok(kill_process(daemon, Signal::HUP)?)
            }
            Self::ChildKilled | Self::SessionsKilled | Self::QueueOverflow(_) | Self::Reload(_) => {
                Ok(())
            }
        }
    }
}

/// Returns true if the daemon notices that the target is missing, and if no mount is in the way.
fn can_move(number: usize) -> bool {
    matches!(SoakTarget::kind_of(number), DamageKind::Rsync | DamageKind::Direct)
        && !SoakTarget::has_disk(number)
}

fn disk(setup: &SoakSetup, number: usize) -> io::Result<&Path> {
    let disk = setup.targets.get(number).and_then(|target| target.disk.as_deref());
    disk.ok_or_else(|| io::Error::other("the target has no file system of its own"))
}

fn directory(setup: &SoakSetup, number: usize) -> io::Result<&Path> {
    let target = setup.targets.get(number);
    target.map(|it| it.directory.path()).ok_or_else(|| io::Error::other("no such target"))
}

/// Moves a target back, in place of the one that the daemon may have created since.
fn move_back(target: &Path) -> io::Result<()> {
    let away = target.with_extension(AWAY);
    loop {
        match renameat_with(CWD, &away, CWD, target, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        match renameat_with(CWD, &away, CWD, target, RenameFlags::EXCHANGE) {
            // It is not there yet, or not any more.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return remove_busy(&away),
        }
    }
}

/// Kills a child of the daemon, and the processes that it has started, except those of a script.
/// Returns the targets that are affected.
fn kill_child(daemon: Pid) -> Vec<usize> {
    // The youngest one: a connection would be killed most of the time otherwise.
    let Some(child) = usage::children(daemon).pop() else { return Vec::new() };
    let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    let _ = kill_process(child, Signal::KILL);
    let names_it = |number: usize| words.contains(&SoakTarget::name_of(number));
    let named = SoakTarget::numbers(names_it);
    if named.is_empty() {
        // The connection that all of them share.
        return SoakTarget::numbers(|it| SoakTarget::kind_of(it) == DamageKind::Rsyncssh);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_faults_are_chosen() {
        let mut random = TortureRng::new(1);
        let found: BTreeSet<_> =
            (0..1000).map(|_| SoakFault::choose(&mut random).description()).collect();
        assert_eq!(found.len(), 11);
    }

    #[test]
    fn faults_of_the_same_subject_exclude_each_other() {
        let full = SoakFault::TargetFull(7);
        assert!(full.excludes(SoakFault::TargetReadOnly(7)));
        assert!(!full.excludes(SoakFault::TargetFull(14)));
        assert!(SoakFault::ConnectionCut.excludes(SoakFault::ConnectionStalled));
        assert_eq!(full.targets(), [7]);
        assert!(SoakFault::ServerStopped.targets().len() >= 8);
    }
}
