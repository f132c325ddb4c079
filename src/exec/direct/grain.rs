//! How finely the target keeps times.

use std::os::fd::AsFd;

use mirror_linux::{
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::fs::StatxTimestamp;

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

/// When the content was last changed, in nanoseconds since 1970.
pub(super) fn time(stat: &Stat) -> i128 {
    nanoseconds(&stat.stx_mtime)
}

/// A time in nanoseconds since 1970.
pub(super) fn nanoseconds(time: &StatxTimestamp) -> i128 {
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}
