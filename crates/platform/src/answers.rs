//! Paths whose file system may not answer, because its server or its FUSE program hangs.
//!
//! Jobs and the poller wait for such file systems on threads of their own. Whoever loads a
//! configuration, or works for several targets, must not: nothing would be transferred, no request
//! answered, and `SIGTERM` would not even end the program.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    mounts::{MountInfo, MountTable},
    threads::count_threads,
};

/// Maximum time for a look.
const LIMIT: Duration = Duration::from_secs(3);

/// Maximum time while another look at the same file system gets no answer.
const LIMIT_BESIDE_ANOTHER: Duration = Duration::from_millis(100);

/// Maximum number of looks at a file system that wait at the same time: each has a thread.
const MAX_WAITING: usize = 16;

/// Maximum time until a look that has its answer has also ended.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The looks that got no answer yet.
static WAITING: Mutex<Vec<Look>> = Mutex::new(Vec::new());

/// The file systems that a look may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// That of the path.
    FileSystem,
    /// Also those that are mounted below the path.
    Below,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    path: PathBuf,
    reach: Reach,
}

/// Looks at the absolute `path` in another thread, which stays as long as the file system does not
/// answer. `None`: it does not.
pub fn within_limit<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> Option<T> {
    within_usual_limit(path, Reach::FileSystem, look)
}

/// As [`within_limit`], for a look that may also reach what is mounted below `path`.
pub fn within_limit_below<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> Option<T> {
    within_usual_limit(path, Reach::Below, look)
}

fn within_usual_limit<T: Send + 'static>(
    path: &Path,
    reach: Reach,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> Option<T> {
    let at = Look { path: path.to_owned(), reach };
    let limit = match at.count_waiting_beside() {
        0 => LIMIT,
        1..MAX_WAITING => LIMIT_BESIDE_ANOTHER,
        _ => return None,
    };
    within(limit, &at, look)
}

fn within<T: Send + 'static, F: FnOnce(&Path) -> T + Send + 'static>(
    limit: Duration,
    at: &Look,
    look: F,
) -> Option<T> {
    // Handed over to a thread that exists, so that it is still here if there is none.
    let (hand_over, handed_over) = mpsc::channel::<F>();
    let (answer, answers) = mpsc::channel();
    let place = at.clone();
    let run = move || {
        let found = handed_over.recv().map(|look| look(&place.path));
        place.end();
        // Nobody receives the answer after the limit.
        let _ = answer.send(found);
    };
    waiting().push(at.clone());
    let Ok(thread) = thread::Builder::new().name("path-look".into()).spawn(run) else {
        at.end();
        // That there are too many threads says nothing about the path.
        return Some(look(&at.path));
    };
    let _ = hand_over.send(look);
    let answer = answers.recv_timeout(limit).ok()?;
    // A process with threads is not forked.
    let _ = thread.join();
    answer.ok()
}

impl Look {
    /// Returns the number of looks without an answer that say something about this one.
    fn count_waiting_beside(&self) -> usize {
        let waiting = waiting().clone();
        let waiting = waiting.iter().filter(|other| other.reach == self.reach);
        match self.reach {
            // Whatever does not answer may be another file system than that of the path.
            Reach::Below => waiting.filter(|other| *other == self).count(),
            Reach::FileSystem if waiting.clone().next().is_none() => 0,
            Reach::FileSystem => {
                let mounts = MountTable::open().and_then(|mut table| table.read());
                let mounts = mounts.unwrap_or_default();
                let mount = mount_point(&mounts, &self.path);
                waiting.filter(|other| mount_point(&mounts, &other.path) == mount).count()
            }
        }
    }

    fn end(&self) {
        let mut waiting = waiting();
        if let Some(at) = waiting.iter().position(|it| it == self) {
            waiting.swap_remove(at);
        }
    }
}

fn waiting() -> MutexGuard<'static, Vec<Look>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The looks without an answer, none of which ends before this is dropped.
pub(crate) struct WaitingLooks(MutexGuard<'static, Vec<Look>>);

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
fn mount_point<'a>(mounts: &'a [MountInfo], path: &Path) -> Option<&'a [u8]> {
    let path = path.as_os_str().as_bytes();
    let contains = |point: &&[u8]| {
        let below = path.strip_prefix(point.strip_suffix(b"/").unwrap_or(point));
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    };
    let points = mounts.iter().map(|mount| &*mount.point).filter(contains);
    points.max_by_key(|point| point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_awaited_until_the_limit() {
        let at = Look { path: "/of this test".into(), reach: Reach::Below };
        let is_waiting = || waiting().contains(&at);
        assert_eq!(within(Duration::from_mins(1), &at, Path::to_owned), Some(at.path.clone()));
        assert!(!is_waiting());
        let (release, hang) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let look = move |_: &Path| {
            let _ = hang.recv();
            ended.send(())
        };
        assert_eq!(within(Duration::from_millis(50), &at, look), None);
        assert!(is_waiting());
        assert_eq!(at.count_waiting_beside(), 1);
        let other = Look { path: "/of this test/below".into(), reach: Reach::Below };
        assert_eq!(other.count_waiting_beside(), 0);
        drop(release);
        end.recv().unwrap();
        while is_waiting() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_mount_point_of_a_path_is_the_nearest_one_above() {
        let mounts = MountTable::open().unwrap().read().unwrap();
        let point = |path| mount_point(&mounts, Path::new(path)).unwrap();
        assert_eq!(point("/proc/self/none"), b"/proc");
        assert_eq!(point("/processes"), b"/");
        assert_eq!(point("/"), b"/");
    }
}
