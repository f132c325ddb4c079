//! How finely the target keeps times.

use std::os::fd::AsFd;

use mirror_linux::{
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::{
    fs::StatxTimestamp,
    time::{ClockId, clock_gettime},
};

use super::draft::Draft;

const SECOND: i128 = 1_000_000_000;

/// The step of the times that a file system can hold, in nanoseconds: 1, as nearly all have, or
/// what FAT (2 s), HFS+ (1 s), SMB and NTFS (100 ns) and the like make of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grain(i128);

impl Grain {
    /// The finest there is.
    pub(super) const FINE: Self = Self(1);

    /// The steps that a time can turn out to be rounded down to.
    const STEPS: [i128; 6] = [1, 100, 1_000, 10_000_000, SECOND, 2 * SECOND];

    /// Tries what becomes of a time at `target`. If it can't be tried, times are taken as fine:
    /// then too much is copied, not too little.
    pub(super) fn of(target: &Dir) -> Self {
        let before = target.stat(b"");
        let grain = Self::tried(target).unwrap_or(Self::FINE);
        // The trial may have needed a name, and so changed the time of the directory.
        if let Ok(before) = before {
            let (seconds, nanoseconds) = (before.stx_mtime.tv_sec, before.stx_mtime.tv_nsec);
            if target.stat(b"").is_ok_and(|now| time(&now) != time(&before)) {
                let _ = Spot::Open(target.as_fd()).set_modified(seconds, nanoseconds);
            }
        }
        grain
    }

    fn tried(target: &Dir) -> Option<Self> {
        const ODD: (i64, u32) = (1_000_000_001, 987_654_321);
        let draft = Draft::new(target, b"time").ok()?;
        Spot::Open(draft.as_fd()).set_modified(ODD.0, ODD.1).ok()?;
        let kept = time(&draft.stat().ok()?);
        let asked = i128::from(ODD.0) * SECOND + i128::from(ODD.1);
        Self::STEPS.into_iter().find(|step| asked - asked.rem_euclid(*step) == kept).map(Self)
    }

    /// Whether the target can't tell these two times apart, the first being the source's.
    pub(super) fn same(self, source: &Stat, target: &Stat) -> bool {
        let (source, target) = (time(source), time(target));
        source == target || source - source.rem_euclid(self.0) == target
    }
}

/// Whether the content of two files can be taken as equal by their size and time.
pub(super) fn same_file(grain: Grain, source: &Stat, target: &Stat) -> bool {
    let copied = nanoseconds(&target.stx_ctime);
    source.stx_size == target.stx_size
        && grain.same(source, target)
        && is_trusted(time(source), copied, now())
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
    fn the_grain_of_a_file_system_is_found_and_leaves_no_trace() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        Spot::Open(dir.as_fd()).set_modified(1_000, 1).unwrap();
        assert_eq!(Grain::of(&dir), Grain::FINE);
        assert_eq!(time(&dir.stat(b"").unwrap()), 1_000 * SECOND + 1);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
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
        assert!(Grain(2 * SECOND).same(&odd, &even));
        assert!(!Grain(SECOND).same(&odd, &even));
        assert!(Grain(SECOND).same(&odd, &stat(1_001, 0)));
        assert!(!Grain::FINE.same(&odd, &stat(1_001, 0)));
        assert!(Grain::FINE.same(&odd, &stat(1_001, 5)));
    }
}
