//! Watchdog for calls that take long or never return.

use std::{
    fmt,
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mlua::{Error, HookTriggers, Lua, Result, VmState};

use crate::{
    lock,
    report::{Category, Log},
};

/// Duration from which a call is reported when it has returned.
const SLOW_CALL: Duration = Duration::from_secs(1);

/// Duration from which a call is reported while it is still running.
const STUCK_CALL: Duration = Duration::from_secs(10);

/// Time that a call may continue after the daemon was asked to exit.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Number of Lua instructions between two checks: some thousand checks a second.
const CHECK_INTERVAL: u32 = 100_000;

/// Interval of checks once a call must be aborted. Code that catches the error gets another one as
/// soon as it continues.
const ABORT_INTERVAL: u32 = 1;

/// Watches the calls of one Lua state.
#[derive(Default)]
pub(super) struct Watchdog {
    log: Log,
    /// True once the daemon was asked to exit.
    exit_requested: Arc<AtomicBool>,
    state: Arc<WatchdogState>,
}

/// State shared with the thread that reports a running call. The call may be waiting for a program,
/// and then executes no Lua instruction.
#[derive(Debug, Default)]
struct WatchdogState {
    call: Mutex<WatchedCall>,
    wakeup: Condvar,
}

/// The running call, if any.
#[derive(Debug, Default)]
struct WatchedCall {
    /// Name of the call for messages.
    name: String,
    began: Option<Instant>,
    is_reported: bool,
    /// True while the thread waits for the next call.
    is_thread_idle: bool,
    is_shut_down: bool,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Installs a watchdog. A call can be aborted between Lua instructions, but not while it waits
    /// for a program.
    pub(super) fn install(
        lua: &Lua,
        log: Log,
        exit_requested: Arc<AtomicBool>,
    ) -> Result<Rc<Self>> {
        let watchdog = Rc::new(Self { log: log.clone(), exit_requested, state: Arc::default() });
        let shared = Rc::clone(&watchdog);
        shared.check_every(CHECK_INTERVAL, lua)?;
        let state = Arc::clone(&watchdog.state);
        // Without the thread a long call is reported after it has returned.
        let _ = thread::Builder::new()
            .name("guard".into())
            .spawn(move || state.report_stuck_calls(&log));
        Ok(watchdog)
    }

    fn check_every(self: Rc<Self>, steps: u32, lua: &Lua) -> Result<()> {
        let often = HookTriggers::new().every_nth_instruction(steps);
        lua.set_global_hook(often, move |lua, _| self.check(lua))
    }

    /// Records the start of a call with this name.
    pub(super) fn enter(&self, call: &str) {
        self.state.enter(call, Instant::now());
    }

    /// Records the end of the call.
    pub(super) fn leave(&self) {
        let mut call = self.state.call();
        let took = call.began.take().map(|began| began.elapsed()).unwrap_or_default();
        if took >= SLOW_CALL {
            let (name, seconds) = (&call.name, took.as_secs_f64());
            let text = format!("{name} blocked the event loop for {seconds:.1} s");
            self.log.say(Category::Warn, text);
        }
    }

    fn check(self: &Rc<Self>, lua: &Lua) -> Result<VmState> {
        if self.exit_requested.load(Ordering::Relaxed) && self.state.call().elapsed() >= EXIT_GRACE
        {
            // The hook applies to the running coroutine, and to those created later.
            Rc::clone(self).check_every(ABORT_INTERVAL, lua)?;
            return Err(Error::runtime("stopped, since the daemon exits"));
        }
        Ok(VmState::Continue)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.state.call().is_shut_down = true;
        self.state.wakeup.notify_one();
    }
}

impl WatchdogState {
    fn call(&self) -> MutexGuard<'_, WatchedCall> {
        lock(&self.call)
    }

    fn enter(&self, name: &str, began: Instant) {
        let mut call = self.call();
        name.clone_into(&mut call.name);
        call.began = Some(began);
        call.is_reported = false;
        // Otherwise the thread wakes when an earlier call would have taken too long.
        if call.is_thread_idle {
            self.wakeup.notify_one();
        }
    }

    /// Reports each call that does not return, until shutdown.
    fn report_stuck_calls(&self, log: &Log) {
        let mut call = self.call();
        while !call.is_shut_down {
            call.is_thread_idle = call.began.is_none() || call.is_reported;
            let left = STUCK_CALL.saturating_sub(call.elapsed());
            call = if call.is_thread_idle {
                self.wakeup.wait(call).unwrap_or_else(PoisonError::into_inner)
            } else if !left.is_zero() {
                self.wakeup.wait_timeout(call, left).unwrap_or_else(PoisonError::into_inner).0
            } else {
                call.is_reported = true;
                let (name, seconds) = (&call.name, call.elapsed().as_secs());
                let text = format!("{name} blocks the event loop: no return for {seconds} s");
                log.say(Category::Warn, text);
                call
            };
        }
    }
}

impl WatchedCall {
    /// Returns the duration of the call so far.
    fn elapsed(&self) -> Duration {
        self.began.map(|began| began.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(seconds_ago: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds_ago)).unwrap()
    }

    /// Creates a Lua state in which a call has been running for 20 seconds.
    fn stuck_call(is_exiting: bool) -> (Lua, Rc<Watchdog>) {
        let (lua, exit_requested) = (Lua::new(), Arc::new(AtomicBool::new(is_exiting)));
        let watchdog = Watchdog::install(&lua, Log::default(), exit_requested).unwrap();
        watchdog.state.enter("a test", began(20));
        (lua, watchdog)
    }

    #[test]
    fn an_endless_call_is_aborted_when_the_daemon_exits() {
        let codes = [
            "while true do end",
            "coroutine.wrap(function() while true do end end)()",
            "while true do pcall(function() while true do end end) end",
            "local function f() while true do pcall(function() while true do end end) end end
             while true do pcall(f) end",
            "local function f() while true do pcall(function() while true do end end) end end
             while true do pcall(coroutine.wrap(f)) end",
        ];
        for code in codes {
            let (lua, _watchdog) = stuck_call(true);
            let error = lua.load(code).exec().unwrap_err();
            assert!(error.to_string().contains("the daemon exits"), "{error}");
        }
    }

    #[test]
    fn a_long_call_is_reported_and_continues() {
        let (lua, watchdog) = stuck_call(false);
        let is_reported = || watchdog.state.call().is_reported;
        // No instruction is executed meanwhile, as when the call waits for a program.
        while !is_reported() {
            thread::yield_now();
        }
        lua.load("for n = 1, 1000000 do end").exec().unwrap();
        watchdog.leave();
        watchdog.state.enter("another", began(20));
        while !is_reported() {
            thread::yield_now();
        }
        watchdog.enter("a quick one");
        assert!(!is_reported());
    }
}
