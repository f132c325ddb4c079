//! Output for people and monitoring: log, syslog and status file.

use std::{collections::BTreeSet, io, sync::Mutex};

mod file;
pub mod filter;
mod journal;
mod json;
mod log;
mod meter;
mod progress;
mod repeat;
mod sinks;
pub mod status;
mod stream;
mod style;
mod syslog;
mod terminal;
mod text;

use crate::lock;
pub use file::{LogFileError, OwnFileFailure};
pub use filter::LogFilter;
pub use json::LogFormat;
pub use log::{ChildStdio, Log, RunMode, ShownProgress};
pub use meter::{CallProgress, TransferMeter, TransferTotals, size_text};
pub use stream::StdStream;
pub use syslog::{SyslogIdentity, is_facility};
pub(crate) use text::now;

/// Returns the text of an error as the C library words it, without the number.
#[must_use]
pub fn os_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Category of a log message. The names are those of the original, since monitoring matches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Information for the operator.
    Normal,
    /// A problem that the daemon handles.
    Warn,
    /// A failure.
    Error,
    /// A category that is enabled by request only, such as `Exec` or `Inotify`.
    Debug(&'static str),
}

impl Category {
    /// Returns the category of this name, which a user may have invented.
    #[must_use]
    pub fn named(name: &str) -> Self {
        /// Invented names. There are few: each one is written in a file.
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        match name {
            "Normal" => Self::Normal,
            "Warn" => Self::Warn,
            "Error" => Self::Error,
            name => {
                let mut names = lock(&NAMES);
                let known = names.get(name).copied();
                let name = known.unwrap_or_else(|| String::leak(name.to_owned()));
                names.insert(name);
                Self::Debug(name)
            }
        }
    }

    /// Returns the name used in log lines and as an argument of `-log`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warn => "Warn",
            Self::Error => "Error",
            Self::Debug(name) => name,
        }
    }
}
