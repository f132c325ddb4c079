//! Targets behind ssh.

use std::{
    fs,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Bench, copy_all, latency, run, timed, wait_for_arrival, wait_live};
use crate::bench::{
    expected::{Arrival, verify},
    figure::{Figure, Sample},
    place::{Arena, Place},
    running::Running,
    scene::Scene,
    sshd::{self, Sshd},
    tool::Tool,
};

/// What happens behind ssh.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ssh {
    /// A directory is renamed, with `default.rsyncssh`.
    Rename,
    /// Lone changes, so many, with this default and over a line on which each way takes so long.
    Changes(&'static str, usize, Duration),
}

/// The places of one run.
struct Ground {
    arena: Arena,
    source: Place,
    target: Place,
    server: Sshd,
}

impl Ssh {
    /// Takes `tool` through it.
    ///
    /// # Errors
    ///
    /// When something cannot be done, or the target is wrong in the end.
    pub(crate) fn measure(
        &self,
        bench: &Bench,
        tool: Tool,
        delay: Option<u32>,
    ) -> io::Result<Sample> {
        let arena = Arena::new(&bench.base)?;
        let [source, target] = [arena.directory("source")?, arena.directory("target")?];
        let line = if let Self::Changes(.., line) = self { *line } else { Duration::ZERO };
        let server = Sshd::start(&arena, line)?;
        let ground = Ground { arena, source, target, server };
        match self {
            Self::Rename => ground.rename(bench, tool, delay),
            Self::Changes(default, number, _) => ground.changes(bench, tool, default, *number),
        }
    }
}

impl Ground {
    fn rename(&self, bench: &Bench, tool: Tool, delay: Option<u32>) -> io::Result<Sample> {
        let scene = Scene::Rename;
        scene.prepare(self.source.path())?;
        copy_all(&self.source, &self.target)?;
        let changes = scene.changes();
        let mut sample = if tool == Tool::Floor {
            let (_, before) = self.server.traffic();
            scene.change(self.source.path())?;
            let target = |name| self.target.path().join(name).display().to_string();
            let mut command = Command::new("ssh");
            command.args(self.server.words()).arg(self.server.host());
            command.args(["mv", &target("before"), &target("after")]);
            let mut sample = timed(|| run(command))?;
            sample.insert(Figure::Wire, megabytes(self.server.traffic().1 - before));
            sample
        } else {
            let mut running = self.start(bench, tool, "default.rsyncssh", delay)?;
            let before = running.usage()?;
            let (_, carried) = self.server.traffic();
            let started = Instant::now();
            scene.change(self.source.path())?;
            let mut arrival = Arrival::new(self.target.path(), &changes);
            let wall = wait_for_arrival(started, || arrival.is_complete())?;
            let said = if tool == Tool::Ours { "Finished (list)" } else { "Finished Move" };
            running.wait_until("it says so", |running| running.output().contains(said))?;
            let used = running.usage()?;
            let carried = megabytes(self.server.traffic().1 - carried);
            Sample::from([
                (Figure::Wall, wall),
                (Figure::Wire, carried),
                (Figure::OwnCpu, used.own - before.own),
                (Figure::Memory, running.peak_memory()?),
            ])
        };
        sample.insert(Figure::Logins, logins(&self.server));
        verify(self.source.path(), self.target.path())?;
        Ok(sample)
    }

    fn changes(
        &self,
        bench: &Bench,
        tool: Tool,
        default: &str,
        number: usize,
    ) -> io::Result<Sample> {
        let mut sample = if tool == Tool::Floor {
            self.changes_by_hand(number)?
        } else {
            let mut running = self.start(bench, tool, default, Some(0))?;
            let times = latency::measure_changes(&self.source, &self.target, number, || Ok(()))?;
            latency::summary(times, &mut running)?
        };
        sample.insert(Figure::Logins, logins(&self.server));
        Ok(sample)
    }

    /// One call of rsync for each change, over a connection that is there.
    fn changes_by_hand(&self, number: usize) -> io::Result<Sample> {
        let socket = self.arena.place("socket")?;
        let mut words = self.server.words();
        words.push(format!("-oControlPath={}", socket.path().display()));
        let mut master = Command::new("ssh");
        master.args(&words).args(["-oControlMaster=yes", "-N"]).arg(self.server.host());
        let mut master = Running::start(&master, &self.arena.place("output")?)?;
        master.wait_until("there is a connection", |_| socket.path().exists())?;
        let (source, target) = (self.source.path(), self.target.path());
        let mut ending = Vec::new();
        let times = latency::measure_changes(&self.source, &self.target, number, || {
            let mut rsync = sshd::rsync(&words, source, &self.server.host(), target)
                .stdin(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = rsync.stdin.take() {
                write!(stdin, "/./{}\0", latency::name(ending.len()))?;
            }
            // It is on the target before it ends.
            ending.push(thread::spawn(move || rsync.wait()));
            Ok(())
        })?;
        for rsync in ending {
            rsync.join().map_err(|_| io::Error::other("rsync was not waited for"))??;
        }
        latency::summary(times, &mut master)
    }

    /// Starts a daemon with one sync, and waits until it carries changes.
    fn start(
        &self,
        bench: &Bench,
        tool: Tool,
        default: &str,
        delay: Option<u32>,
    ) -> io::Result<Running> {
        let file = self.arena.place("ssh.lua")?;
        fs::write(file.path(), self.configuration(default, tool, delay))?;
        let mut command = match tool {
            Tool::Ours => Command::new(&bench.ours),
            Tool::Original => Command::new("lsyncd"),
            _ => return Err(io::Error::other("it knows no such target")),
        };
        command.arg("-nodaemon").arg(file.path());
        let mut running = Running::start(&command, &self.arena.place("output")?)?;
        wait_live(tool, &mut running, &self.source, std::slice::from_ref(&self.target))?;
        Ok(running)
    }

    fn configuration(&self, default: &str, tool: Tool, delay: Option<u32>) -> String {
        let Self { source, target, server, .. } = self;
        let (source, target) = (source.path().display(), target.path().display());
        let host = server.host();
        // Without one, none for the original, and ours takes its default.
        let delay = delay.or((tool == Tool::Original).then_some(0));
        let delay = delay.map(|delay| format!("delay = {delay},")).unwrap_or_default();
        let place = if default == "default.rsyncssh" {
            let options = Sshd::OPTIONS.map(|(name, value)| format!("{name} = '{value}'"));
            format!(
                "host = '{host}', targetdir = '{target}', ssh = {{ port = {}, \
                 identityFile = '{}', options = {{ {} }} }}",
                server.port(),
                server.key().display(),
                options.join(", "),
            )
        } else {
            let words = server.words().join(" ");
            format!("target = '{host}:{target}', rsync = {{ rsh = 'ssh {words}' }}")
        };
        format!("sync{{ {default}, source = '{source}', {delay} {place} }}\n")
    }
}

#[expect(clippy::cast_precision_loss, reason = "some gigabytes at most")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
fn logins(server: &Sshd) -> f64 {
    server.traffic().0 as f64
}
