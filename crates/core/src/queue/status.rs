//! What a queue tells about itself.

use crate::time::Moment;

/// How many places are at which stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Wait until they are due.
    pub waiting: usize,
    /// Wait until a batch is settled whose places they touch.
    pub behind: usize,
    /// Are being worked on.
    pub in_flight: usize,
    /// Failed, and rest before they are tried again.
    pub resting: usize,
}

impl Counts {
    /// All places that are not known to be on the target.
    #[must_use]
    pub const fn total(self) -> usize {
        self.waiting + self.behind + self.in_flight + self.resting
    }
}

/// How far a place has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits until it is due.
    Waiting,
    /// It waits until a batch is settled whose places it touches.
    Behind,
    /// It is being worked on.
    InFlight,
    /// It failed, and rests.
    Resting {
        /// Until when.
        until: Moment,
        /// How often in a row it failed.
        tries: u32,
    },
}
