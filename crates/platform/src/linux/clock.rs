//! The clock that the original Lsyncd counts by: `times(2)`.

/// Returns the ticks since some point in the past, the same for every process of this machine. A
/// second has [`ticks_per_second`] ticks.
#[must_use]
pub fn ticks() -> u64 {
    // Linux accepts a null pointer for "only the clock", and can't fail then: a value that libc
    // takes for an error is one near the overflow.
    // SAFETY: nothing is written through a null pointer.
    let ticks = unsafe { libc::times(std::ptr::null_mut()) };
    ticks.cast_unsigned()
}

/// Returns the number of ticks in a second: 100 on all machines in use today.
#[must_use]
pub fn ticks_per_second() -> u32 {
    // SAFETY: the call takes a number and returns one.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn ticks_advance_with_time() {
        let per_second = f64::from(ticks_per_second());
        // The bounds hold however long this thread is suspended between two of these calls.
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
