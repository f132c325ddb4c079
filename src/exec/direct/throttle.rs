//! Bandwidth limit for writes.

use std::{
    num::NonZeroU64,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::exec::lock;

/// Interval between two checks for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Number of chunks into which the bytes of a second are divided.
const CHUNKS_PER_SECOND: u64 = 4;

/// Bandwidth limit shared by all threads of an executor.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: NonZeroU64,
    /// Time at which the next bytes may be written.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Creates a limit of bytes per second.
    pub(super) const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, next: Mutex::new(None) }
    }

    /// Returns the number of bytes that are written between two waits.
    pub(super) fn chunk_size(&self) -> u64 {
        (self.bytes_per_second.get() / CHUNKS_PER_SECOND).max(4096)
    }

    /// Waits until the bytes may be written. Returns false if `go_on` returned false in the
    /// meantime.
    pub(super) fn wait(&self, bytes: u64, go_on: &dyn Fn() -> bool) -> bool {
        let nanoseconds =
            u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut next = lock(&self.next);
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
            thread::sleep(left.min(POLL_INTERVAL));
        }
        go_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_wait_for_earlier_writes() {
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
