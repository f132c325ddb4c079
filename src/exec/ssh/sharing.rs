//! Choice between the daemon's shared connection to a host and one that the user's ssh
//! configuration shares.

use std::{
    env,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mirror_core::{
    job::{Failure, Job, Outcome},
    path::Escaped,
    plan::command::CommandLine,
};

use rustix::process::Signal;

use super::{ControlMaster, SshConnections, channel::SshRoute};
use crate::{
    exec::{
        Executor, lock,
        process::{
            cancel::CancelToken,
            child::{ChildOutput, ChildProgram},
            end::{ChildLimit, ProcessExit},
        },
    },
    report::{Category, Log, StdStream},
};

/// Timing of the query of the user's ssh configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeTiming {
    /// Timeout of the query: `Match exec` in the configuration can run programs.
    pub(super) timeout: Duration,
    /// First delay of a retry after a timeout; doubled each time, up to an hour.
    pub(super) retry_after: Duration,
}

/// Longest delay: a killed query may have left child processes behind.
const MAX_RETRY_DELAY: Duration = Duration::from_hours(1);

impl ProbeTiming {
    pub(super) const STANDARD: Self =
        Self { timeout: Duration::from_secs(2), retry_after: Duration::from_mins(1) };
}

/// Cached answer for one route: does the user's ssh configuration share connections?
#[derive(Debug, Default)]
pub(super) struct UserSharing {
    probe: Mutex<Option<SharingProbe>>,
}

#[derive(Clone, Copy, Debug)]
struct SharingProbe {
    /// True if the user's configuration shares connections of its own. False if ssh did not answer.
    is_shared: bool,
    /// After a timeout: its time, and the delay until the next query.
    timed_out: Option<(Instant, Duration)>,
    /// Generation of the query.
    generation: u64,
}

/// Query of the user's ssh configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharingQuery<'a> {
    pub(super) route: &'a SshRoute,
    /// Answers of an earlier generation are outdated.
    pub(super) generation: u64,
    pub(super) timing: ProbeTiming,
}

impl UserSharing {
    /// Returns true if the last answer was that the user's ssh configuration sets `ControlPath`.
    /// Does not wait for a running query.
    pub(super) fn is_known_as_shared(&self) -> bool {
        let probe = self.probe.try_lock();
        probe.is_ok_and(|probe| probe.is_some_and(|probe| probe.is_shared))
    }

    /// Returns true if the user's ssh configuration sets `ControlPath` for this route. Such
    /// connections may be open already, and may be the only way to the host.
    ///
    /// Concurrent queries of the same route wait for this answer. `None` if the job was cancelled.
    pub(super) fn is_shared_by_user(
        &self,
        query: SharingQuery<'_>,
        cancel: &CancelToken,
        log: &Log,
    ) -> Option<bool> {
        let SharingQuery { route, generation, timing } = query;
        let mut probe = lock(&self.probe);
        let is_current = |probe: &SharingProbe| {
            probe.generation == generation
                && probe.timed_out.is_none_or(|(at, delay)| at.elapsed() < delay)
        };
        if let Some(current) = probe.filter(is_current) {
            return Some(current.is_shared);
        }
        if cancel.is_cancelled() {
            return None;
        }
        let before = probe.take();
        let host = Escaped(route.host.as_encoded_bytes());
        let (path, timed_out) = match query_user_control_path(route, timing.timeout, cancel) {
            _ if cancel.is_cancelled() => return None,
            Ok(path) => (path, None),
            Err(()) => {
                let delay = before.and_then(|before| before.timed_out).map(|(_, delay)| delay * 2);
                let delay = delay.map_or(timing.retry_after, |delay| delay.min(MAX_RETRY_DELAY));
                (None, Some((Instant::now(), delay)))
            }
        };
        *probe = Some(SharingProbe { is_shared: path.is_some(), timed_out, generation });
        match (path, before) {
            (Some(_), Some(SharingProbe { is_shared: true, .. })) => {}
            (Some(path), _) => {
                let text = format!(
                    "connections to {host} are shared by the ssh configuration: ControlPath {path}"
                );
                log.say(Category::Normal, text);
            }
            (None, before)
                if timed_out.is_some() && before.is_none_or(|it| it.timed_out.is_none()) =>
            {
                let text = format!(
                    "ssh -G {host} did not answer in time: until it does, connections are shared \
                     as without a ControlPath in the ssh configuration"
                );
                log.say(Category::Warn, text);
            }
            (None, _) => {}
        }
        probe.map(|probe| probe.is_shared)
    }
}

/// Executor that runs jobs through the daemon's shared connection to a host, or through one that
/// the user's ssh configuration shares.
#[derive(Debug)]
pub(crate) struct ConnectionChoice<E> {
    /// The connections of this process.
    pub connections: Arc<SshConnections>,
    /// The shared connection to this host.
    pub master: Arc<ControlMaster>,
    /// Executor that uses the shared connection.
    pub via_master: E,
    /// Executor that leaves the connection to ssh.
    pub via_user_config: E,
    /// Receives the note about the choice.
    pub log: Log,
}

impl<E: Executor> Executor for ConnectionChoice<E> {
    fn run(&self, job: &mut Job, cancel: &CancelToken) -> Outcome {
        match self.connections.are_shared_by_user(&self.master, cancel, &self.log) {
            Some(true) => self.via_user_config.run(job, cancel),
            Some(false) => self.via_master.run(job, cancel),
            None => Outcome::Retry(Failure::new("the job was stopped")),
        }
    }
}

/// Returns the `ControlPath` of this route in the user's configuration, escaped for the log. `Err`
/// if ssh does not answer in time.
fn query_user_control_path(
    route: &SshRoute,
    timeout: Duration,
    cancel: &CancelToken,
) -> Result<Option<String>, ()> {
    let mut args = route.command.iter().cloned();
    let program = ChildProgram {
        binary: args.next().unwrap_or_default(),
        working_dir: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        environment: Vec::new(),
        output: ChildOutput::Null,
        parent_death_signal: Signal::TERM,
        inherited: None,
    };
    let args = args.chain(["-G".into(), route.host.clone()]).map(OsString::into_vec).collect();
    let deadline = Instant::now() + timeout;
    let mut path = None;
    let mut on_line = |stream, line: &[u8]| {
        let value = line.strip_prefix(b"controlpath ").filter(|_| stream == StdStream::Out);
        let value = value.filter(|value| !value.is_empty() && *value != b"none");
        path = path.take().or(value.map(|value| Escaped(value).to_string()));
    };
    let call = CommandLine { args, stdin: None };
    let limit = ChildLimit::Deadline(deadline);
    let end = program.run_with_output(limit, &call, cancel, &mut on_line);
    if matches!(end, ProcessExit::Exited(0)) {
        Ok(path)
    } else if Instant::now() < deadline {
        // The connection itself will report the reason.
        Ok(None)
    } else {
        Err(())
    }
}
