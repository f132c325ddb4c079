//! The directories, servers and configuration of a cell.

use std::{fmt::Write as _, fs, io, path::PathBuf};

use rustix::{
    mount::{UnmountFlags, mount_bind, unmount},
    process::Pid,
};

use super::{
    disk::mount_tmpfs,
    matrix::{DamageCell, DamageFault, DamageKind, DamageLoad},
    network::TestNetwork,
};
use crate::{
    bench::{
        process::MeteredProcess,
        scratch::{ScratchDir, ScratchPath},
        sshd::Sshd,
    },
    torture::setup::{serve, ssh_setting},
};

/// Number of directories with files that never change, and of files in each.
pub(crate) const KEPT: (usize, usize) = (4, 100);
/// Size of the file system of a target that gets full.
const SMALL_DISK: u64 = 64 << 20;
/// Size of the file system of a log or of snapshots that gets full.
const LOG_DISK: u64 = 1 << 20;
/// Rate of transfers of a big file, in KiB a second.
const BIG_RATE: u64 = 6000;

/// Everything in a cell except the daemon.
#[derive(Debug)]
pub(crate) struct DamageSetup {
    pub(crate) cell: DamageCell,
    /// The source as the load changes it, which is mounted at [`DamageSetup::source`] if that gets
    /// unmounted.
    pub(crate) origin: PathBuf,
    /// The source as the daemon knows it.
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    /// The mount with the target, if it is one of its own.
    pub(crate) target_disk: PathBuf,
    /// The file system that is mounted inside of the source.
    pub(crate) inner: PathBuf,
    /// A place on the file system of the source.
    pub(crate) staging: PathBuf,
    /// A place on the file system of the target.
    pub(crate) beside_target: PathBuf,
    /// A directory that must not change.
    pub(crate) canary: PathBuf,
    pub(crate) log_disk: PathBuf,
    pub(crate) state_disk: PathBuf,
    run: PathBuf,
    watch: &'static str,
    pub(crate) network: Option<TestNetwork>,
    sshd: Option<Sshd>,
    rsyncd: Option<MeteredProcess>,
}

/// Unmounts what [`DamageSetup::create`] has mounted, so that the directory can be deleted.
pub(crate) fn unmount_all(scratch: &ScratchDir) -> io::Result<()> {
    for name in ["disk", "run/log-disk", "run/state-disk"] {
        // Most of them are not mounted. What is mounted inside is detached as well.
        let _ = unmount(scratch.path(name)?.path(), UnmountFlags::DETACH);
    }
    Ok(())
}

impl DamageSetup {
    /// Creates the directories and starts the servers. With `may_mount`, everything except logs is
    /// on a file system of its own.
    pub(crate) fn create(
        cell: DamageCell,
        seed: u64,
        scratch: &ScratchDir,
        may_mount: bool,
    ) -> io::Result<Self> {
        let run = scratch.create_dir("run")?;
        let disk = scratch.create_dir("disk")?;
        if may_mount {
            mount_tmpfs(disk.path(), None)?;
        }
        let directory =
            |name: &str| Ok::<_, io::Error>(scratch.create_dir(name)?.path().to_owned());
        let origin = directory("disk/origin")?;
        let target_disk = directory("disk/beside")?;
        if cell.fault == DamageFault::TargetFull || cell.fault == DamageFault::TargetReadOnly {
            mount_tmpfs(&target_disk, Some(SMALL_DISK))?;
        }
        let target = scratch.create_dir("disk/beside/target")?;
        let is_mounted = cell.fault == DamageFault::SourceUnmounted;
        let source = if is_mounted { directory("disk/source")? } else { origin.clone() };
        let is_even = (seed + cell.kind as u64 + cell.load as u64).is_multiple_of(2);
        let needs_inotify =
            matches!(cell.fault, DamageFault::QueueOverflow | DamageFault::WatchLimit);
        let mut setup = Self {
            cell,
            inner: directory("disk/inner")?,
            staging: directory("disk/staging")?,
            canary: directory("disk/canary")?,
            log_disk: directory("run/log-disk")?,
            state_disk: directory("run/state-disk")?,
            beside_target: target_disk.clone(),
            watch: if needs_inotify || is_even { "inotify" } else { "auto" },
            origin,
            source,
            target: target.path().to_owned(),
            target_disk,
            run: run.path().to_owned(),
            network: None,
            sshd: None,
            rsyncd: None,
        };
        setup.fill()?;
        setup.start_servers(scratch, &target)?;
        Ok(setup)
    }

    fn fill(&self) -> io::Result<()> {
        for directory in 0..KEPT.0 {
            let directory = self.origin.join(format!("keep/{directory}"));
            fs::create_dir_all(&directory)?;
            (0..KEPT.1).try_for_each(|file| {
                fs::write(directory.join(format!("f{file}")), format!("kept {file}"))
            })?;
        }
        for name in ["facts", "churn"] {
            fs::create_dir(self.origin.join(name))?;
        }
        fs::write(self.canary.join("file"), "unharmed")?;
        if self.cell.fault == DamageFault::SourceUnmounted {
            self.mount_source()?;
        }
        if self.cell.fault == DamageFault::InnerUnmounted {
            fs::create_dir(self.source.join("inner"))?;
            (0..KEPT.1).try_for_each(|file| {
                fs::write(self.inner.join(format!("f{file}")), format!("inside {file}"))
            })?;
            self.mount_inner()?;
        }
        if self.cell.fault == DamageFault::LogDiskFull {
            mount_tmpfs(&self.log_disk, Some(LOG_DISK))?;
        }
        if self.cell.fault == DamageFault::StateDiskFull {
            mount_tmpfs(&self.state_disk, Some(LOG_DISK))?;
        }
        Ok(())
    }

    /// Mounts the source.
    pub(crate) fn mount_source(&self) -> io::Result<()> {
        Ok(mount_bind(&self.origin, &self.source)?)
    }

    /// Mounts the file system inside of the source.
    pub(crate) fn mount_inner(&self) -> io::Result<()> {
        Ok(mount_bind(&self.inner, self.source.join("inner"))?)
    }

    fn start_servers(&mut self, scratch: &ScratchDir, target: &ScratchPath) -> io::Result<()> {
        let port = match self.cell.kind {
            DamageKind::Module => {
                let (server, port) = serve(scratch, target, 0)?;
                self.rsyncd = Some(server);
                port
            }
            DamageKind::RemoteShell | DamageKind::Rsyncssh => {
                let sshd = Sshd::start(scratch, std::time::Duration::ZERO)?;
                let port = sshd.port();
                self.sshd = Some(sshd);
                port
            }
            DamageKind::Rsync | DamageKind::Direct | DamageKind::Script => return Ok(()),
        };
        self.network = Some(TestNetwork::to(port));
        Ok(())
    }

    /// Returns the servers of the remote machine, which have a child for each connection.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        let sshd = self.sshd.as_ref().map(Sshd::pid);
        sshd.into_iter().chain(self.rsyncd.as_ref().map(MeteredProcess::pid)).collect()
    }

    /// Returns the path of a file beside the configuration.
    pub(crate) fn run_file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Returns the path of the control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_file("socket")
    }

    /// Returns the text of the configuration file.
    pub(crate) fn config(&self) -> io::Result<String> {
        let mut text = format!(
            "settings{{ statusFile = [[{}]], socket = [[{}]], watch = '{}', insist = true",
            self.run_file("status").display(),
            self.socket().display(),
            self.watch
        );
        if self.cell.fault == DamageFault::LogDiskFull {
            let _ = write!(text, ", logfile = [[{}]]", self.log_disk.join("log").display());
        }
        if self.cell.fault == DamageFault::StateDiskFull {
            let directory = self.state_disk.join("state");
            let _ = write!(text, ", stateDir = [[{}]], stateInterval = 0", directory.display());
        }
        // A remote target can't be marked.
        let is_trusted =
            self.cell.fault == DamageFault::StateDiskFull && self.cell.kind.is_remote();
        let trust = if is_trusted { ", trustTarget = true" } else { "" };
        Ok(format!("{text} }}\nsync{{ {}{trust} }}\n", self.sync_options()?))
    }

    fn sync_options(&self) -> io::Result<String> {
        let source = format!("source = [[{}]]", self.source.display());
        let target = self.target.display();
        let is_big = self.cell.load == DamageLoad::Big;
        let mut rsync = "archive = true, timeout = 20".to_owned();
        if is_big {
            let _ = write!(rsync, ", bwlimit = '{BIG_RATE}'");
        }
        if self.cell.fault == DamageFault::OldRsync {
            let _ = write!(rsync, ", binary = [[{}]]", self.run_file("rsync").display());
        }
        let port = self.network.as_ref().map(TestNetwork::port).unwrap_or_default();
        let sshd = || self.sshd.as_ref().ok_or_else(|| io::Error::other("no ssh server"));
        Ok(match self.cell.kind {
            DamageKind::Direct if is_big => format!(
                "default.direct, {source}, target = [[{target}]], \
                 rsync = {{ bwlimit = '{BIG_RATE}' }}"
            ),
            DamageKind::Direct => format!("default.direct, {source}, target = [[{target}]]"),
            DamageKind::Rsync => {
                format!("default.rsync, {source}, target = [[{target}]], rsync = {{ {rsync} }}")
            }
            DamageKind::Module => format!(
                "default.rsync, {source}, target = 'rsync://127.0.0.1:{port}/mirror/', \
                 rsync = {{ {rsync} }}"
            ),
            DamageKind::RemoteShell => format!(
                "default.rsync, {source}, target = '{}:{target}', \
                 rsync = {{ {rsync}, rsh = [[ssh -F none {}]] }}",
                sshd()?.host(),
                sshd()?.ssh_args_for(port).join(" ")
            ),
            DamageKind::Rsyncssh => format!(
                "default.rsyncssh, {source}, host = '{}', targetdir = [[{target}]], \
                 rsync = {{ {rsync} }}, {}",
                sshd()?.host(),
                ssh_setting(&sshd()?.ssh_args_for(port))
            ),
            DamageKind::Script => format!("{source}, target = [[{target}]], {}", script(is_big)),
        })
    }
}

/// Returns the settings of a mirror by shell commands. Each command looks at the present state,
/// since a later event reports any later change. Its rsync has the real clock: with a limit of the
/// rate, it would sleep until the clock is where it was before a step back.
pub(crate) fn script(is_big: bool) -> String {
    let copy = if is_big {
        format!("env -u LD_PRELOAD rsync -a --bwlimit={BIG_RATE} ^sourcePathname ^targetPathname")
    } else {
        "cp -aT ^sourcePathname ^targetPathname".to_owned()
    };
    format!(
        "delay = 0, exitcodes = (function() local codes = {{ [0] = 'ok' }} \
         for code = 1, 255 do codes[code] = 'again' end return codes end)(),\n\
         onStartup = 'rsync -a --delete ^source ^target',\n\
         onCreate = [[{bring}]],\nonModify = [[{bring}]],\nonAttrib = [[{bring}]],\n\
         onDelete = [[test -e ^sourcePathname || rm -rf ^targetPathname]]",
        bring = format!(
            "if test -d ^sourcePathname; then mkdir -p ^targetPathname; \
             else {copy} || ! test -e ^sourcePathname; fi"
        ),
    )
}
