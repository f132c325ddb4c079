//! Counts the elementary steps of a queue, so that a test can check the complexity without
//! measuring time.

#[cfg(test)]
std::thread_local! {
    static STEPS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Counts a node that is looked up, created, visited or dropped. Does nothing outside of tests.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// The number of steps of `work`.
#[cfg(test)]
pub(super) fn count(work: impl FnOnce()) -> usize {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}
