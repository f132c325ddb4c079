//! The directories, servers and configuration of a soak run.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::Pid,
};

use super::targets::{SOURCES, SoakTarget, TARGETS};
use crate::{
    bench::{
        process::MeteredProcess,
        scratch::ScratchDir,
        sshd::{Sshd, free_port},
    },
    damage::{disk::mount_tmpfs, matrix::DamageKind, network::TestNetwork, setup::SyncTarget},
    torture::setup::{RsyncModule, start_rsyncd, write_modules},
};

/// Size of a file system that gets full.
const DISK_SIZE: u64 = 16 << 20;
/// The name of the rsync daemon in the directory.
const RSYNCD: &str = "rsyncd";

/// Everything except the daemon.
#[derive(Debug)]
pub(crate) struct SoakSetup {
    pub(crate) sources: Vec<PathBuf>,
    pub(crate) targets: Vec<SoakTarget>,
    /// Targets that were exchanged: a person has to repair them.
    pub(crate) exchanged: BTreeSet<usize>,
    pub(crate) ssh_network: TestNetwork,
    sshd: Sshd,
    rsyncd: Option<MeteredProcess>,
    rsyncd_port: u16,
    run: PathBuf,
}

impl SoakSetup {
    /// Creates the directories, mounts the small file systems and starts the servers.
    pub(crate) fn create(scratch: &ScratchDir) -> io::Result<Self> {
        let run = scratch.create_dir("run")?.path().to_owned();
        let source = |number| scratch.create_dir(&format!("source{number}"));
        let sources: Vec<_> = (0..SOURCES).map(source).collect::<io::Result<_>>()?;
        let targets: Vec<_> =
            (0..TARGETS).map(|number| create_target(scratch, number)).collect::<io::Result<_>>()?;
        let is_module = |target: &&SoakTarget| target.kind() == DamageKind::Module;
        let module =
            |it: &SoakTarget| RsyncModule { name: it.name(), directory: it.directory.clone() };
        let modules: Vec<_> = targets.iter().filter(is_module).map(module).collect();
        write_modules(scratch, RSYNCD, &modules)?;
        let rsyncd_port = free_port()?;
        let rsyncd = Some(start_rsyncd(scratch, RSYNCD, rsyncd_port)?);
        let sshd = Sshd::start(scratch, Duration::ZERO)?;
        let ssh_network = TestNetwork::to(sshd.port());
        let sources = sources.into_iter().map(|source| source.path().to_owned()).collect();
        let exchanged = BTreeSet::new();
        Ok(Self { sources, targets, exchanged, ssh_network, sshd, rsyncd, rsyncd_port, run })
    }

    /// Stops the rsync daemon with its connections.
    pub(crate) fn stop_rsyncd(&mut self) {
        self.rsyncd = None;
    }

    /// Starts the rsync daemon again.
    pub(crate) fn start_rsyncd(&mut self, scratch: &ScratchDir) -> io::Result<()> {
        self.rsyncd = Some(start_rsyncd(scratch, RSYNCD, self.rsyncd_port)?);
        Ok(())
    }

    /// Returns the servers, which have a child for each connection.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        let rsyncd = self.rsyncd.as_ref().map(MeteredProcess::pid);
        rsyncd.into_iter().chain([self.sshd_pid()]).collect()
    }

    pub(crate) fn sshd_pid(&self) -> Pid {
        self.sshd.pid()
    }

    /// Returns the path of a file beside the configuration.
    pub(crate) fn run_file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Returns the path of the control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_file("socket")
    }

    /// Writes the configuration file. The first sync of each kind has this delay.
    pub(crate) fn write_config(&self, delay: Option<&str>) -> io::Result<()> {
        let mut text = format!(
            "settings{{ statusFile = [[{}]], socket = [[{}]], stateDir = [[{}]], stateInterval = \
             30, watch = 'inotify', insist = true }}\n",
            self.run_file("status").display(),
            self.socket().display(),
            self.run_file("state").display(),
        );
        for target in &self.targets {
            let source = self.sources.get(target.source()).map_or(Path::new("/"), PathBuf::as_path);
            let _ = write!(
                text,
                "sync{{ name = '{}', source = [[{}]], {}",
                target.name(),
                source.display(),
                self.sync_options(target)?
            );
            if let Some(delay) = delay.filter(|_| target.number < DamageKind::ALL.len()) {
                let _ = write!(text, ", delay = {delay}");
            }
            text.push_str(" }\n");
        }
        fs::write(self.run_file("config.lua"), text)
    }

    fn sync_options(&self, target: &SoakTarget) -> io::Result<String> {
        let is_module = target.kind() == DamageKind::Module;
        let target = SyncTarget {
            kind: target.kind(),
            directory: target.directory.path(),
            module: &target.name(),
            port: if is_module { self.rsyncd_port } else { self.ssh_network.port() },
            sshd: Some(&self.sshd),
            rate: None,
            rsync: None,
        };
        // A script has the default delay, unlike in a cell of the damage matrix: all targets get
        // their events at once.
        target.settings()
    }
}

fn create_target(scratch: &ScratchDir, number: usize) -> io::Result<SoakTarget> {
    let name = SoakTarget::name_of(number);
    let mut disk = None;
    let mut path = name.clone();
    if SoakTarget::has_disk(number) {
        let at = scratch.create_dir(&disk_name(number))?.path().to_owned();
        mount_tmpfs(&at, Some(DISK_SIZE))?;
        disk = Some(at);
        path = format!("{}/{name}", disk_name(number));
    }
    Ok(SoakTarget { number, directory: scratch.create_dir(&path)?, disk })
}

fn disk_name(number: usize) -> String {
    format!("disk{number:02}")
}

/// Unmounts what [`SoakSetup::create`] has mounted, so that the directory can be deleted.
pub(crate) fn unmount_all(scratch: &ScratchDir) -> io::Result<()> {
    for number in SoakTarget::numbers(SoakTarget::has_disk) {
        let _ = unmount(scratch.path(&disk_name(number))?.path(), UnmountFlags::DETACH);
    }
    Ok(())
}
