//! Cancellation of running jobs.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mirror_platform::{clock::ticks, process_handle::ProcessHandle, processes::descendants};
use rustix::process::{Pid, Signal};

use crate::exec::lock;

/// Time between SIGTERM and SIGKILL. rsync uses it to keep partially transferred files.
pub(super) const KILL_AFTER: Duration = Duration::from_secs(10);

/// Longest wait of a job before its start, such as for a login, during shutdown.
const MAX_WAIT_AT_SHUTDOWN: Duration = Duration::from_secs(2);

/// Cancels a running job from another thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct CancelToken {
    shared: Arc<CancelState>,
}

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    shutting_down: AtomicBool,
    child: Mutex<Option<RunningChild>>,
    /// Called when a worker child starts or exits.
    on_child: Option<Box<dyn Fn() + Send + Sync>>,
    /// Time from which the job counts as cancelled.
    until: Option<Instant>,
}

impl CancelState {
    fn notify(&self) {
        if let Some(notify) = &self.on_child {
            notify();
        }
    }
}

impl fmt::Debug for CancelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cancelled, shutting_down, child, on_child: _, until } = self;
        f.debug_struct("CancelState")
            .field("cancelled", cancelled)
            .field("shutting_down", shutting_down)
            .field("child", child)
            .field("until", until)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct RunningChild {
    pid: Pid,
    handle: ProcessHandle,
    started: u64,
}

impl CancelToken {
    /// Creates a token that calls `on_child`, on the job's thread, when a worker child starts or
    /// exits.
    #[must_use]
    pub(crate) fn with_child_listener(on_child: impl Fn() + Send + Sync + 'static) -> Self {
        let on_child: Option<Box<dyn Fn() + Send + Sync>> = Some(Box::new(on_child));
        Self { shared: Arc::new(CancelState { on_child, ..CancelState::default() }) }
    }

    /// Creates a token that is cancelled at this time, except for a running child.
    #[must_use]
    pub(in crate::exec) fn until(time: Instant) -> Self {
        Self { shared: Arc::new(CancelState { until: Some(time), ..CancelState::default() }) }
    }

    /// Returns true if the job must end. A job without a child checks this between its steps.
    #[must_use]
    pub(in crate::exec) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
            || self.shared.until.is_some_and(|until| until <= Instant::now())
    }

    /// Announces the shutdown of the daemon: running work continues, and waits before the start of
    /// work become short.
    pub(crate) fn announce_shutdown(&self) {
        self.shared.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Returns true if the job must end, or if a shutdown was announced and the job has waited
    /// since `began` for longer than it may during a shutdown.
    #[must_use]
    pub(in crate::exec) fn is_cancelled_while_waiting(&self, began: Instant) -> bool {
        let is_shutting_down = self.shared.shutting_down.load(Ordering::Relaxed);
        self.is_cancelled() || is_shutting_down && began.elapsed() >= MAX_WAIT_AT_SHUTDOWN
    }

    /// Cancels the job: its child and what that has started receive SIGTERM, and later SIGKILL if
    /// they are still running.
    pub(crate) fn cancel(&self) {
        let child = lock(&self.shared.child);
        self.shared.cancelled.store(true, Ordering::Relaxed);
        if let Some(child) = &*child {
            terminate_tree(child.pid, &child.handle);
        }
    }

    /// Returns the worker child and its start time, in ticks of `times(2)`.
    #[must_use]
    pub(crate) fn child(&self) -> Option<(Pid, u64)> {
        let child = lock(&self.shared.child);
        child.as_ref().map(|child| (child.pid, child.started))
    }

    /// Registers the worker child until the guard is dropped. The child must not have been waited
    /// for yet.
    ///
    /// # Errors
    ///
    /// As [`ProcessHandle::open`].
    pub(in crate::exec) fn register_child(&self, pid: Pid) -> io::Result<RegisteredChild<'_>> {
        let handle = ProcessHandle::open(pid)?;
        let mut child = lock(&self.shared.child);
        if self.is_cancelled() {
            terminate_tree(pid, &handle);
        }
        *child = Some(RunningChild { pid, handle, started: ticks() });
        drop(child);
        self.shared.notify();
        Ok(RegisteredChild { cancel: self })
    }
}

/// Terminates a child and its descendants: the programs of a shell would outlive it.
fn terminate_tree(pid: Pid, child: &ProcessHandle) {
    let descendants = descendants(pid);
    // First the child, or a shell would go on with the next program.
    terminate(child, KILL_AFTER);
    // Fails only for a process that has exited by itself.
    let handles = descendants.into_iter().filter_map(|pid| ProcessHandle::open(pid).ok());
    handles.for_each(|descendant| terminate(&descendant, KILL_AFTER));
}

/// Terminates a process with SIGTERM, and with SIGKILL after `grace`: a job that never ends would
/// block the jobs queued behind it.
pub(super) fn terminate(child: &ProcessHandle, grace: Duration) {
    // Fails only if the child has exited by itself.
    let _ = child.signal(Signal::TERM);
    let Ok(child) = child.try_clone() else { return };
    let kill = move || {
        if !child.exits_within(grace) {
            let _ = child.signal(Signal::KILL);
        }
    };
    // Without a thread, the child alone decides about its end.
    let _ = thread::Builder::new().name("stop".into()).spawn(kill);
}

/// Guard of a registration: the child receives the signals of [`CancelToken::cancel`] while the
/// guard lives.
#[derive(Debug)]
pub(in crate::exec) struct RegisteredChild<'a> {
    cancel: &'a CancelToken,
}

impl Drop for RegisteredChild<'_> {
    fn drop(&mut self) {
        *lock(&self.cancel.shared.child) = None;
        self.cancel.shared.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    /// Returns the signal that ended a child which has run `first` and then waits.
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
        let handle = ProcessHandle::open(Pid::from_child(&child)).unwrap();
        // `wait` would close stdin, and cat would exit.
        let stdin = child.stdin.take();
        terminate(&handle, grace);
        let signal = child.wait().unwrap().signal();
        drop(stdin);
        signal
    }

    #[test]
    fn a_child_that_ignores_sigterm_is_killed() {
        assert_eq!(ended_by("trap '' TERM", Duration::from_millis(20)), Some(9));
        assert_eq!(ended_by(":", Duration::from_mins(10)), Some(15));
    }

    #[test]
    fn the_programs_of_a_shell_end_with_it() {
        let mut child = Command::new("sh")
            .args(["-c", "trap : WINCH; { sleep 600; }; echo more"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let program = loop {
            if let [program] = descendants(pid)[..] {
                break ProcessHandle::open(program).unwrap();
            }
            thread::yield_now();
        };
        let cancel = CancelToken::default();
        let registered = cancel.register_child(pid).unwrap();
        cancel.cancel();
        assert!(program.exits_within(Duration::from_mins(1)));
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert_eq!((child.wait().unwrap().signal(), &*printed), (Some(15), ""));
        drop(registered);
    }
}
