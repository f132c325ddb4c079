//! The cells of the matrix: each kind of sync with each fault under each load.

use std::fmt;

use crate::torture::{compare::CompareOptions, snapshot::MirrorFidelity};

/// The way in which the target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DamageKind {
    /// `default.rsync` to a directory.
    Rsync,
    /// `default.rsync` to a module of an rsync daemon.
    Module,
    /// `default.rsync` to another host, with a remote shell of its own.
    RemoteShell,
    /// `default.rsyncssh`.
    Rsyncssh,
    /// `default.direct`.
    Direct,
    /// A script that consists of shell commands.
    Script,
}

/// A failure of something that the daemon needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DamageFault {
    /// SIGKILL of the daemon, which is started again.
    Killed,
    /// SIGKILL of its children.
    ChildKilled,
    /// The connection is closed, and no new one succeeds.
    ConnectionCut,
    /// The connection stays open, and no data passes.
    ConnectionStalled,
    TargetFull,
    TargetReadOnly,
    TargetRemoved,
    /// An older copy is put in the place of the target.
    TargetReplaced,
    SourceUnmounted,
    /// A file system inside of the source is unmounted.
    InnerUnmounted,
    QueueOverflow,
    /// No directory can be watched in addition.
    WatchLimit,
    /// No file can be opened.
    NoDescriptors,
    /// No process and no thread can be started.
    NoProcesses,
    /// The clock steps forward, and back again.
    ClockStep,
    LogDiskFull,
    /// No snapshot can be written. Afterwards the daemon is started again.
    StateDiskFull,
    /// SIGHUP while the configuration file is broken.
    BadReload,
    /// An rsync of an old version takes the place of the present one.
    OldRsync,
}

/// The changes of the source meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DamageLoad {
    /// Nothing; one file changes afterwards.
    Idle,
    /// Many small changes.
    Churn,
    /// A file whose transfer takes longer than the fault needs to begin.
    Big,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DamageCell {
    pub(crate) kind: DamageKind,
    pub(crate) fault: DamageFault,
    pub(crate) load: DamageLoad,
}

impl DamageKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Rsync, Self::Module, Self::RemoteShell, Self::Rsyncssh, Self::Direct, Self::Script];

    /// Returns the name on the command line and in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rsync => "rsync",
            Self::Module => "rsyncd",
            Self::RemoteShell => "rsync-ssh",
            Self::Rsyncssh => "rsyncssh",
            Self::Direct => "direct",
            Self::Script => "script",
        }
    }

    /// Returns true if the target is reached by ssh.
    pub(crate) const fn needs_ssh(self) -> bool {
        matches!(self, Self::RemoteShell | Self::Rsyncssh)
    }

    /// Returns true if there is a connection that may fail.
    pub(crate) const fn is_remote(self) -> bool {
        matches!(self, Self::Module | Self::RemoteShell | Self::Rsyncssh)
    }

    /// Returns how a target must equal its source.
    pub(crate) fn compare_options(self) -> CompareOptions {
        // A script copies directories without their times.
        let is_script = self == Self::Script;
        let fidelity =
            MirrorFidelity { all_times: !is_script, attributes: !is_script, hard_links: false };
        CompareOptions { fidelity, excludes: false, specials: true }
    }
}

impl DamageFault {
    pub(crate) const ALL: [Self; 19] = [
        Self::Killed,
        Self::ChildKilled,
        Self::ConnectionCut,
        Self::ConnectionStalled,
        Self::TargetFull,
        Self::TargetReadOnly,
        Self::TargetRemoved,
        Self::TargetReplaced,
        Self::SourceUnmounted,
        Self::InnerUnmounted,
        Self::QueueOverflow,
        Self::WatchLimit,
        Self::NoDescriptors,
        Self::NoProcesses,
        Self::ClockStep,
        Self::LogDiskFull,
        Self::StateDiskFull,
        Self::BadReload,
        Self::OldRsync,
    ];

    /// Returns the name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Killed => "kill",
            Self::ChildKilled => "kill-child",
            Self::ConnectionCut => "cut",
            Self::ConnectionStalled => "stall",
            Self::TargetFull => "full",
            Self::TargetReadOnly => "read-only",
            Self::TargetRemoved => "removed",
            Self::TargetReplaced => "replaced",
            Self::SourceUnmounted => "source-unmounted",
            Self::InnerUnmounted => "inner-unmounted",
            Self::QueueOverflow => "overflow",
            Self::WatchLimit => "watch-limit",
            Self::NoDescriptors => "descriptors",
            Self::NoProcesses => "fork",
            Self::ClockStep => "clock",
            Self::LogDiskFull => "log-full",
            Self::StateDiskFull => "state-full",
            Self::BadReload => "bad-reload",
            Self::OldRsync => "old-rsync",
        }
    }

    /// Returns the description in the table.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Killed => "SIGKILL of the daemon",
            Self::ChildKilled => "SIGKILL of its children",
            Self::ConnectionCut => "connection cut",
            Self::ConnectionStalled => "connection stalled",
            Self::TargetFull => "target full",
            Self::TargetReadOnly => "target read-only",
            Self::TargetRemoved => "target removed",
            Self::TargetReplaced => "target replaced by an older copy",
            Self::SourceUnmounted => "source unmounted",
            Self::InnerUnmounted => "a mount inside the source unmounted",
            Self::QueueOverflow => "overflow of the event queue",
            Self::WatchLimit => "limit of watches reached",
            Self::NoDescriptors => "out of descriptors",
            Self::NoProcesses => "no new process or thread",
            Self::ClockStep => "clock steps by an hour, and back",
            Self::LogDiskFull => "disk of the log full",
            Self::StateDiskFull => "disk of the state full",
            Self::BadReload => "SIGHUP with a broken file",
            Self::OldRsync => "an old rsync",
        }
    }

    /// Returns true if the directory of the target is another one afterwards.
    pub(crate) const fn exchanges_target(self) -> bool {
        matches!(self, Self::TargetRemoved | Self::TargetReplaced)
    }

    /// Returns true if it lasts no longer than it takes to make it.
    pub(crate) const fn is_momentary(self) -> bool {
        matches!(self, Self::QueueOverflow | Self::ChildKilled)
    }

    /// Returns true if it needs a private mount.
    pub(crate) const fn needs_mounts(self) -> bool {
        matches!(
            self,
            Self::TargetFull
                | Self::TargetReadOnly
                | Self::SourceUnmounted
                | Self::InnerUnmounted
                | Self::LogDiskFull
                | Self::StateDiskFull
        )
    }
}

impl DamageLoad {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Churn, Self::Big];

    /// Returns the name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Big => "big",
        }
    }
}

impl DamageCell {
    /// Returns all cells, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for fault in DamageFault::ALL {
            for kind in DamageKind::ALL {
                cells.extend(DamageLoad::ALL.map(|load| Self { kind, fault, load }));
            }
        }
        cells
    }

    /// Returns a selection for CI: each fault once, with all kinds and loads in turn.
    pub(crate) fn short() -> Vec<Self> {
        let mut cells = Vec::new();
        for (number, fault) in DamageFault::ALL.into_iter().enumerate() {
            let turned = (0..DamageKind::ALL.len()).filter_map(|step| {
                let kind = *DamageKind::ALL.get((number + step) % DamageKind::ALL.len())?;
                // An idle daemon suffers least.
                let load = if (number + step).is_multiple_of(3) {
                    DamageLoad::Big
                } else {
                    DamageLoad::Churn
                };
                Some(Self { kind, fault, load })
            });
            cells.extend(turned.into_iter().find(|cell| cell.is_meaningful()));
        }
        cells
    }

    /// Returns false if the fault cannot happen to such a sync.
    pub(crate) fn is_meaningful(self) -> bool {
        let has_own_rsync = !matches!(self.kind, DamageKind::Direct | DamageKind::Script);
        match self.fault {
            // An idle daemon has no children, except for a shared connection.
            DamageFault::ChildKilled if self.load == DamageLoad::Idle => {
                self.kind == DamageKind::Rsyncssh
            }
            DamageFault::ChildKilled => self.kind != DamageKind::Direct,
            DamageFault::ConnectionCut | DamageFault::ConnectionStalled => self.kind.is_remote(),
            DamageFault::OldRsync => has_own_rsync,
            // The source of a script has no snapshot.
            DamageFault::StateDiskFull => self.kind != DamageKind::Script,
            DamageFault::Killed
            | DamageFault::TargetFull
            | DamageFault::TargetReadOnly
            | DamageFault::TargetRemoved
            | DamageFault::TargetReplaced
            | DamageFault::SourceUnmounted
            | DamageFault::InnerUnmounted
            | DamageFault::QueueOverflow
            | DamageFault::WatchLimit
            | DamageFault::NoDescriptors
            | DamageFault::NoProcesses
            | DamageFault::ClockStep
            | DamageFault::LogDiskFull
            | DamageFault::BadReload => true,
        }
    }
}

impl fmt::Display for DamageCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.kind.name(), self.fault.name(), self.load.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_has_each_fault_once_and_all_kinds() {
        let cells = DamageCell::short();
        for fault in DamageFault::ALL {
            assert_eq!(cells.iter().filter(|cell| cell.fault == fault).count(), 1, "{fault:?}");
        }
        for kind in DamageKind::ALL {
            let runs =
                |cell: &&DamageCell| cell.kind == kind && cell.fault != DamageFault::OldRsync;
            assert!(cells.iter().filter(runs).count() >= 1, "{kind:?}");
        }
        assert!(cells.iter().all(|cell| cell.is_meaningful()));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = DamageFault::ALL.iter().map(|fault| fault.name()).collect();
        names.extend(DamageKind::ALL.iter().map(|kind| kind.name()));
        names.extend(DamageLoad::ALL.iter().map(|load| load.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
