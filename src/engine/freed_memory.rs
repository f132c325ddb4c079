//! Memory that is free after bursts of messages.

use std::time::Duration;

use mirror_core::time::Moment;
use mirror_platform::memory;

/// Number of messages after which free memory is returned to the kernel.
const BURST: usize = 250;

/// Time without messages after which free memory is returned to the kernel.
const QUIET: Duration = Duration::from_secs(1);

/// Counter of messages. The allocator keeps the memory of the events of a burst, such as that after
/// an overflow, and that of jobs, although they are processed.
#[derive(Debug, Default)]
pub(super) struct FreedMemory {
    messages: usize,
    /// Time of the last message that was counted.
    last: Option<Moment>,
}

impl FreedMemory {
    /// Counts messages.
    pub(super) const fn count(&mut self, messages: usize, now: Moment) {
        self.messages = self.messages.saturating_add(messages);
        self.last = Some(now);
    }

    /// Returns free memory to the kernel after a burst, or in the quiet after some messages, once
    /// nothing runs. Calls `free` before that.
    pub(super) fn release(&mut self, now: Moment, is_busy: bool, free: impl FnOnce()) {
        if self.is_due(now, is_busy) {
            free();
            memory::release_unused();
        }
    }

    /// Returns the time at which memory is returned if nothing else happens. After that there is
    /// none, so an idle daemon does not wake up.
    pub(super) fn due(&self, is_busy: bool) -> Option<Moment> {
        self.last.filter(|_| !is_busy).map(|last| last + QUIET)
    }

    fn is_due(&mut self, now: Moment, is_busy: bool) -> bool {
        let is_quiet = self.due(is_busy).is_some_and(|due| now >= due);
        let is_due = is_quiet || !is_busy && self.messages >= BURST;
        if is_due {
            *self = Self::default();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::ORIGIN;

    #[test]
    fn memory_is_returned_once_after_a_burst() {
        let mut freed = FreedMemory::default();
        freed.count(BURST - 1, START);
        assert!(!freed.is_due(START, false));
        freed.count(1, START);
        assert!(!freed.is_due(START, true), "its events are still being processed");
        assert!(freed.is_due(START, false));
        assert!(!freed.is_due(START, false), "that was done");
    }

    #[test]
    fn memory_is_returned_once_in_the_quiet_after_a_message() {
        let mut freed = FreedMemory::default();
        assert_eq!(freed.due(false), None);
        freed.count(1, START);
        assert_eq!((freed.due(false), freed.due(true)), (Some(START + QUIET), None));
        assert!(!freed.is_due(START + QUIET / 2, false));
        assert!(!freed.is_due(START + QUIET, true), "a job may need it");
        assert!(freed.is_due(START + QUIET, false));
        assert_eq!(freed.due(false), None);
        assert!(!freed.is_due(START + QUIET * 9, false), "that was done");
    }
}
