//! Conversion of the mirrors' clock to wall-clock time.

use jiff::Timestamp;
use mirror_core::time::Moment;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    /// The moment.
    pub(super) moment: Moment,
    seconds: f64,
}

impl WallClock {
    /// The present, which is `moment` on the mirrors' clock.
    pub(super) fn new(moment: Moment) -> Self {
        Self { moment, seconds: Timestamp::now().as_duration().as_secs_f64() }
    }

    /// The present in seconds since the epoch.
    pub(super) const fn now(&self) -> f64 {
        self.seconds
    }

    /// A moment in seconds since the epoch. `None` if it never comes.
    pub(super) fn at(&self, moment: Moment) -> Option<f64> {
        if moment == Moment::NEVER {
            return None;
        }
        let ahead = moment.since(self.moment).as_secs_f64();
        let behind = self.moment.since(moment).as_secs_f64();
        Some(self.seconds + ahead - behind)
    }

    /// The age of a moment in seconds.
    pub(super) fn age(&self, moment: Moment) -> f64 {
        self.moment.since(moment).as_secs_f64()
    }
}
