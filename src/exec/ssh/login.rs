//! One ssh that logs in and goes into the background.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use mirror_core::{path::Escaped, plan::rsync::Call};

use super::channel::Route;
use crate::{
    exec::{
        child::{ChildOutput, End, Limit, Program},
        remedy::remedy,
        stop::Stop,
    },
    report::Log,
};

/// How long it may take: sshd gives somebody who types a password two minutes.
const LIMIT: Duration = Duration::from_mins(2);

/// Logs in by this route and with these further words, which have ssh go into the background.
/// Relative paths count from `directory`.
///
/// # Errors
///
/// If it is not let in: why.
pub(super) fn log_in(
    route: &Route,
    words: &[OsString],
    directory: PathBuf,
    (stop, log): (&Stop, &Log),
) -> Result<(), String> {
    let mut command = route.command.iter().chain(words).cloned();
    let binary = command.next().unwrap_or_default();
    let name = Escaped(binary.as_encoded_bytes()).to_string();
    let args = command.chain([route.host.clone()]).map(OsString::into_vec).collect();
    let output = ChildOutput::Log(log.clone());
    let program = Program { binary, directory, environment: Vec::new(), output };
    let mut said = None;
    let mut hear = |line: &[u8]| {
        let text = Escaped(line).to_string();
        said =
            Some(remedy(line).map_or_else(|| text.clone(), |remedy| format!("{text}: {remedy}")));
    };
    let limit = Limit::Until(Instant::now() + LIMIT);
    match program.run_within(limit, &Call { args, stdin: None }, stop, &mut hear) {
        End::Exited(0) => Ok(()),
        end @ End::Exited(_) => Err(said.unwrap_or_else(|| end.of(&name))),
        end => Err(end.of(&name)),
    }
}
