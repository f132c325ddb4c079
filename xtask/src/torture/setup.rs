//! The directories of a round, and its configuration file.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use super::{
    compare::CompareOptions,
    mutator::{INNER, PATTERNS, RECREATED_DIR},
    plan::{DeletionBudget, Disturbance, RoundPlan, SyncLayout, TargetKind},
    snapshot::MirrorFidelity,
};
use crate::bench::{
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
    sshd::{Sshd, free_port},
};

/// Number of stable files, more than several bursts create, so that no deletion is held: a daemon
/// that is killed again and again may have to delete what more than one of them has left.
const STABLE_FILES: usize = 1800;
/// Number of ports to try, in case another process takes one meanwhile.
const ATTEMPTS: usize = 5;

/// Everything in a round except the daemon.
#[derive(Debug)]
pub(crate) struct RoundSetup {
    pub(crate) pairs: Vec<SyncPair>,
    /// The directory of trees that are moved out of the source.
    pub(crate) outside: ScratchPath,
    /// A directory that must not change.
    pub(crate) canary: ScratchPath,
    /// The rsync daemons for modules.
    _servers: Vec<MeteredProcess>,
}

/// A source and its target.
#[derive(Debug)]
pub(crate) struct SyncPair {
    pub(crate) source: ScratchPath,
    pub(crate) target: ScratchPath,
    pub(crate) compare: CompareOptions,
    kind: TargetKind,
    /// The port of the rsync daemon.
    port: Option<u16>,
}

impl RoundSetup {
    /// Creates the directories and starts the servers.
    pub(crate) fn create(plan: &RoundPlan, scratch: &ScratchDir) -> io::Result<Self> {
        scratch.create_dir("run")?;
        let (outside, canary) = (scratch.create_dir("outside")?, scratch.create_dir("canary")?);
        fs::write(canary.path().join("file"), "unharmed")?;
        let mut servers = Vec::new();
        let mut pairs = Vec::new();
        for number in 0..plan.syncs() {
            let source = match (plan.layout, number) {
                (SyncLayout::Nested, 1) => scratch.create_dir(&format!("source/{INNER}"))?,
                (SyncLayout::Chain, 1) => scratch.create_dir("target0")?,
                _ => scratch.create_dir("source")?,
            };
            let target = scratch.create_dir(&format!("target{number}"))?;
            let kind = plan.kinds.get(number).copied().unwrap_or(TargetKind::Direct);
            let mut port = None;
            if kind == TargetKind::Module {
                let (server, its_port) = serve(scratch, &target, number)?;
                servers.push(server);
                port = Some(its_port);
            }
            pairs.push(SyncPair {
                source,
                target,
                compare: compare_options(plan, kind),
                kind,
                port,
            });
        }
        let setup = Self { pairs, outside, canary, _servers: servers };
        setup.fill(plan)?;
        Ok(setup)
    }

    fn fill(&self, plan: &RoundPlan) -> io::Result<()> {
        for pair in &self.pairs {
            if plan.excludes {
                for file in pair.protected_files() {
                    fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
                    fs::write(file, "precious")?;
                }
            }
        }
        let Some(first) = self.pairs.first() else { return Ok(()) };
        if plan.deletions == DeletionBudget::Default {
            // The second source of a nested pair needs its own stable files.
            for pair in
                self.pairs.iter().take(if plan.layout == SyncLayout::Nested { 2 } else { 1 })
            {
                let stable = pair.source.path().join("stable");
                fs::create_dir(&stable)?;
                (0..STABLE_FILES).try_for_each(|file| {
                    fs::write(stable.join(format!("f{file}")), file.to_string())
                })?;
            }
        }
        fs::write(first.source.path().join("at the start"), "old")
    }

    /// Returns a message for each excluded file of a target that is not intact.
    pub(crate) fn lost_excluded_files(&self) -> Vec<String> {
        let all = self.pairs.iter().flat_map(SyncPair::protected_files);
        all.filter(|path| fs::read(path).ok().as_deref() != Some(b"precious"))
            .map(|path| format!("{} is excluded, but was deleted", path.display()))
            .collect()
    }

    /// Returns the text of the configuration file.
    pub(crate) fn config(
        &self,
        plan: &RoundPlan,
        delay: Option<&str>,
        sshd: Option<&Sshd>,
        scratch: &ScratchDir,
    ) -> io::Result<String> {
        let mut text = format!(
            "settings{{ statusFile = [[{}]], statusInterval = 0, watch = '{}', {} }}\n",
            scratch.path("run/status")?.path().display(),
            plan.watch,
            // Without `insist`, a killed first transfer stops the daemon.
            if plan.disturbance == Disturbance::Pauses { "insist = true" } else { "" },
        );
        for pair in &self.pairs {
            let _ = write!(text, "sync{{ {}", pair.sync_options(plan, sshd)?);
            if let Some(delay) = delay {
                let _ = write!(text, ", delay = {delay}");
            }
            if plan.excludes {
                let _ = write!(text, ", exclude = {PATTERNS}");
            }
            if plan.deletions == DeletionBudget::Unlimited {
                text.push_str(", maxDelete = false");
            }
            if !plan.settings.is_empty() {
                let _ = write!(text, ", {}", plan.settings);
            }
            text.push_str(" }\n");
        }
        Ok(text)
    }
}

impl SyncPair {
    fn sync_options(&self, plan: &RoundPlan, sshd: Option<&Sshd>) -> io::Result<String> {
        let source = format!("source = [[{}]]", self.source.path().display());
        let target = self.target.path().display();
        let mut preserve = if plan.archive { "archive = true".to_owned() } else { String::new() };
        if plan.links {
            preserve.push_str(if preserve.is_empty() {
                "hard_links = true"
            } else {
                ", hard_links = true"
            });
        }
        // A stalled rsync is killed after twice the timeout, which is sooner than by default.
        let rsync = format!("rsync = {{ timeout = 20, {preserve} }}");
        Ok(match self.kind {
            TargetKind::Direct => format!("default.direct, {source}, target = [[{target}]]"),
            TargetKind::Rsync => format!("default.rsync, {source}, target = [[{target}]], {rsync}"),
            TargetKind::Module => {
                let port = self.port.unwrap_or_default();
                format!(
                    "default.rsync, {source}, target = 'rsync://127.0.0.1:{port}/mirror/', {rsync}"
                )
            }
            TargetKind::Ssh => {
                let sshd = sshd.ok_or_else(|| io::Error::other("there is no ssh server"))?;
                format!(
                    "default.rsyncssh, {source}, host = '{}', targetdir = [[{target}]], {rsync}, \
                     {}",
                    sshd.host(),
                    ssh_setting(&sshd.ssh_args()),
                )
            }
        })
    }

    fn protected_files(&self) -> Vec<std::path::PathBuf> {
        let target = self.target.path();
        ["skip/precious", "precious.tmp"]
            .iter()
            .map(|name| target.join(name))
            .chain([target.join(RECREATED_DIR).join("skip/precious")])
            .collect()
    }
}

/// Returns the setting `ssh` with these arguments, which rules out the user's own configuration.
pub(crate) fn ssh_setting(args: &[String]) -> String {
    let args: Vec<String> = args.iter().map(|arg| format!("[[{arg}]]")).collect();
    format!("ssh = {{ _extra = {{ '-F', 'none', {} }} }}", args.join(", "))
}

fn compare_options(plan: &RoundPlan, kind: TargetKind) -> CompareOptions {
    let all = kind == TargetKind::Direct || plan.archive;
    let fidelity = MirrorFidelity {
        // An excluded entry changes the time of its directory, which stays unnoticed.
        all_times: !plan.excludes,
        attributes: all,
        hard_links: plan.links,
    };
    CompareOptions { fidelity, excludes: plan.excludes, specials: all }
}

/// Starts an rsync daemon that serves `target` as the module `mirror`, and returns its port.
pub(crate) fn serve(
    scratch: &ScratchDir,
    target: &ScratchPath,
    number: usize,
) -> io::Result<(MeteredProcess, u16)> {
    let name = format!("rsyncd{number}");
    let module = RsyncModule { name: "mirror".to_owned(), directory: target.clone() };
    write_modules(scratch, &name, &[module])?;
    let mut last = io::Error::other("no attempt");
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        match start_rsyncd(scratch, &name, port) {
            Ok(server) => return Ok((server, port)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A module of an rsync daemon.
#[derive(Clone, Debug)]
pub(crate) struct RsyncModule {
    pub(crate) name: String,
    pub(crate) directory: ScratchPath,
}

/// Writes the configuration of an rsync daemon.
pub(crate) fn write_modules(
    scratch: &ScratchDir,
    name: &str,
    modules: &[RsyncModule],
) -> io::Result<()> {
    // Without a chroot it would rewrite the targets of symbolic links.
    let mut text = "use chroot = yes\nmunge symlinks = no\nuid = 0\ngid = 0\n".to_owned();
    for RsyncModule { name, directory } in modules {
        let path = directory.path().display();
        let _ = write!(text, "[{name}]\npath = {path}\nread only = no\n");
    }
    fs::write(scratch.path(&format!("run/{name}.conf"))?.path(), text)
}

/// Starts an rsync daemon with the configuration of this name.
pub(crate) fn start_rsyncd(
    scratch: &ScratchDir,
    name: &str,
    port: u16,
) -> io::Result<MeteredProcess> {
    let config = scratch.path(&format!("run/{name}.conf"))?;
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    command.arg(format!("--port={port}"));
    command.arg(format!("--config={}", config.path().display()));
    let mut server = MeteredProcess::start(&command, &scratch.path(&format!("run/{name}.log"))?)?;
    let listens = |_: &MeteredProcess| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    server.wait_until("the rsync daemon listens", listens)?;
    Ok(server)
}
