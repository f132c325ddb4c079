//! Counters of the events that are not reported.

use std::time::{Duration, Instant};

/// Minimum interval between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Reason for which an event is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// Its directory lies outside of all mirrors.
    Outside,
    /// Its directory does not lie in what a mount shows of its file system.
    Hidden,
    /// Its directory was not found.
    Missing,
    /// A mount is gone, or hidden by another one.
    Unmounted,
    /// It is about a file without a name.
    Nameless,
}

/// Number of events, or of lookups, for each reason.
#[derive(Debug, Default)]
pub(super) struct DropCounts {
    outside: u64,
    hidden: u64,
    missing: u64,
    unmounted: u64,
    nameless: u64,
    is_changed: bool,
    reported: Option<Instant>,
}

impl DropCounts {
    pub(super) fn add(&mut self, reason: DropReason) {
        *match reason {
            DropReason::Outside => &mut self.outside,
            DropReason::Hidden => &mut self.hidden,
            DropReason::Missing => &mut self.missing,
            DropReason::Unmounted => &mut self.unmounted,
            DropReason::Nameless => &mut self.nameless,
        } += 1;
        self.is_changed = true;
    }

    /// Returns the counts for the log, if they have changed and were not reported recently.
    pub(super) fn take_report(&mut self) -> Option<String> {
        let now = Instant::now();
        let is_recent = self.reported.is_some_and(|at| now - at < REPORT_INTERVAL);
        if !self.is_changed || is_recent {
            return None;
        }
        self.is_changed = false;
        self.reported = Some(now);
        let Self { outside, hidden, missing, unmounted, nameless, .. } = self;
        Some(format!(
            "fanotify: not reported: {outside} outside, {hidden} hidden, {missing} missing, \
             {unmounted} unmounted, {nameless} without a name"
        ))
    }
}
