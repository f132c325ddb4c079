//! Timestamp granularity of the target, and comparison by size and time.

use std::{os::fd::AsFd, time::Duration};

use mirror_platform::{
    metadata::FileRef,
    stat::{FileTime, Stat},
};
use rustix::time::{ClockId, clock_gettime};

use super::temp_file::TempFile;

const SECOND: i128 = 1_000_000_000;

/// Granularity of the modification times of a file system. It is one nanosecond for nearly all, and
/// coarser for FAT (2 s), HFS+ (1 s), SMB and NTFS (100 ns) and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimestampGranularity {
    step: i128,
    /// Maximum difference between two times that count as equal.
    window: i128,
}

impl TimestampGranularity {
    /// Granularity of one nanosecond.
    pub(super) const FINEST: Self = Self::of_step(1);

    const fn of_step(step: i128) -> Self {
        Self { step, window: 0 }
    }

    /// Adds the window that the user configured, if any.
    pub(super) fn with_window(self, window: Option<Duration>) -> Self {
        let window = window.map_or(0, |it| i128::try_from(it.as_nanos()).unwrap_or(i128::MAX));
        Self { window, ..self }
    }

    /// Known granularities.
    const STEPS: [i128; 6] = [1, 100, 1_000, 10_000_000, SECOND, 2 * SECOND];

    /// Measures the granularity by setting the time of a file at the target. Returns `None` if that
    /// is not possible.
    pub(super) fn probe(temp: &TempFile<'_>) -> Option<Self> {
        const PROBE: (i64, u32) = (1_000_000_001, 987_654_321);
        FileRef::Open(temp.as_fd()).set_modified(PROBE.0, PROBE.1).ok()?;
        let kept = mtime(&temp.stat().ok()?);
        let asked = i128::from(PROBE.0) * SECOND + i128::from(PROBE.1);
        let mut steps = Self::STEPS.into_iter();
        steps.find(|step| asked - asked.rem_euclid(*step) == kept).map(Self::of_step)
    }

    /// Returns the granularity in nanoseconds.
    pub(super) fn step(self) -> u64 {
        u64::try_from(self.step).unwrap_or(u64::MAX)
    }

    /// Returns true if the time of the target is equal to that of the source, as far as the target
    /// can represent it.
    pub(super) fn same_time(self, source: &Stat, target: &Stat) -> bool {
        let (source, target) = (mtime(source), mtime(target));
        (source - target).abs() <= self.window || source - source.rem_euclid(self.step) == target
    }
}

/// Quick check: returns true if size and time prove that the target has the content of the source.
pub(super) fn quick_check(granularity: TimestampGranularity, source: &Stat, target: &Stat) -> bool {
    let copied = nanoseconds(target.ctime);
    same_size_and_time(granularity, source, target) && is_trusted(mtime(source), copied, now())
}

/// Returns true if two files have the same size and time.
pub(super) fn same_size_and_time(
    granularity: TimestampGranularity,
    source: &Stat,
    target: &Stat,
) -> bool {
    source.size == target.size && granularity.same_time(source, target)
}

/// Returns true if a copy made at `copied` certainly contains what was written at `modified`.
///
/// Two writes can have the same time: writes within one tick of the clock (Linux < 6.13, and file
/// systems with coarse times), and parts of one `write(2)`, which sets the time before it writes
/// the data. In the second case an event follows soon. That case is therefore limited in time, and
/// later changes of attributes alone do not copy the file again.
const fn is_trusted(modified: i128, copied: i128, now: i128) -> bool {
    /// Twice the longest tick that kernels are built with.
    const TICKS: i128 = 20_000_000;
    /// Longest duration of one `write(2)`.
    const CALL: i128 = SECOND;
    /// Time within which the event of a write is processed.
    const SOON: i128 = 10 * SECOND;
    let after = copied - modified;
    let in_a_tick = -TICKS <= after && after <= TICKS;
    let in_a_call = 0 <= after && after < CALL && now - copied < SOON;
    !in_a_tick && !in_a_call
}

fn now() -> i128 {
    let now = clock_gettime(ClockId::Realtime);
    i128::from(now.tv_sec) * SECOND + i128::from(now.tv_nsec)
}

/// Returns the modification time in nanoseconds since 1970.
pub(super) fn mtime(stat: &Stat) -> i128 {
    nanoseconds(stat.mtime)
}

/// Converts a time to nanoseconds since 1970.
pub(super) fn nanoseconds(time: FileTime) -> i128 {
    i128::from(time.seconds) * SECOND + i128::from(time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_platform::dir::Dir;

    #[test]
    fn a_copy_is_trusted_unless_a_later_write_can_have_the_same_time() {
        let day = 86_400 * SECOND;
        // Offset of the copy from the modification, offset of the check, and the expected result.
        for (copied, looked, trusted) in [
            (0, day, false),
            (SECOND / 100, day, false),
            (-SECOND / 100, day, false),
            (SECOND / 10, day, true),
            (SECOND / 10, SECOND, false),
            (SECOND / 10, 10 * SECOND, false),
            (SECOND / 10, 11 * SECOND, true),
            (2 * SECOND, 3 * SECOND, true),
            // A time in the future, or a clock that was set back.
            (-day, day, true),
        ] {
            assert_eq!(is_trusted(day, day + copied, day + looked), trusted, "{copied} {looked}");
        }
    }

    #[test]
    fn times_are_compared_at_the_granularity_of_the_target() {
        let temp_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        let stat = |seconds, nanoseconds| {
            FileRef::Open(dir.as_fd()).set_modified(seconds, nanoseconds).unwrap();
            dir.stat(b"").unwrap()
        };
        let (odd, even) = (stat(1_001, 5), stat(1_000, 0));
        assert!(TimestampGranularity::of_step(2 * SECOND).same_time(&odd, &even));
        assert!(!TimestampGranularity::of_step(SECOND).same_time(&odd, &even));
        assert!(TimestampGranularity::of_step(SECOND).same_time(&odd, &stat(1_001, 0)));
        assert!(!TimestampGranularity::FINEST.same_time(&odd, &stat(1_001, 0)));
        assert!(TimestampGranularity::FINEST.same_time(&odd, &stat(1_001, 5)));
        let window = TimestampGranularity::FINEST.with_window(Some(Duration::from_secs(1)));
        assert!(
            window.same_time(&odd, &stat(1_002, 5)) && !window.same_time(&odd, &stat(1_002, 6))
        );
    }
}
