//! Debounce: the time at which dirty paths are dispatched.

use core::time::Duration;

use crate::time::Moment;

/// The rule for the time at which pending paths are due. All are due together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debounce {
    /// An explicit `delay`, counted from the oldest pending change as by the original (section
    /// "Delays and completion" of `docs/original-behaviour.md`).
    FixedDelay {
        /// The age of the oldest mark at which the paths are due.
        delay: Duration,
        /// With this many pending paths, they are due at once.
        max_waiting: usize,
    },
    /// A burst of changes is due together. A change that is expected to come alone is due at
    /// once.
    Quiet {
        /// The time without a mark after which the paths are due.
        quiet: Duration,
        /// The age of the oldest mark at which the paths are due in any case.
        max_wait: Duration,
    },
}

impl Default for Debounce {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Debounce {
    /// The debounce of a sync without a delay: 100 ms without a further change, at most one second
    /// after the first. See `docs/decisions/0004-debounce.md`.
    pub const DEFAULT: Self =
        Self::Quiet { quiet: Duration::from_millis(100), max_wait: Duration::from_secs(1) };

    /// The time for which a watch backend may gather changes before it reports them: so short that
    /// a burst stays one burst, and that its end is not noticeably later.
    #[must_use]
    pub fn gathering_time(self) -> Duration {
        let (Self::FixedDelay { delay: time, .. } | Self::Quiet { quiet: time, .. }) = self;
        (time / 2).min(Duration::from_millis(500))
    }

    /// The time at which `waiting` paths are due, with the oldest mark at `oldest` and the newest
    /// at `newest`.
    #[must_use]
    pub fn due(self, oldest: Moment, newest: Moment, waiting: usize) -> Moment {
        match self {
            Self::FixedDelay { max_waiting, .. } if waiting >= max_waiting => oldest,
            Self::FixedDelay { delay, .. } => oldest + delay,
            Self::Quiet { quiet, max_wait } => (newest + quiet).min(oldest + max_wait),
        }
    }
}

/// The time without a further mark after which a change that is expected to come alone is due: a
/// program that replaces a file causes several events within it.
const LONE_QUIET: Duration = Duration::from_millis(5);

/// The time without a mark after which a change is expected to come alone, whatever came before.
const CALM: Duration = Duration::from_mins(1);

/// The number of marks from which a burst is dense if its pauses are short.
const DENSE_MARKS: u32 = 32;

/// The time without a mark after which a dense burst is expected to be over: at least this, and
/// [`DENSE_PAUSES`] times its longest pause.
const DENSE_QUIET: Duration = Duration::from_millis(20);

/// See [`DENSE_QUIET`].
const DENSE_PAUSES: u32 = 4;

/// Distinguishes changes that come alone from bursts, by the last ones, and expects the end of a
/// dense burst.
///
/// A *spell* is a series of marks without a quiet time in it. It is expected to be a lone change if
/// the last spell was one, or after a calm minute, until a mark comes too late for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spell {
    first: Moment,
    last: Moment,
    is_expected_lone: bool,
    /// True if a mark came more than [`LONE_QUIET`] after the first one.
    is_burst: bool,
    density: Density,
}

impl Default for Spell {
    /// Nothing is known before the first mark.
    fn default() -> Self {
        Self {
            first: Moment::ORIGIN,
            last: Moment::ORIGIN,
            is_expected_lone: false,
            is_burst: true,
            density: Density::default(),
        }
    }
}

impl Spell {
    /// Notes a mark. Returns the time at which the marks of the spell are due if it looks as if it
    /// were over by then: a lone change, as was expected, or a dense burst.
    pub(super) fn mark(&mut self, debounce: Debounce, now: Moment) -> Option<Moment> {
        let Debounce::Quiet { quiet, .. } = debounce else { return None };
        let pause = now.since(self.last);
        self.last = self.last.max(now);
        if pause < quiet && self.density.marks > 0 {
            self.is_burst |= now > self.first + LONE_QUIET;
            self.density.add(pause);
        } else {
            self.is_expected_lone = !self.is_burst || pause >= CALM;
            (self.first, self.is_burst) = (now, false);
            self.density = self.density.of_next_spell(pause);
        }
        if self.is_expected_lone && !self.is_burst {
            return Some(now + LONE_QUIET);
        }
        self.density.expected_quiet().filter(|expected| *expected < quiet).map(|it| now + it)
    }
}

/// The pauses between the marks of a spell.
///
/// The end of a dense one is expected early, unless that was wrong in this one, or in the last
/// dense one.
#[derive(Clone, Copy, Debug, Default)]
struct Density {
    marks: u32,
    longest_pause: Duration,
    /// True if a mark came after the time at which the spell was expected to be over.
    went_on: bool,
    /// The same for the last dense spell.
    last_went_on: bool,
}

impl Density {
    /// Adds a mark after this pause.
    fn add(&mut self, pause: Duration) {
        self.went_on |= self.is_dense() && pause >= self.quiet();
        self.marks = self.marks.saturating_add(1);
        self.longest_pause = self.longest_pause.max(pause);
    }

    /// Returns that of a spell which begins with a mark after this pause.
    fn of_next_spell(self, pause: Duration) -> Self {
        let last_went_on = if self.is_dense() { self.went_on } else { self.last_went_on };
        Self { marks: 1, last_went_on: last_went_on && pause < CALM, ..Self::default() }
    }

    /// The time without a mark after which the spell is expected to be over.
    fn expected_quiet(&self) -> Option<Duration> {
        let may_expect = self.is_dense() && !self.went_on && !self.last_went_on;
        may_expect.then(|| self.quiet())
    }

    const fn is_dense(&self) -> bool {
        self.marks >= DENSE_MARKS
    }

    fn quiet(&self) -> Duration {
        DENSE_QUIET.max(self.longest_pause.saturating_mul(DENSE_PAUSES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_is_shorter_than_the_wait() {
        let delay =
            |secs| Debounce::FixedDelay { delay: Duration::from_secs(secs), max_waiting: 1 };
        assert_eq!(Debounce::DEFAULT.gathering_time(), Duration::from_millis(50));
        assert_eq!(delay(0).gathering_time(), Duration::ZERO);
        assert_eq!(delay(15).gathering_time(), Duration::from_millis(500));
    }
}
