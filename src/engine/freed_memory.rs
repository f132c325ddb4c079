//! Memory that is free after bursts of messages.

use mirror_platform::memory;

/// Number of messages after which free memory is returned to the kernel.
const BURST: usize = 250;

/// Counter of messages. The allocator keeps the memory of the events of a burst, such as that after
/// an overflow, although they are processed.
#[derive(Debug, Default)]
pub(super) struct FreedMemory {
    messages: usize,
}

impl FreedMemory {
    /// Counts messages.
    pub(super) const fn count(&mut self, messages: usize) {
        self.messages = self.messages.saturating_add(messages);
    }

    /// Returns free memory to the kernel after a burst, once nothing runs. An idle daemon does not
    /// wake up for that: it is called before the engine waits.
    pub(super) fn release(&mut self, is_busy: bool) {
        if self.is_due(is_busy) {
            memory::release_unused();
        }
    }

    const fn is_due(&mut self, is_busy: bool) -> bool {
        let is_due = !is_busy && self.messages >= BURST;
        if is_due {
            self.messages = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_returned_once_after_a_burst() {
        let mut freed = FreedMemory::default();
        freed.count(BURST - 1);
        assert!(!freed.is_due(false));
        freed.count(1);
        assert!(!freed.is_due(true), "its events are still being processed");
        assert!(freed.is_due(false));
        assert!(!freed.is_due(false), "that was done");
    }
}
