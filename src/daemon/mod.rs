//! What makes a process a daemon: detaching, the pidfile, signals.

mod detach;
mod pidfile;
mod signals;

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mirror_core::path::Escaped;
use mirror_platform::fork::{Side, fork};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use pidfile::{Pidfile, PidfileError};
pub use signals::{Pending, hold_signals, watch_signals};

use crate::report::{Category, Log, Mode};

/// The exit code of a failed start: `exit(-1)`.
const FAILURE: u8 = 255;

/// More descriptors than this are not asked for: some programs look at each number up to the
/// limit that they inherit.
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// How the process is to live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Whether to detach.
    pub mode: Mode,
    /// An absolute path.
    pub logfile: Option<PathBuf>,
    /// An absolute path.
    pub pidfile: Option<PathBuf>,
}

/// The process lives as it should. It has to be kept as long as the daemon runs: the pidfile goes
/// with it.
#[must_use = "the pidfile is removed when this is dropped"]
#[derive(Debug)]
pub struct Living {
    _pidfile: Option<Pidfile>,
}

/// Starts the life of the daemon: says so in the log, makes the pidfile, detaches.
///
/// Whoever started it hears of what goes wrong up to here. No thread may have been started before; and
/// what is watched belongs behind it, since a child does not inherit everything.
///
/// # Errors
///
/// The exit code with which the process has to end at once: 0 for the parent of a daemon, which
/// has nothing more to do, and 255 after a failure, which was told.
pub fn start(life: Life, signals: &Pending, log: &Log) -> Result<Living, ExitCode> {
    let greeting = match life.mode {
        Mode::Daemon => "--- Startup, daemonizing ---",
        Mode::Foreground => "--- Startup ---",
    };
    log.begin(life.mode, life.logfile, greeting).map_err(|error| {
        // The original has it without a category.
        eprintln!("{error}");
        ExitCode::from(FAILURE)
    })?;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(FAILURE)
    };
    let cannot = |what: &str, error: io::Error| failed(format!("cannot {what}: {error}"));
    signals.listen().map_err(|error| cannot("handle signals", error))?;
    let pidfile = life.pidfile.as_deref().map(Pidfile::create).transpose();
    let mut pidfile = pidfile.map_err(|error| failed(error.to_string()))?;
    if life.mode == Mode::Daemon {
        if !log.has_listener() {
            let text = "there is no logfile, and nobody listens at /dev/log: \
                        from now on nobody hears of what goes wrong";
            log.say(Category::Warn, text);
        }
        let (parent, child) = io::pipe().map_err(|error| cannot("become a daemon", error))?;
        match fork().map_err(|error| cannot("become a daemon", error))? {
            Side::Parent(_) => {
                drop(child);
                pidfile.into_iter().for_each(Pidfile::leave);
                return Err(wait_for(parent));
            }
            Side::Child => {
                write(&mut pidfile).map_err(failed)?;
                detach(child, log).map_err(|error| cannot("become a daemon", error))?;
            }
        }
    } else {
        write(&mut pidfile).map_err(failed)?;
    }
    raise_descriptor_limit(log);
    Ok(Living { _pidfile: pidfile })
}

fn write(pidfile: &mut Option<Pidfile>) -> Result<(), String> {
    pidfile.iter_mut().try_for_each(Pidfile::write).map_err(|error| error.to_string())
}

/// Leaves the terminal, and tells the parent that it need not wait any more.
fn detach(mut parent: PipeWriter, log: &Log) -> io::Result<()> {
    detach::leave_session(log)?;
    parent.write_all(b".")
}

/// The exit code of the parent: whether its child has become a daemon. If not, it has said why.
fn wait_for(mut child: PipeReader) -> ExitCode {
    let word = child.read_exact(&mut [0]);
    word.map_or(ExitCode::from(FAILURE), |()| ExitCode::SUCCESS)
}

/// A mirror of many targets has many pipes and sockets, and the usual limit of 1024 is for the
/// sake of `select(2)`, which is not used here.
fn raise_descriptor_limit(log: &Log) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log.say(Category::Warn, format_args!("cannot raise the number of open files: {error}"));
    }
}

/// A path for people.
fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
