//! How finely the target keeps times.

use std::{os::fd::AsFd, time::Duration};

use mirror_platform::{dir::Stat, spot::Spot};
use rustix::{
    fs::StatxTimestamp,
    time::{ClockId, clock_gettime},
};

use super::draft::Draft;

const SECOND: i128 = 1_000_000_000;

/// The step of the times that a file system can hold, in nanoseconds: 1, as nearly all have, or
/// what FAT (2 s), HFS+ (1 s), SMB and NTFS (100 ns) and the like make of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grain {
    step: i128,
    /// By how much two times may differ that count as the same.
    window: i128,
}

impl Grain {
    /// The finest there is.
    pub(super) const FINE: Self = Self::of_step(1);

    const fn of_step(step: i128) -> Self {
        Self { step, window: 0 }
    }

    /// The same with a window that the user wants, if any.
    pub(super) fn within(self, window: Option<Duration>) -> Self {
        let window = window.map_or(0, |it| i128::try_from(it.as_nanos()).unwrap_or(i128::MAX));
        Self { window, ..self }
    }

    /// The steps that a time can turn out to be rounded down to.
    const STEPS: [i128; 6] = [1, 100, 1_000, 10_000_000, SECOND, 2 * SECOND];

    /// Tries what becomes of the time of a file at the target. `None` if it can't be tried.
    pub(super) fn of(draft: &Draft<'_>) -> Option<Self> {
        const ODD: (i64, u32) = (1_000_000_001, 987_654_321);
        Spot::Open(draft.as_fd()).set_modified(ODD.0, ODD.1).ok()?;
        let kept = time(&draft.stat().ok()?);
        let asked = i128::from(ODD.0) * SECOND + i128::from(ODD.1);
        let mut steps = Self::STEPS.into_iter();
        steps.find(|step| asked - asked.rem_euclid(*step) == kept).map(Self::of_step)
    }

    /// The step in nanoseconds.
    pub(super) fn step(self) -> u64 {
        u64::try_from(self.step).unwrap_or(u64::MAX)
    }

    /// Whether the target can't tell these two times apart, the first being the source's.
    pub(super) fn same(self, source: &Stat, target: &Stat) -> bool {
        let (source, target) = (time(source), time(target));
        (source - target).abs() <= self.window || source - source.rem_euclid(self.step) == target
    }
}

/// Whether the content of two files can be taken as equal by their size and time.
pub(super) fn same_file(grain: Grain, source: &Stat, target: &Stat) -> bool {
    let copied = nanoseconds(&target.stx_ctime);
    same_size_and_time(grain, source, target) && is_trusted(time(source), copied, now())
}

/// Whether two files have the same size and time.
pub(super) fn same_size_and_time(grain: Grain, source: &Stat, target: &Stat) -> bool {
    source.stx_size == target.stx_size && grain.same(source, target)
}

/// Whether a copy that was made at `copied` surely has what was written at `modified`.
///
/// Two things can be written with the same time: what comes within one tick of the clock (Linux
/// < 6.13, and file systems without fine times), and what one call is still writing, since it sets
/// the time first. In the second case an event follows soon; so that case is over soon too, and
/// later changes of nothing but attributes need not copy the file again.
const fn is_trusted(modified: i128, copied: i128, now: i128) -> bool {
    /// Twice the longest tick that kernels are built with.
    const TICKS: i128 = 20_000_000;
    /// The longest that one call writes.
    const CALL: i128 = SECOND;
    /// How soon after a copy the event is looked at.
    const SOON: i128 = 10 * SECOND;
    let after = copied - modified;
    let in_a_tick = -TICKS <= after && after <= TICKS;
    let in_a_call = 0 <= after && after < CALL && now - copied < SOON;
    !in_a_tick && !in_a_call
}

fn now() -> i128 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    i128::from(now.tv_sec) * SECOND + i128::from(now.tv_nsec)
}

/// When the content was last changed, in nanoseconds since 1970.
pub(super) fn time(stat: &Stat) -> i128 {
    nanoseconds(&stat.stx_mtime)
}

/// A time in nanoseconds since 1970.
pub(super) fn nanoseconds(time: &StatxTimestamp) -> i128 {
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::dir::Dir;

    #[test]
    fn a_copy_is_trusted_if_nothing_can_have_been_written_since_with_the_same_time() {
        let day = 86_400 * SECOND;
        // When it was modified, and how long after that it was copied and looked at.
        for (copied, looked, trusted) in [
            (0, day, false),
            (SECOND / 100, day, false),
            (-SECOND / 100, day, false),
            (SECOND / 10, day, true),
            (SECOND / 10, SECOND, false),
            (SECOND / 10, 10 * SECOND, false),
            (SECOND / 10, 11 * SECOND, true),
            (2 * SECOND, 3 * SECOND, true),
            // A time of the future, or a clock that was set back.
            (-day, day, true),
        ] {
            assert_eq!(is_trusted(day, day + copied, day + looked), trusted, "{copied} {looked}");
        }
    }

    #[test]
    fn times_are_the_same_if_the_target_cannot_hold_more() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let stat = |seconds, nanoseconds| {
            Spot::Open(dir.as_fd()).set_modified(seconds, nanoseconds).unwrap();
            dir.stat(b"").unwrap()
        };
        let (odd, even) = (stat(1_001, 5), stat(1_000, 0));
        assert!(Grain::of_step(2 * SECOND).same(&odd, &even));
        assert!(!Grain::of_step(SECOND).same(&odd, &even));
        assert!(Grain::of_step(SECOND).same(&odd, &stat(1_001, 0)));
        assert!(!Grain::FINE.same(&odd, &stat(1_001, 0)));
        assert!(Grain::FINE.same(&odd, &stat(1_001, 5)));
        let window = Grain::FINE.within(Some(Duration::from_secs(1)));
        assert!(window.same(&odd, &stat(1_002, 5)) && !window.same(&odd, &stat(1_002, 6)));
    }
}
