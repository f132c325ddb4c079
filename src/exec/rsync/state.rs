//! Facts about a target, found out by jobs.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use mirror_core::{
    job::DirtyPath,
    path::Escaped,
    plan::{rsync::QuickCheck, target::Target},
};
use mirror_platform::dir::Dir;

use super::{
    abandoned::AbandonedFiles, capabilities::RemoteCapabilities, flag::Flag,
    hardlinks::RsyncLinkIndex, remote_temp_files::RemoteTempFiles, target_lock::TargetLock,
};
use crate::{
    exec::{
        direct::timestamp_granularity, lock, observed_holds::ObservedHolds,
        target_identity::TargetIdentity,
    },
    report::{Log, TransferMeter},
};

/// Facts about a target and its rsync. A new executor for the same source and target, with other
/// settings, takes them over.
#[derive(Debug)]
pub(crate) struct RsyncState {
    /// Identity of the target: is it still the directory that received the whole source?
    pub(crate) target_identity: Arc<TargetIdentity>,
    /// Capabilities of the remote side.
    pub(super) capabilities: RemoteCapabilities,
    /// Deletions are held: the target has entries that the source does not have.
    pub(super) holds_deletions: Flag,
    pub(super) observed_holds: ObservedHolds,
    /// Counters of what was transferred, as far as rsync reports it.
    pub(crate) meter: Arc<TransferMeter>,
    /// Temporary files that calls may have left on a local target.
    pub(super) abandoned: AbandonedFiles,
    /// Those on another machine.
    pub(super) remote_temp_files: RemoteTempFiles,
    /// The warning about an empty source was logged.
    pub(super) warned_empty: Flag,
    /// Known names of files with several names.
    pub(super) links: RsyncLinkIndex,
    /// Lock that all processes of a transfer hold.
    pub(super) target_lock: TargetLock,
    measurements: Mutex<TargetMeasurements>,
}

#[derive(Debug, Default)]
struct TargetMeasurements {
    /// Number of entries in the target at the last full comparison, without those deleted since.
    entry_count: Option<u64>,
    /// Comparison that fits the time precision of the target.
    quick_check: Option<QuickCheck>,
}

impl RsyncState {
    /// Creates an empty state. Relative targets count from `directory`.
    #[must_use]
    pub(crate) fn new(target: &Target, directory: &Path, log: Log) -> Self {
        let path = target.local().map(|path| directory.join(OsStr::from_bytes(path)));
        Self {
            target_identity: Arc::new(TargetIdentity::new(
                Escaped(target.as_arg()).to_string(),
                path,
                log,
            )),
            capabilities: RemoteCapabilities::default(),
            holds_deletions: Flag::default(),
            observed_holds: ObservedHolds::default(),
            meter: Arc::default(),
            abandoned: AbandonedFiles::default(),
            remote_temp_files: RemoteTempFiles::default(),
            warned_empty: Flag::default(),
            links: RsyncLinkIndex::default(),
            target_lock: TargetLock::default(),
            measurements: Mutex::default(),
        }
    }

    /// Opens the target, if it is local and readable.
    pub(super) fn open_local(&self) -> Option<Dir> {
        Dir::open(self.target_identity.path()?).ok()
    }

    /// Returns the number of entries in the target.
    pub(crate) fn entry_count(&self) -> Option<u64> {
        self.measurements().entry_count
    }

    /// Notes that an rsync of an earlier run may have left temporary files for these paths since
    /// that time.
    pub(crate) fn note_abandoned(&self, since: SystemTime, paths: impl Iterator<Item = DirtyPath>) {
        self.abandoned.note(since, paths);
    }

    /// Subtracts deleted entries. `None`: it is unknown how many these are.
    pub(super) fn subtract_entries(&self, deleted: Option<u64>) {
        let mut measurements = self.measurements();
        let left = |count: u64| Some(count.saturating_sub(deleted?));
        measurements.entry_count = measurements.entry_count.and_then(left);
    }

    /// Sets the number of entries in the target.
    pub(crate) fn set_entry_count(&self, total: u64) {
        self.measurements().entry_count = Some(total);
    }

    /// Returns the comparison that fits the target, if known. The precision of a local target is
    /// measured.
    pub(super) fn quick_check(&self) -> Option<QuickCheck> {
        let comparison = self.measurements().quick_check;
        comparison.or_else(|| {
            let quick_check = quick_check_for(timestamp_granularity(&self.open_local()?));
            self.measurements().quick_check = Some(quick_check);
            Some(quick_check)
        })
    }

    pub(super) fn set_quick_check(&self, quick_check: QuickCheck) {
        self.measurements().quick_check = Some(quick_check);
    }

    fn measurements(&self) -> MutexGuard<'_, TargetMeasurements> {
        lock(&self.measurements)
    }
}

/// Returns the comparison for times that are multiples of `step` nanoseconds.
fn quick_check_for(granularity: u64) -> QuickCheck {
    const SECOND: u64 = 1_000_000_000;
    match granularity {
        ..=1 => QuickCheck::Nanoseconds,
        2..=SECOND => QuickCheck::Seconds,
        _ => QuickCheck::Within(u32::try_from((granularity - 1) / SECOND).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_granularity_selects_the_comparison() {
        for (granularity, quick_check) in [
            (1, QuickCheck::Nanoseconds),
            (100, QuickCheck::Seconds),
            (1_000_000_000, QuickCheck::Seconds),
            (2_000_000_000, QuickCheck::Within(1)),
        ] {
            assert_eq!(quick_check_for(granularity), quick_check, "{granularity}");
        }
    }
}
