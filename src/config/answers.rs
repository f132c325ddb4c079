//! Paths whose file system may not answer, because its server or its FUSE program hangs.
//!
//! Jobs and the poller wait for such file systems on threads of their own. Whoever loads a
//! configuration must not: nothing would be transferred, no request answered, and `SIGTERM` would
//! not even end the program.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Maximum time for a look.
const LIMIT: Duration = Duration::from_secs(3);

/// Maximum time while another look gets no answer: many paths may be on the same file system.
const LIMIT_BESIDE_ANOTHER: Duration = Duration::from_millis(300);

/// Number of looks that got no answer yet.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Looks at a path in another thread, which stays as long as its file system does not answer.
/// `None`: it does not.
pub(crate) fn within_limit<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let limit = if WAITING.load(Ordering::Relaxed) == 0 { LIMIT } else { LIMIT_BESIDE_ANOTHER };
    within(limit, look)
}

fn within<T: Send + 'static>(
    limit: Duration,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answers) = mpsc::channel();
    let look = move || {
        let found = look();
        // Counted down before the answer: whoever has it sees the right number.
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Nobody receives the answer after the limit.
        let _ = answer.send(found);
    };
    WAITING.fetch_add(1, Ordering::Relaxed);
    if thread::Builder::new().name("path-look".into()).spawn(look).is_err() {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    answers.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_awaited_until_the_limit() {
        assert_eq!(within(Duration::from_mins(1), || 1), Some(1));
        let (release, hang) = mpsc::channel::<()>();
        let look = move || hang.recv().is_err();
        assert_eq!(within(Duration::from_millis(50), look), None);
        drop(release);
    }
}
