//! Backoff for the start of processes.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::{cancel::CancelToken, end::ChildLimit};

/// Returns true if this is a temporary shortage of processes, descriptors or memory.
fn is_resource_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Retries with backoff while a system resource is short: other processes hold it and release it
/// when they exit.
#[derive(Debug)]
pub(in crate::exec) struct SpawnBackoff<'a> {
    cancel: &'a CancelToken,
    until: Option<Instant>,
    tries: u32,
}

impl<'a> SpawnBackoff<'a> {
    /// The first delay. Each further delay is twice as long.
    const FIRST_DELAY: Duration = Duration::from_millis(20);

    /// Limit on doublings: the delay grows to somewhat more than a second.
    const MAX_DOUBLINGS: u32 = 6;

    pub(in crate::exec) const fn new(cancel: &'a CancelToken, limit: ChildLimit) -> Self {
        let until = if let ChildLimit::Deadline(until) = limit { Some(until) } else { None };
        Self { cancel, until, tries: 0 }
    }

    /// Sleeps after this error. Returns false if a retry is pointless.
    pub(in crate::exec) fn wait_after(&mut self, error: &io::Error) -> bool {
        let is_over = self.until.is_some_and(|until| until <= Instant::now());
        if !is_resource_shortage(error) || is_over || self.cancel.is_cancelled() {
            return false;
        }
        thread::sleep(Self::FIRST_DELAY * 2_u32.pow(self.tries.min(Self::MAX_DOUBLINGS)));
        self.tries += 1;
        !self.cancel.is_cancelled()
    }

    /// Returns true after the first wait, the one that is worth a warning.
    pub(in crate::exec) const fn is_first_wait(&self) -> bool {
        self.tries == 1
    }

    /// Runs `act` until it succeeds or fails for another reason than a shortage.
    pub(super) fn retry<T>(&mut self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if self.wait_after(&error) => {}
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_shortage_is_retried_until_the_job_is_cancelled() {
        let cancel = CancelToken::default();
        let mut backoff = SpawnBackoff::new(&cancel, ChildLimit::Unlimited);
        let mut left = 3;
        let done = backoff.retry(|| {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(Errno::MFILE.into()) }
        });
        assert_eq!(done.unwrap(), 7);
        let mut tries = 0;
        let stopped = backoff.retry(|| -> io::Result<()> {
            tries += 1;
            if tries == 2 {
                cancel.cancel();
            }
            Err(Errno::AGAIN.into())
        });
        assert_eq!(stopped.unwrap_err().raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
        let mut backoff = SpawnBackoff::new(&cancel, ChildLimit::Unlimited);
        assert!(backoff.retry(|| Err::<(), _>(io::Error::from(Errno::NOENT))).is_err());
        let over = CancelToken::default();
        let mut backoff = SpawnBackoff::new(&over, ChildLimit::Deadline(Instant::now()));
        assert!(backoff.retry(|| Err::<(), _>(io::Error::from(Errno::NOMEM))).is_err());
    }
}
