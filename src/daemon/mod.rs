//! Daemon process setup: detaching, pidfile, signals, and notifications to the service manager.

mod detach;
mod notify;
mod pidfile;
mod signals;

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mirror_core::path::Escaped;
use mirror_platform::{
    fork::{ForkSide, fork},
    places::SYSLOG_SOCKET,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use notify::{ServiceManager, ServiceNotification};
pub use pidfile::{Pidfile, PidfileError};
pub use signals::{CaughtSignal, PendingSignals, hold_signals, watch_signals};

use crate::report::{Category, Log, RunMode};

/// The exit code of a failed start: `exit(-1)`.
const FAILURE: u8 = 255;

/// Upper bound for the limit of open descriptors: some programs iterate over all numbers up to the
/// limit that they inherit.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Options of the daemon process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessOptions {
    /// Foreground or detached.
    pub mode: RunMode,
    /// Absolute path of the logfile.
    pub logfile: Option<PathBuf>,
    /// Absolute path of the pidfile.
    pub pidfile: Option<PathBuf>,
}

/// Guard of the running daemon process. Keep it as long as the daemon runs: dropping it removes the
/// pidfile.
#[must_use = "the pidfile is removed when this is dropped"]
#[derive(Debug)]
pub struct ProcessGuard {
    _pidfile: Option<Pidfile>,
    /// The parent of a daemon that has not detached yet.
    parent: Option<PipeWriter>,
}

impl ProcessGuard {
    /// Leaves the terminal, and lets the parent exit with success. Call it when nothing can fail
    /// any more: errors up to this point reach the terminal. In the foreground it does nothing.
    ///
    /// # Errors
    ///
    /// Returns the exit code of the process after a failure that was logged.
    pub fn detach(&mut self, log: &Log) -> Result<(), ExitCode> {
        let Some(mut parent) = self.parent.take() else { return Ok(()) };
        detach::leave_session(log).and_then(|()| parent.write_all(b".")).map_err(|error| {
            log.say(Category::Error, format_args!("cannot become a daemon: {error}"));
            ExitCode::from(FAILURE)
        })
    }
}

/// Starts the daemon: logs the startup, creates the pidfile and forks. What has been started must
/// [detach](ProcessGuard::detach).
///
/// No thread may exist yet, and watches must be created later, since a forked child does not
/// inherit everything.
///
/// # Errors
///
/// Returns the exit code with which the process must exit at once: 0 in the parent of a daemon,
/// which has nothing more to do, and 255 after a failure that was logged.
pub fn start(
    options: ProcessOptions,
    signals: &PendingSignals,
    log: &Log,
) -> Result<ProcessGuard, ExitCode> {
    let greeting = match options.mode {
        RunMode::Daemon => "--- Startup, daemonizing ---",
        RunMode::Foreground => "--- Startup ---",
    };
    log.begin(options.mode, options.logfile, greeting).map_err(|error| {
        // The original prints this message without a category.
        eprintln!("{error}\n{}", error.reason());
        ExitCode::from(FAILURE)
    })?;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(FAILURE)
    };
    let cannot = |what: &str, error: io::Error| failed(format!("cannot {what}: {error}"));
    signals.catch_termination().map_err(|error| cannot("handle signals", error))?;
    let pidfile = options.pidfile.as_deref().map(Pidfile::create).transpose();
    let mut pidfile = pidfile.map_err(|error| failed(error.to_string()))?;
    let mut parent = None;
    if options.mode == RunMode::Daemon {
        if !log.has_detached_sink() {
            let text = format!(
                "there is no logfile and no listener at {SYSLOG_SOCKET}: errors will not be \
                 reported"
            );
            log.say(Category::Warn, text);
        }
        let (reader, writer) = io::pipe().map_err(|error| cannot("become a daemon", error))?;
        match fork().map_err(|error| cannot("become a daemon", error))? {
            ForkSide::Parent(_) => {
                drop(writer);
                pidfile.into_iter().for_each(Pidfile::leave_to_child);
                return Err(wait_for_child(reader));
            }
            ForkSide::Child => parent = Some(writer),
        }
    }
    write_pidfile(&mut pidfile).map_err(failed)?;
    raise_descriptor_limit(log);
    Ok(ProcessGuard { _pidfile: pidfile, parent })
}

fn write_pidfile(pidfile: &mut Option<Pidfile>) -> Result<(), String> {
    pidfile.iter_mut().try_for_each(Pidfile::write).map_err(|error| error.to_string())
}

/// Returns the exit code of the parent: success if its child has become a daemon. Otherwise the
/// child has reported the error.
fn wait_for_child(mut child: PipeReader) -> ExitCode {
    let notified = child.read_exact(&mut [0]);
    notified.map_or(ExitCode::from(FAILURE), |()| ExitCode::SUCCESS)
}

/// Raises the soft limit of open descriptors: many targets need many pipes and sockets. The usual
/// limit of 1024 exists for `select(2)`, which is not used here.
fn raise_descriptor_limit(log: &Log) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log.say(Category::Warn, format_args!("cannot raise the limit of open files: {error}"));
    }
}

/// Formats a path for messages.
fn display_path(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
