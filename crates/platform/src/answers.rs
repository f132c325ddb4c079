//! Paths whose file system may not answer, because its server or its FUSE program hangs.
//!
//! Jobs and the poller wait for such file systems on threads of their own. Whoever loads a
//! configuration, or works for several targets, must not: nothing would be transferred, no request
//! answered, and `SIGTERM` would not even end the program.

use std::{
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{mounts::MountTable, threads::count_threads};

/// Maximum time for a look.
const LIMIT: Duration = Duration::from_secs(3);

/// Maximum time while another look at the same file system gets no answer.
const LIMIT_BESIDE_ANOTHER: Duration = Duration::from_millis(100);

/// Maximum number of looks at a file system that wait at the same time: each has a thread.
const MAX_WAITING: usize = 16;

/// Maximum time until a look that has its answer has also ended.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Mount points of the looks that got no answer yet, or paths with a slash behind them.
static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Looks at the absolute `path` in another thread, which stays as long as the file system does not
/// answer. `None`: it does not.
pub fn within_limit<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    within_usual_limit(&mount_point(path), look)
}

/// As [`within_limit`], for a look that may also reach what is mounted below `path`.
pub fn within_limit_below<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    // No mount point: whatever does not answer may be another file system.
    within_usual_limit(&path.join("").into_os_string().into_vec(), look)
}

fn within_usual_limit<T: Send + 'static>(
    mount: &[u8],
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let limit = match waiting().iter().filter(|it| *it == mount).count() {
        0 => LIMIT,
        1..MAX_WAITING => LIMIT_BESIDE_ANOTHER,
        _ => return None,
    };
    within(limit, mount, look)
}

fn within<T: Send + 'static>(
    limit: Duration,
    mount: &[u8],
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answers) = mpsc::channel();
    let (key, look) = (mount.to_owned(), Arc::new(Mutex::new(Some(look))));
    let take = |look: &Mutex<Option<_>>| look.lock().ok().and_then(|mut look| look.take());
    let theirs = Arc::clone(&look);
    let run = move || {
        let found = take(&theirs).map(|look| look());
        end_wait(&key);
        // Nobody receives the answer after the limit.
        let _ = answer.send(found);
    };
    waiting().push(mount.to_owned());
    let Ok(thread) = thread::Builder::new().name("path-look".into()).spawn(run) else {
        end_wait(mount);
        // That there are too many threads says nothing about the path.
        return take(&look).map(|look| look());
    };
    let answer = answers.recv_timeout(limit).ok()?;
    // A process with threads is not forked.
    let _ = thread.join();
    answer
}

fn end_wait(mount: &[u8]) {
    let mut waiting = waiting();
    if let Some(at) = waiting.iter().position(|it| it == mount) {
        waiting.swap_remove(at);
    }
}

fn waiting() -> MutexGuard<'static, Vec<Vec<u8>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The looks without an answer, none of which ends before this is dropped.
pub(crate) struct WaitingLooks(MutexGuard<'static, Vec<Vec<u8>>>);

impl WaitingLooks {
    /// Waits until this process has no other threads than those of looks without an answer.
    ///
    /// # Errors
    ///
    /// If it has other ones, or their number is unknown.
    pub(crate) fn without_other_threads(purpose: &str) -> io::Result<Self> {
        let end = Instant::now() + END_LIMIT;
        loop {
            let waiting = waiting();
            if count_threads()? == 1 + waiting.len() {
                return Ok(Self(waiting));
            }
            drop(waiting);
            if end <= Instant::now() {
                let text = format!("cannot {purpose}: the process has more than one thread");
                return Err(io::Error::other(text));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Forgets them in a new process, which does not have their threads.
    pub(crate) fn forget(mut self) {
        self.0.clear();
    }
}

/// Returns the mount point of a path as it is spelled: a symbolic link can't be followed here.
fn mount_point(path: &Path) -> Vec<u8> {
    let mounts = MountTable::open().and_then(|mut table| table.read()).unwrap_or_default();
    let path = path.as_os_str().as_bytes();
    let contains = |point: &[u8]| {
        let below = path.strip_prefix(point.strip_suffix(b"/").unwrap_or(point));
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    };
    let points = mounts.into_iter().map(|mount| mount.point).filter(|point| contains(point));
    points.max_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_awaited_until_the_limit() {
        let mount = b"/of this test";
        let is_waiting = || waiting().iter().any(|it| it == mount);
        assert_eq!(within(Duration::from_mins(1), mount, || 1), Some(1));
        assert!(!is_waiting());
        let (release, hang) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let look = move || {
            let _ = hang.recv();
            ended.send(())
        };
        assert_eq!(within(Duration::from_millis(50), mount, look), None);
        assert!(is_waiting());
        drop(release);
        end.recv().unwrap();
        while is_waiting() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_mount_point_of_a_path_is_the_nearest_one_above() {
        assert_eq!(mount_point(Path::new("/proc/self/none")), b"/proc");
        assert_eq!(mount_point(Path::new("/processes")), b"/");
        assert_eq!(mount_point(Path::new("/")), b"/");
    }
}
