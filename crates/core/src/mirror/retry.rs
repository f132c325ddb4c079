//! Backoff between retries of a job.

use core::time::Duration;

use super::TargetHost;

/// The longest wait between two tries of a target on this machine, where a change of its state is
/// noticed at once.
pub const MAX_RETRY_WAIT: Duration = Duration::from_mins(5);

/// The longest wait between two tries of a target elsewhere: that it is back is to be noticed
/// within a minute.
const MAX_REMOTE_RETRY_WAIT: Duration = Duration::from_secs(50);

/// Waits that double with each try, with a random part, so that many mirrors of one target do not
/// retry simultaneously.
#[derive(Clone, Debug)]
pub(super) struct RetryBackoff {
    first: Duration,
    longest: Duration,
    tries: u32,
    random: u64,
}

impl RetryBackoff {
    /// Waits that start with `first` and grow as long as suits the host of the target. Mirrors
    /// with different seeds spread.
    #[must_use]
    pub(super) const fn new(first: Duration, host: TargetHost, seed: u64) -> Self {
        let longest = match host {
            TargetHost::Local => MAX_RETRY_WAIT,
            TargetHost::Remote => MAX_REMOTE_RETRY_WAIT,
        };
        Self { first, longest, tries: 0, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// The wait after one more failure: first exactly `first`, then twice the previous wait, at
    /// most the longest one, less up to a quarter of it.
    pub(super) fn next_wait(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(factor).min(self.longest.max(self.first));
        let jitter = wait / 4 * self.next_percent() / 100;
        let wait = if self.tries == 0 { wait } else { wait.saturating_sub(jitter) };
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// Restarts the backoff after a success.
    pub(super) const fn reset(&mut self) {
        self.tries = 0;
    }

    /// A number from 0 to 99 by xorshift; it need not be good, only different.
    fn next_percent(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random % 100).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn waits_double_to_a_maximum_and_restart_after_a_success() {
        let mut retry = RetryBackoff::new(Duration::from_secs(1), TargetHost::Local, 7);
        assert_eq!(retry.next_wait(), Duration::from_secs(1));
        let mut full = Duration::from_secs(2);
        for _ in 0..40 {
            let wait = retry.next_wait();
            assert!(wait <= full && wait >= full * 3 / 4, "{wait:?} of {full:?}");
            full = (full * 2).min(MAX_RETRY_WAIT);
        }
        retry.reset();
        assert_eq!(retry.next_wait(), Duration::from_secs(1));
    }

    #[test]
    fn mirrors_of_one_target_spread() {
        let total = |seed| {
            let mut retry = RetryBackoff::new(Duration::from_secs(1), TargetHost::Local, seed);
            (0..6).map(|_| retry.next_wait()).sum::<Duration>()
        };
        let mut waits: Vec<_> = (0..20).map(total).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 15);
    }

    #[test]
    fn a_long_delay_is_never_shortened() {
        let mut retry = RetryBackoff::new(Duration::from_mins(15), TargetHost::Local, 1);
        assert_eq!(retry.next_wait(), Duration::from_mins(15));
    }
}
