//! What people and machines are told.

mod file;
pub mod filter;
mod log;
mod repeat;
mod text;

pub use file::CannotOpen;
pub use filter::Filter;
pub use log::{ChildOutput, Log, Mode};

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
