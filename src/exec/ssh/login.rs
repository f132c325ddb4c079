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
        child::{ChildOutput, End, Program},
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
    let mut hear = |line: &[u8]| said = Some(Escaped(line).to_string());
    let until = Some(Instant::now() + LIMIT);
    match program.run_until(until, &Call { args, stdin: None }, stop, &mut hear) {
        End::Exited(0) => Ok(()),
        End::Exited(code) => Err(said.unwrap_or_else(|| format!("{name} failed with {code}"))),
        End::Killed(signal) => Err(format!("{name} was ended by signal {signal}")),
        End::NotStarted(error) => Err(format!("{name}: {error}")),
        End::Lost(error) => Err(format!("cannot follow {name}: {error}")),
    }
}
