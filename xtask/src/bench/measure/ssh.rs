//! Targets over ssh.

use std::{
    fs,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{BenchEnv, copy_all, latency, run, timed, wait_for_arrival, wait_live};
use crate::bench::{
    arrival::{ArrivalCheck, verify},
    metric::{Metric, Sample},
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
    sshd::{self, Sshd},
    tool::Tool,
    workload::Workload,
};

/// A benchmark over ssh.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SshBench {
    /// A directory is renamed, with `default.rsyncssh`.
    Rename,
    /// Single changes: the default, their number, and the one-way latency of the link.
    Changes(&'static str, usize, Duration),
}

/// The directories and the server of one run.
struct SshFixture {
    scratch: ScratchDir,
    source: ScratchPath,
    target: ScratchPath,
    server: Sshd,
}

impl SshBench {
    /// Measures one run.
    ///
    /// # Errors
    ///
    /// If a step fails, or the target is wrong in the end.
    pub(crate) fn measure(
        &self,
        bench: &BenchEnv,
        tool: Tool,
        delay: Option<u32>,
    ) -> io::Result<Sample> {
        let scratch = ScratchDir::new(&bench.base)?;
        let [source, target] = [scratch.create_dir("source")?, scratch.create_dir("target")?];
        let latency = if let Self::Changes(.., latency) = self { *latency } else { Duration::ZERO };
        let server = Sshd::start(&scratch, latency)?;
        let fixture = SshFixture { scratch, source, target, server };
        match self {
            Self::Rename => fixture.rename(bench, tool, delay),
            Self::Changes(default, number, _) => fixture.changes(bench, tool, default, *number),
        }
    }
}

impl SshFixture {
    fn rename(&self, bench: &BenchEnv, tool: Tool, delay: Option<u32>) -> io::Result<Sample> {
        let workload = Workload::Rename;
        workload.prepare(self.source.path())?;
        copy_all(&self.source, &self.target)?;
        let changes = workload.expected_changes();
        let mut sample = if tool == Tool::Floor {
            let (_, before) = self.server.traffic();
            workload.change(self.source.path())?;
            let target = |name| self.target.path().join(name).display().to_string();
            let mut command = Command::new("ssh");
            command.args(self.server.ssh_args()).arg(self.server.host());
            command.args(["mv", &target("before"), &target("after")]);
            let mut sample = timed(|| run(command))?;
            sample.insert(Metric::Wire, megabytes(self.server.traffic().1 - before));
            sample
        } else {
            let mut running = self.start(bench, tool, "default.rsyncssh", delay)?;
            let before = running.usage()?;
            let (_, before_bytes) = self.server.traffic();
            let started = Instant::now();
            workload.change(self.source.path())?;
            let mut check = ArrivalCheck::new(self.target.path(), &changes);
            let wall = wait_for_arrival(started, || check.is_complete())?;
            let message = if tool == Tool::Ours { "Finished (list)" } else { "Finished Move" };
            running.wait_until("it says so", |running| running.output().contains(message))?;
            let used = running.usage()?;
            let transferred = megabytes(self.server.traffic().1 - before_bytes);
            Sample::from([
                (Metric::Wall, wall),
                (Metric::Wire, transferred),
                (Metric::OwnCpu, used.own - before.own),
                (Metric::Memory, running.peak_memory()?),
            ])
        };
        sample.insert(Metric::Logins, logins(&self.server));
        verify(self.source.path(), self.target.path())?;
        Ok(sample)
    }

    fn changes(
        &self,
        bench: &BenchEnv,
        tool: Tool,
        default: &str,
        number: usize,
    ) -> io::Result<Sample> {
        let mut sample = if tool == Tool::Floor {
            self.changes_floor(number)?
        } else {
            let mut running = self.start(bench, tool, default, Some(0))?;
            let times = latency::measure_changes(&self.source, &self.target, number, || Ok(()))?;
            latency::summary(times, &mut running)?
        };
        sample.insert(Metric::Logins, logins(&self.server));
        Ok(sample)
    }

    /// Measures the floor: one call of rsync for each change, over an existing connection.
    fn changes_floor(&self, number: usize) -> io::Result<Sample> {
        let socket = self.scratch.path("socket")?;
        let mut args = self.server.ssh_args();
        args.push(format!("-oControlPath={}", socket.path().display()));
        let mut master = Command::new("ssh");
        master.args(&args).args(["-oControlMaster=yes", "-N"]).arg(self.server.host());
        let mut master = MeteredProcess::start(&master, &self.scratch.path("output")?)?;
        master.wait_until("there is a connection", |_| socket.path().exists())?;
        let (source, target) = (self.source.path(), self.target.path());
        let mut waiters = Vec::new();
        let times = latency::measure_changes(&self.source, &self.target, number, || {
            let mut rsync = sshd::rsync(&args, source, &self.server.host(), target)
                .stdin(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = rsync.stdin.take() {
                write!(stdin, "/./{}\0", latency::name(waiters.len()))?;
            }
            // The change arrives before rsync exits.
            waiters.push(thread::spawn(move || rsync.wait()));
            Ok(())
        })?;
        for rsync in waiters {
            rsync.join().map_err(|_| io::Error::other("rsync was not waited for"))??;
        }
        latency::summary(times, &mut master)
    }

    /// Starts a daemon with one sync, and waits until it is live.
    fn start(
        &self,
        bench: &BenchEnv,
        tool: Tool,
        default: &str,
        delay: Option<u32>,
    ) -> io::Result<MeteredProcess> {
        let file = self.scratch.path("ssh.lua")?;
        fs::write(file.path(), self.configuration(default, tool, delay))?;
        let mut command = tool.lsyncd(&bench.ours)?;
        command.arg("-nodaemon").arg(file.path());
        let mut running = MeteredProcess::start(&command, &self.scratch.path("output")?)?;
        wait_live(tool, &mut running, &self.source, std::slice::from_ref(&self.target))?;
        Ok(running)
    }

    fn configuration(&self, default: &str, tool: Tool, delay: Option<u32>) -> String {
        let Self { source, target, server, .. } = self;
        let (source, target) = (source.path().display(), target.path().display());
        let host = server.host();
        // `None`: no delay for the original, the default for ours.
        let delay = delay.or((tool == Tool::Original).then_some(0));
        let delay = delay.map(|delay| format!("delay = {delay},")).unwrap_or_default();
        let options = if default == "default.rsyncssh" {
            let ssh_options = Sshd::OPTIONS.map(|(name, value)| format!("{name} = '{value}'"));
            format!(
                "host = '{host}', targetdir = '{target}', ssh = {{ port = {}, \
                 identityFile = '{}', options = {{ {} }} }}",
                server.port(),
                server.key().display(),
                ssh_options.join(", "),
            )
        } else {
            let args = server.ssh_args().join(" ");
            format!("target = '{host}:{target}', rsync = {{ rsh = 'ssh {args}' }}")
        };
        format!("sync{{ {default}, source = '{source}', {delay} {options} }}\n")
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
