//! The directories of a round, and the configuration that mirrors them.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use super::{
    compare::Terms,
    plan::{Guard, Kind, Layout, Plan, Weather},
    snapshot::Promise,
    storm::{COMING_AND_GOING, INNER, PATTERNS},
    trial::Means,
};
use crate::bench::{
    place::{Arena, Place},
    running::Running,
    sshd::Sshd,
};

/// So many files stay where nothing else limits unseen deletions: more than any storm makes.
const STABLE: usize = 600;
/// How often another port is tried, should somebody else have taken ours meanwhile.
const ATTEMPTS: usize = 5;

/// All there is in a round beside the daemon.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) pairs: Vec<Pair>,
    /// Where moved trees wait.
    pub(crate) outside: Place,
    /// What must stay as it is.
    pub(crate) canary: Place,
    /// The servers for modules.
    _servers: Vec<Running>,
}

/// A source and its target.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) source: Place,
    pub(crate) target: Place,
    pub(crate) terms: Terms,
    kind: Kind,
    /// Where the module is.
    port: Option<u16>,
}

impl Scene {
    /// Makes it.
    pub(crate) fn set(plan: &Plan, arena: &Arena) -> io::Result<Self> {
        arena.directory("run")?;
        let (outside, canary) = (arena.directory("outside")?, arena.directory("canary")?);
        fs::write(canary.path().join("file"), "unharmed")?;
        let mut servers = Vec::new();
        let mut pairs = Vec::new();
        for number in 0..plan.syncs() {
            let source = match (plan.layout, number) {
                (Layout::Nested, 1) => arena.directory(&format!("source/{INNER}"))?,
                (Layout::Chain, 1) => arena.directory("target0")?,
                _ => arena.directory("source")?,
            };
            let target = arena.directory(&format!("target{number}"))?;
            let kind = plan.kinds.get(number).copied().unwrap_or(Kind::Direct);
            let mut port = None;
            if kind == Kind::Module {
                let (server, its_port) = serve(arena, &target, number)?;
                servers.push(server);
                port = Some(its_port);
            }
            pairs.push(Pair { source, target, terms: terms(plan, kind), kind, port });
        }
        let scene = Self { pairs, outside, canary, _servers: servers };
        scene.fill(plan)?;
        Ok(scene)
    }

    fn fill(&self, plan: &Plan) -> io::Result<()> {
        for pair in &self.pairs {
            if plan.excludes {
                for precious in pair.precious() {
                    fs::create_dir_all(precious.parent().unwrap_or(Path::new("/")))?;
                    fs::write(precious, "precious")?;
                }
            }
        }
        let Some(first) = self.pairs.first() else { return Ok(()) };
        if plan.guard == Guard::Default {
            // The second source of a nested pair needs its own.
            for pair in self.pairs.iter().take(if plan.layout == Layout::Nested { 2 } else { 1 }) {
                let stable = pair.source.path().join("stable");
                fs::create_dir(&stable)?;
                (0..STABLE).try_for_each(|file| {
                    fs::write(stable.join(format!("f{file}")), file.to_string())
                })?;
            }
        }
        fs::write(first.source.path().join("at the start"), "old")
    }

    /// What must be on the targets as long as nobody else touches it, if something is left out.
    pub(crate) fn lost_treasures(&self) -> Vec<String> {
        let all = self.pairs.iter().flat_map(Pair::precious);
        all.filter(|path| fs::read(path).ok().as_deref() != Some(b"precious"))
            .map(|path| format!("{} is left out, and is gone", path.display()))
            .collect()
    }

    /// The text of the configuration file.
    pub(crate) fn config(
        &self,
        plan: &Plan,
        delay: Option<&str>,
        means: &Means<'_>,
        arena: &Arena,
    ) -> io::Result<String> {
        let mut text = format!(
            "settings{{ statusFile = [[{}]], statusInterval = 0, watch = '{}', {} }}\n",
            arena.place("run/status")?.path().display(),
            plan.watch,
            // A first transfer that is killed ends a daemon that does not insist.
            if plan.weather == Weather::Pauses { "insist = true" } else { "" },
        );
        for pair in &self.pairs {
            let _ = write!(text, "sync{{ {}", pair.words(plan, means.sshd)?);
            if let Some(delay) = delay {
                let _ = write!(text, ", delay = {delay}");
            }
            if plan.excludes {
                let _ = write!(text, ", exclude = {PATTERNS}");
            }
            if plan.guard == Guard::Off {
                text.push_str(", maxDelete = false");
            }
            if !plan.more.is_empty() {
                let _ = write!(text, ", {}", plan.more);
            }
            text.push_str(" }\n");
        }
        Ok(text)
    }
}

impl Pair {
    fn words(&self, plan: &Plan, sshd: Option<&Sshd>) -> io::Result<String> {
        let source = format!("source = [[{}]]", self.source.path().display());
        let target = self.target.path().display();
        let mut keeps = if plan.archive { "archive = true".to_owned() } else { String::new() };
        if plan.links {
            keeps.push_str(if keeps.is_empty() {
                "hard_links = true"
            } else {
                ", hard_links = true"
            });
        }
        // An rsync that waits for another one is ended after twice that time: sooner than by default.
        let rsync = format!("rsync = {{ timeout = 20, {keeps} }}");
        Ok(match self.kind {
            Kind::Direct => format!("default.direct, {source}, target = [[{target}]]"),
            Kind::Rsync => format!("default.rsync, {source}, target = [[{target}]], {rsync}"),
            Kind::Module => {
                let port = self.port.unwrap_or_default();
                format!(
                    "default.rsync, {source}, target = 'rsync://127.0.0.1:{port}/mirror/', {rsync}"
                )
            }
            Kind::Ssh => {
                let sshd = sshd.ok_or_else(|| io::Error::other("there is no ssh server"))?;
                let words: Vec<String> =
                    sshd.words().iter().map(|word| format!("[[{word}]]")).collect();
                format!(
                    "default.rsyncssh, {source}, host = '{}', targetdir = [[{target}]], {rsync}, \
                     ssh = {{ _extra = {{ '-F', 'none', {} }} }}",
                    sshd.host(),
                    words.join(", "),
                )
            }
        })
    }

    fn precious(&self) -> Vec<std::path::PathBuf> {
        let target = self.target.path();
        ["skip/precious", "precious.tmp"]
            .iter()
            .map(|name| target.join(name))
            .chain([target.join(COMING_AND_GOING).join("skip/precious")])
            .collect()
    }
}

fn terms(plan: &Plan, kind: Kind) -> Terms {
    let all = kind == Kind::Direct || plan.archive;
    let promise = Promise {
        // What is left out changes the time of its directory, and nobody looks.
        all_times: !plan.excludes,
        attributes: all,
        hard_links: plan.links,
    };
    Terms { promise, excludes: plan.excludes, specials: all }
}

/// An rsync daemon that gives out `target` as the module `mirror`, and its port.
fn serve(arena: &Arena, target: &Place, number: usize) -> io::Result<(Running, u16)> {
    let config = arena.place(&format!("run/rsyncd{number}.conf"))?;
    fs::write(
        config.path(),
        format!(
            // Without a root of its own it would change the targets of links.
            "use chroot = yes\nmunge symlinks = no\nuid = 0\ngid = 0\n\
             [mirror]\npath = {}\nread only = no\n",
            target.path().display()
        ),
    )?;
    let mut last = io::Error::other("no attempt");
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command.arg(format!("--port={port}"));
        command.arg(format!("--config={}", config.path().display()));
        let mut server =
            Running::start(&command, &arena.place(&format!("run/rsyncd{number}.log"))?)?;
        let listens = |_: &Running| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        match server.wait_until("the rsync daemon listens", listens) {
            Ok(()) => return Ok((server, port)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
