//! What people and machines are told.

use std::{
    collections::BTreeSet,
    io,
    sync::{Mutex, PoisonError},
};

mod file;
pub mod filter;
mod log;
mod repeat;
pub mod status;
mod syslog;
mod terminal;
mod text;

pub use file::CannotOpen;
pub use filter::Filter;
pub use log::{ChildOutput, Log, Mode};
pub use syslog::{Marks, is_facility};
pub use terminal::Stream;
pub(crate) use text::now;

/// What the system says of an error, as the C library words it: without the number.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The kind of a log message. The names are the original's, since monitoring matches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// What somebody who runs the daemon wants to know.
    Normal,
    /// What is not right, but is dealt with.
    Warn,
    /// What went wrong.
    Error,
    /// One of the categories that are only shown on request, such as `Exec` or `Inotify`.
    Debug(&'static str),
}

impl Category {
    /// The category of this name, which a user may have made up.
    #[must_use]
    pub fn named(name: &str) -> Self {
        /// The names that were made up. There are few: somebody wrote each into a file.
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        match name {
            "Normal" => Self::Normal,
            "Warn" => Self::Warn,
            "Error" => Self::Error,
            name => {
                let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
                let known = names.get(name).copied();
                let name = known.unwrap_or_else(|| String::leak(name.to_owned()));
                names.insert(name);
                Self::Debug(name)
            }
        }
    }

    /// Its name in a line of the log, and on the command line after `-log`.
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
