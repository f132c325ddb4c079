//! The cells that this machine permits.

use std::thread;

use super::{
    disk, fault,
    matrix::{DamageCell, DamageFault, DamageKind},
    process_limit::ProcessLimit,
    results::SkipReason,
};
use crate::{build, torture::daemon::can_limit_watches};

/// The obstacles on this machine. None: there is none.
#[derive(Debug)]
pub(crate) struct DamageMachine {
    root: Option<SkipReason>,
    mounts: Option<SkipReason>,
    rsync: Option<SkipReason>,
    ssh: Option<SkipReason>,
    watch_limit: Option<SkipReason>,
    clock: Option<SkipReason>,
    old_rsync: Option<SkipReason>,
    process_limit: Option<SkipReason>,
}

impl DamageMachine {
    /// Finds out what is possible.
    pub(crate) fn inspect(has_old_rsync: bool) -> Self {
        let missing =
            |is_there: bool, what: &str| (!is_there).then(|| SkipReason::Missing(what.to_owned()));
        let has = |name: &str| build::find_program(name).is_some();
        let may_mount = thread::scope(|scope| {
            // The namespace vanishes with the thread.
            scope.spawn(disk::enter_mount_namespace).join().is_ok_and(|it| it.is_ok())
        });
        let is_root = rustix::process::geteuid().is_root();
        let has_ssh = ["sshd", "ssh", "ssh-keygen"].into_iter().all(has);
        let can_limit = can_limit_watches() && has("nsenter");
        Self {
            root: missing(is_root, "the rights of root for a server are missing"),
            mounts: missing(may_mount, "the right to mount is missing"),
            rsync: missing(has("rsync"), "rsync is missing"),
            ssh: missing(has_ssh, "sshd, ssh or ssh-keygen is missing"),
            watch_limit: missing(can_limit, "there can be no user namespace with a limit"),
            clock: missing(fault::clock_library().is_some(), "libfaketime is missing"),
            old_rsync: (!has_old_rsync)
                .then(|| SkipReason::Impossible("no program was named by --old-rsync".into())),
            process_limit: ProcessLimit::obstacle().map(SkipReason::Impossible),
        }
    }

    /// Returns true if file systems can be mounted.
    pub(crate) const fn may_mount(&self) -> bool {
        self.mounts.is_none()
    }

    /// Returns why a cell cannot run here.
    pub(crate) fn obstacle(&self, cell: DamageCell) -> Option<SkipReason> {
        let DamageCell { kind, fault, .. } = cell;
        let all = [
            (fault == DamageFault::OldRsync, self.old_rsync.clone()),
            (fault == DamageFault::NoProcesses, self.process_limit.clone()),
            (fault == DamageFault::WatchLimit, self.watch_limit.clone()),
            (fault == DamageFault::ClockStep, self.clock.clone()),
            (fault.needs_mounts(), self.mounts.clone()),
            (kind != DamageKind::Direct, self.rsync.clone()),
            (kind.is_remote(), self.root.clone()),
            (kind.needs_ssh(), self.ssh.clone()),
        ];
        all.into_iter().find_map(|(applies, obstacle)| obstacle.filter(|_| applies))
    }
}
