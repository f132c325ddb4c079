//! The clock by which the original counts: `times(2)`.

/// The ticks since some point in the past, the same for every process of this machine. There are
/// [`ticks_per_second`].
#[must_use]
pub fn ticks() -> u64 {
    // Linux takes a null pointer for "only the clock", and can't fail then: what looks like an
    // error in libc's eyes is a value near the overflow.
    // SAFETY: nothing is written through a null pointer.
    let ticks = unsafe { libc::times(std::ptr::null_mut()) };
    ticks.cast_unsigned()
}

/// How many ticks a second has: 100, on all machines that are left.
#[must_use]
pub fn ticks_per_second() -> u32 {
    // SAFETY: it takes a number and gives one.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn ticks_go_on_with_the_time() {
        let per_second = f64::from(ticks_per_second());
        // However long this thread stands still between two of these.
        let (outer, first, inner) = (Instant::now(), ticks(), Instant::now());
        while inner.elapsed() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        let (shortest, last, longest) = (inner.elapsed(), ticks(), outer.elapsed());
        let passed = f64::from(u32::try_from(last - first).expect("a short time")) / per_second;
        let (shortest, longest) = (shortest.as_secs_f64() - 0.5, longest.as_secs_f64() + 0.5);
        assert!(
            shortest < passed && passed < longest,
            "{passed} seconds, between {shortest} and {longest}"
        );
    }
}
