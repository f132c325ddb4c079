//! Counts what the work of a queue consists of, so that a test can say how it grows and does not
//! have to measure time.

#[cfg(test)]
std::thread_local! {
    static STEPS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Notes that a node was looked up, made, visited or dropped. Nothing outside tests.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// How many steps `work` takes.
#[cfg(test)]
pub(super) fn count(work: impl FnOnce()) -> usize {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}
