//! The directories, servers and configuration of a cell.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

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
        // A module can't be marked.
        let is_trusted =
            self.cell.fault == DamageFault::StateDiskFull && self.cell.kind == DamageKind::Module;
        let trust = if is_trusted { ", trustTarget = true" } else { "" };
        Ok(format!("{text} }}\nsync{{ {}{trust} }}\n", self.sync_options()?))
    }

    fn sync_options(&self) -> io::Result<String> {
        let has_old_rsync = self.cell.fault == DamageFault::OldRsync;
        let target = SyncTarget {
            kind: self.cell.kind,
            directory: &self.target,
            module: "mirror",
            port: self.network.as_ref().map(TestNetwork::port).unwrap_or_default(),
            sshd: self.sshd.as_ref(),
            rate: (self.cell.load == DamageLoad::Big).then_some(BIG_RATE),
            rsync: has_old_rsync.then(|| self.run_file("rsync")),
        };
        let delay = if self.cell.kind == DamageKind::Script { "delay = 0, " } else { "" };
        Ok(format!("source = [[{}]], {delay}{}", self.source.display(), target.settings()?))
    }
}

/// The target of a sync.
#[derive(Clone, Debug)]
pub(crate) struct SyncTarget<'a> {
    pub(crate) kind: DamageKind,
    pub(crate) directory: &'a Path,
    /// The name of the module at an rsync daemon.
    pub(crate) module: &'a str,
    /// The port of the server, if it has one.
    pub(crate) port: u16,
    pub(crate) sshd: Option<&'a Sshd>,
    /// The rate of transfers in KiB a second, if it is limited.
    pub(crate) rate: Option<u64>,
    /// The program, if it is not the one that is found by its name.
    pub(crate) rsync: Option<PathBuf>,
}

impl SyncTarget<'_> {
    /// Returns the settings of a sync with this target.
    ///
    /// # Errors
    ///
    /// If its kind needs an ssh server, and it has none.
    pub(crate) fn settings(&self) -> io::Result<String> {
        let Self { port, module, .. } = self;
        let directory = self.directory.display();
        let rate = self.rate.map(|rate| format!("bwlimit = '{rate}'"));
        let mut rsync = "archive = true, timeout = 20".to_owned();
        if let Some(rate) = &rate {
            let _ = write!(rsync, ", {rate}");
        }
        if let Some(program) = &self.rsync {
            let _ = write!(rsync, ", binary = [[{}]]", program.display());
        }
        let sshd = || self.sshd.ok_or_else(|| io::Error::other("no ssh server"));
        Ok(match self.kind {
            DamageKind::Direct => {
                let rsync = rate.map_or_else(String::new, |it| format!(", rsync = {{ {it} }}"));
                format!("default.direct, target = [[{directory}]]{rsync}")
            }
            DamageKind::Rsync => {
                format!("default.rsync, target = [[{directory}]], rsync = {{ {rsync} }}")
            }
            DamageKind::Module => format!(
                "default.rsync, target = 'rsync://127.0.0.1:{port}/{module}/', \
                 rsync = {{ {rsync} }}"
            ),
            DamageKind::RemoteShell => format!(
                "default.rsync, target = '{}:{directory}', \
                 rsync = {{ {rsync}, rsh = [[ssh -F none {}]] }}",
                sshd()?.host(),
                sshd()?.ssh_args_for(*port).join(" ")
            ),
            DamageKind::Rsyncssh => format!(
                "default.rsyncssh, host = '{}', targetdir = [[{directory}]], \
                 rsync = {{ {rsync} }}, {}",
                sshd()?.host(),
                ssh_setting(&sshd()?.ssh_args_for(*port))
            ),
            DamageKind::Script => format!("target = [[{directory}]], {}", script(self.rate)),
        })
    }
}

/// Returns the settings of a mirror by shell commands. Each command looks at the present state,
/// since a later event reports any later change. Its rsync has the real clock: with a limit of the
/// rate, it would sleep until the clock is where it was before a step back.
fn script(rate: Option<u64>) -> String {
    let copy = rate.map_or_else(
        || "cp -aT ^sourcePathname ^targetPathname".to_owned(),
        |rate| {
            format!("env -u LD_PRELOAD rsync -a --bwlimit={rate} ^sourcePathname ^targetPathname")
        },
    );
    format!(
        "exitcodes = (function() local codes = {{ [0] = 'ok' }} \
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
