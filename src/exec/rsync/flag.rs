//! A fact that jobs share.

use std::sync::atomic::{AtomicBool, Ordering};

/// A fact that changes rarely.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag and returns its previous value.
    pub(super) fn set(&self, is: bool) -> bool {
        self.0.swap(is, Ordering::Relaxed)
    }
}
