//! A limit for how much is written in a second.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long is slept between two looks at whether to go on.
const NAP: Duration = Duration::from_millis(100);
/// How much time's worth of bytes is written at once.
const PIECE: u64 = 4;

/// A limit for how much all threads of an executor write in a second.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: NonZeroU64,
    /// When the next bytes may be written.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    /// At most so many bytes in a second.
    pub(super) const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, next: Mutex::new(None) }
    }

    /// How many bytes are written between two waits.
    pub(super) fn piece(&self) -> u64 {
        (self.bytes_per_second.get() / PIECE).max(4096)
    }

    /// Waits until so many bytes may be written. Returns false if `go_on` said no meanwhile.
    pub(super) fn wait(&self, bytes: u64, go_on: &dyn Fn() -> bool) -> bool {
        let nanoseconds =
            u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let start = next.map_or(now, |next| next.max(now));
        *next = Some(start + cost);
        drop(next);
        while let Some(left) = start.checked_duration_since(Instant::now()) {
            if !go_on() {
                return false;
            }
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(NAP));
        }
        go_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_is_waited_for() {
        let throttle = Throttle::new(NonZeroU64::new(100_000).unwrap());
        let start = Instant::now();
        for _ in 0..5 {
            assert!(throttle.wait(5_000, &|| true));
        }
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert!(!throttle.wait(1 << 40, &|| false));
        assert!(!throttle.wait(1, &|| false));
    }
}
