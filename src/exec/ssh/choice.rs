//! Whose connection to a host a job goes through: ours, or one that the user has ssh share.

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
    plan::rsync::Call,
};

use rustix::process::Signal;

use super::{Connections, Master, channel::Route, lock};
use crate::{
    exec::{
        Executor,
        process::{
            cancel::Stop,
            child::{ChildOutput, End, Limit, Program, Stream},
        },
    },
    report::{Category, Log},
};

/// How ssh is asked how it is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    /// How long it may take to say so: what a user has written may run programs.
    pub(super) limit: Duration,
    /// When it is asked again, if it took longer; then twice as long each time, up to an hour.
    pub(super) again: Duration,
}

/// The longest of these times: what was killed may have left children behind.
const LONGEST_REST: Duration = Duration::from_hours(1);

impl Asking {
    pub(super) const STANDARD: Self =
        Self { limit: Duration::from_secs(2), again: Duration::from_mins(1) };
}

/// What is known of a route.
#[derive(Debug, Default)]
pub(super) struct Known {
    answer: Mutex<Option<Answer>>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    /// Whether the user's configuration shares connections of its own. No, if ssh did not say.
    is_users: bool,
    /// If it did not say: since when, and how long it is not asked again.
    silent: Option<(Instant, Duration)>,
    /// In which round it was asked.
    round: u64,
}

impl Known {
    /// Whether the user's configuration of ssh names a place for shared connections on this route. They
    /// may be open already, and be the only ones that get there.
    ///
    /// Who asks for the same route meanwhile waits for this answer. `None` if the job was stopped.
    pub(super) fn is_users(
        &self,
        (route, round): (&Route, u64),
        asking: Asking,
        stop: &Stop,
        log: &Log,
    ) -> Option<bool> {
        let mut answer = lock(&self.answer);
        let is_good = |answer: &Answer| {
            answer.round == round && answer.silent.is_none_or(|(at, rest)| at.elapsed() < rest)
        };
        if let Some(good) = answer.filter(is_good) {
            return Some(good.is_users);
        }
        if stop.is_asked() {
            return None;
        }
        let before = answer.take();
        let host = Escaped(route.host.as_encoded_bytes());
        let (path, silent) = match control_path_of_user(route, asking.limit, stop) {
            _ if stop.is_asked() => return None,
            Ok(path) => (path, None),
            Err(()) => {
                let rest = before.and_then(|before| before.silent).map(|(_, rest)| rest * 2);
                let rest = rest.map_or(asking.again, |rest| rest.min(LONGEST_REST));
                (None, Some((Instant::now(), rest)))
            }
        };
        *answer = Some(Answer { is_users: path.is_some(), silent, round });
        match (path, before) {
            (Some(_), Some(Answer { is_users: true, .. })) => {}
            (Some(path), _) => {
                let text = format!(
                    "connections to {host} are shared as the configuration of ssh says: ControlPath {path}"
                );
                log.say(Category::Normal, text);
            }
            (None, before) if silent.is_some() && before.is_none_or(|it| it.silent.is_none()) => {
                let text = format!(
                    "ssh -G {host} does not say in time how it is set up: until it does, \
                     connections are shared as if its configuration shared none"
                );
                log.say(Category::Warn, text);
            }
            (None, _) => {}
        }
        answer.map(|answer| answer.is_users)
    }
}

/// Carries out jobs through the connection that there is for all syncs to one host, or as the user's
/// configuration of ssh shares connections.
#[derive(Debug)]
pub struct Choice<E> {
    /// The connections of this process.
    pub connections: Arc<Connections>,
    /// The one to this host.
    pub master: Arc<Master>,
    /// Who goes through it.
    pub ours: E,
    /// Who leaves it to ssh.
    pub users: E,
    /// Where it is told which.
    pub log: Log,
}

impl<E: Executor> Executor for Choice<E> {
    fn run(&self, job: &mut Job, stop: &Stop) -> Outcome {
        match self.connections.are_shared_by_user(&self.master, stop, &self.log) {
            Some(true) => self.users.run(job, stop),
            Some(false) => self.ours.run(job, stop),
            None => Outcome::Again(Failure::new("the job was stopped")),
        }
    }
}

/// What `ControlPath` is for this route in the configuration of the user, for people. An error if ssh
/// does not say in time.
fn control_path_of_user(route: &Route, limit: Duration, stop: &Stop) -> Result<Option<String>, ()> {
    let mut words = route.command.iter().cloned();
    let program = Program {
        binary: words.next().unwrap_or_default(),
        directory: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        environment: Vec::new(),
        output: ChildOutput::Null,
        at_our_end: Signal::TERM,
    };
    let args = words.chain(["-G".into(), route.host.clone()]).map(OsString::into_vec).collect();
    let until = Instant::now() + limit;
    let mut path = None;
    let mut hear = |stream, line: &[u8]| {
        let value = line.strip_prefix(b"controlpath ").filter(|_| stream == Stream::Out);
        let value = value.filter(|value| !value.is_empty() && *value != b"none");
        path = path.take().or(value.map(|value| Escaped(value).to_string()));
    };
    match program.listen(Limit::Until(until), &Call { args, stdin: None }, stop, &mut hear) {
        End::Exited(0) => Ok(path),
        // It will say why when it is to connect.
        _ if Instant::now() < until => Ok(None),
        _ => Err(()),
    }
}
