//! Whether a target is still the one to which all of the source went.
//!
//! Who brings changes to a directory that was removed makes it again, and what did not change is
//! missing there. So from then on all of the source is owed to it, however many tries that takes.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::report::{Category, Log};

/// What is known of a target.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// It was there once.
    seen: AtomicBool,
    /// It was gone, and not all of the source is known to be there again.
    owed: AtomicBool,
}

impl Presence {
    /// It is there.
    pub(super) fn found(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// Whether it was there once.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// It is not there. That says nothing as long as it never was.
    pub(super) fn lost(&self, target: impl Display, log: &Log) {
        if self.is_seen() && !self.owed.swap(true, Ordering::Relaxed) {
            let text = format!("the target {target} is gone: all of the source goes there again");
            log.say(Category::Warn, text);
        }
    }

    /// Whether it has to get all of the source.
    pub(super) fn is_owed_all(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// All of the source went there.
    pub(super) fn got_all(&self) {
        self.owed.store(false, Ordering::Relaxed);
    }
}
