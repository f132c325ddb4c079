//! How a running job is asked to end.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_platform::clock::ticks;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// How long a child may go on after SIGTERM. rsync takes it to keep what it has of a file.
const GRACE: Duration = Duration::from_secs(10);

/// How long a job may wait for something before it begins, such as a login, when all is to end.
const HURRIED_WAIT: Duration = Duration::from_secs(2);

/// Asks a running job to end, from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: AtomicBool,
    hurried: AtomicBool,
    child: Mutex<Option<Child>>,
    /// Called when a child begins or ends to do the work.
    on_child: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    fn tell(&self) {
        if let Some(tell) = &self.on_child {
            tell();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, hurried, child, on_child: _ } = self;
        f.debug_struct("Shared")
            .field("asked", asked)
            .field("hurried", hurried)
            .field("child", child)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Child {
    pid: Pid,
    handle: OwnedFd,
    started: u64,
}

impl Stop {
    /// One that calls `on_child`, on the job's thread, when a child begins or ends to do the work.
    #[must_use]
    pub fn telling(on_child: impl Fn() + Send + Sync + 'static) -> Self {
        let on_child: Option<Box<dyn Fn() + Send + Sync>> = Some(Box::new(on_child));
        Self { shared: Arc::new(Shared { on_child, ..Shared::default() }) }
    }

    /// Whether the job should end. A job without a child looks here between its steps.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Tells the job that all is to end soon: what it does goes on, and what it waits for may not be
    /// worth it.
    pub fn hurry(&self) {
        self.shared.hurried.store(true, Ordering::Relaxed);
    }

    /// Whether the job should end, or all is to end soon and it waits for something since `began`, which
    /// should not take so long.
    #[must_use]
    pub fn is_asked_of_who_waits(&self, began: Instant) -> bool {
        let is_hurried = self.shared.hurried.load(Ordering::Relaxed);
        self.is_asked() || is_hurried && began.elapsed() >= HURRIED_WAIT
    }

    /// Asks the job to end: a child gets SIGTERM, and SIGKILL if that does not help.
    pub fn ask(&self) {
        let child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.asked.store(true, Ordering::Relaxed);
        if let Some(child) = &*child {
            end(&child.handle, GRACE);
        }
    }

    /// The child that does the work, and when it was started, in ticks of `times(2)`.
    #[must_use]
    pub fn child(&self) -> Option<(Pid, u64)> {
        let child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_ref().map(|child| (child.pid, child.started))
    }

    /// Names the child that does the work, until the guard is dropped. The child must not have
    /// been waited for yet.
    ///
    /// # Errors
    ///
    /// As `pidfd_open(2)`.
    pub fn watch(&self, pid: Pid) -> io::Result<Watched<'_>> {
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        let mut child = self.shared.child.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_asked() {
            end(&fd, GRACE);
        }
        *child = Some(Child { pid, handle: fd, started: ticks() });
        drop(child);
        self.shared.tell();
        Ok(Watched { stop: self })
    }
}

/// Has a child end: by SIGTERM, and after `grace` by SIGKILL, since a job that never ends holds back
/// whoever waits for its place.
fn end(child: &OwnedFd, grace: Duration) {
    // It fails only when the child has ended by itself.
    let _ = pidfd_send_signal(child, Signal::TERM);
    let Ok(child) = child.try_clone() else { return };
    let kill = move || {
        if !ends_within(&child, grace) {
            let _ = pidfd_send_signal(&child, Signal::KILL);
        }
    };
    // Without a thread it is left to the child.
    let _ = thread::Builder::new().name("stop".into()).spawn(kill);
}

fn ends_within(child: &OwnedFd, grace: Duration) -> bool {
    let Ok(grace) = Timespec::try_from(grace) else { return false };
    let mut ended = [PollFd::new(child, PollFlags::IN)];
    poll(&mut ended, Some(&grace)).is_ok_and(|number| number > 0)
}

/// The time during which a child gets the signal of [`Stop::ask`].
#[derive(Debug)]
pub struct Watched<'a> {
    stop: &'a Stop,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        *self.stop.shared.child.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.stop.shared.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    /// What ends a child that has done `first` and then waits.
    fn ended_by(first: &str, grace: Duration) -> Option<i32> {
        let script = format!("{first}; echo; exec cat");
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut String::new()).unwrap();
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        // `wait` closes stdin, and cat would end.
        let stdin = child.stdin.take();
        end(&handle, grace);
        let signal = child.wait().unwrap().signal();
        drop(stdin);
        signal
    }

    #[test]
    fn a_child_that_does_not_listen_is_killed() {
        assert_eq!(ended_by("trap '' TERM", Duration::from_millis(20)), Some(9));
        assert_eq!(ended_by(":", Duration::from_mins(10)), Some(15));
    }
}
