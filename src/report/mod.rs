//! What people and machines are told.

use std::fmt::Display;

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

/// Where messages go. Cheap to clone, and usable from every thread.
#[derive(Clone, Debug, Default)]
pub struct Log {}

impl Log {
    /// Writes a message.
    pub fn say(&self, category: Category, message: impl Display) {
        eprintln!("{category:?}: {message}");
    }

    /// Whether messages of this category are wanted. Ask before making a costly one.
    #[must_use]
    pub const fn wants(&self, _category: Category) -> bool {
        true
    }
}
