//! An eye on calls that take long, or do not return.

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

use crate::report::{Category, Log};

/// How long a call may take before that is told when it is over.
const SLOW: Duration = Duration::from_secs(1);

/// How long it may take before that is told while it goes on.
const ENDLESS: Duration = Duration::from_secs(10);

/// How long it may go on when the daemon is asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// After so many steps of Lua it is looked at, some thousand times a second.
const STEPS: u32 = 100_000;

/// Once it is to end. What catches errors and goes on gets one again outside of that.
const EACH_STEP: u32 = 1;

/// Watches the calls of one state of Lua.
#[derive(Default)]
pub(super) struct Guard {
    log: Log,
    /// Whether the daemon is asked to end.
    ending: Arc<AtomicBool>,
    clock: Arc<Clock>,
}

/// What the thread looks at that tells of a call while it goes on: that may wait for a program, and
/// then no step of Lua is done.
#[derive(Debug, Default)]
struct Clock {
    call: Mutex<Call>,
    bell: Condvar,
}

/// The call that goes on, if one does.
#[derive(Debug, Default)]
struct Call {
    /// What people call it.
    name: String,
    began: Option<Instant>,
    is_told: bool,
    /// Whether the thread waits for a call to begin.
    is_awaited: bool,
    is_over: bool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Guard {
    /// Watches this state. Between the steps of Lua it can be ended, within a program that it
    /// waits for it can't.
    pub(super) fn install(lua: &Lua, log: Log, ending: Arc<AtomicBool>) -> Result<Rc<Self>> {
        let guard = Rc::new(Self { log: log.clone(), ending, clock: Arc::default() });
        let its = Rc::clone(&guard);
        its.look_every(STEPS, lua)?;
        let clock = Arc::clone(&guard.clock);
        // Without a thread what takes long is told when it is over.
        let _ = thread::Builder::new().name("guard".into()).spawn(move || clock.watch(&log));
        Ok(guard)
    }

    fn look_every(self: Rc<Self>, steps: u32, lua: &Lua) -> Result<()> {
        let often = HookTriggers::new().every_nth_instruction(steps);
        lua.set_global_hook(often, move |lua, _| self.look(lua))
    }

    /// A call begins, which people know by this name.
    pub(super) fn enter(&self, call: &str) {
        self.clock.enter(call, Instant::now());
    }

    /// It is over.
    pub(super) fn leave(&self) {
        let mut call = self.clock.call();
        let took = call.began.take().map(|began| began.elapsed()).unwrap_or_default();
        if took >= SLOW {
            let (name, seconds) = (&call.name, took.as_secs_f64());
            let text = format!("{name} took {seconds:.1} seconds: so long nothing else was begun");
            self.log.say(Category::Warn, text);
        }
    }

    fn look(self: &Rc<Self>, lua: &Lua) -> Result<VmState> {
        if self.ending.load(Ordering::Relaxed) && self.clock.call().took() >= GRACE {
            // That is for the coroutine which runs, and for those that are made from now on.
            Rc::clone(self).look_every(EACH_STEP, lua)?;
            return Err(Error::runtime("ended, since the daemon is asked to end"));
        }
        Ok(VmState::Continue)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.clock.call().is_over = true;
        self.clock.bell.notify_one();
    }
}

impl Clock {
    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, name: &str, began: Instant) {
        let mut call = self.call();
        name.clone_into(&mut call.name);
        call.began = Some(began);
        call.is_told = false;
        // Else it looks again when an earlier call would have taken too long.
        if call.is_awaited {
            self.bell.notify_one();
        }
    }

    /// Tells each call that does not return, until all is over.
    fn watch(&self, log: &Log) {
        let mut call = self.call();
        while !call.is_over {
            call.is_awaited = call.began.is_none() || call.is_told;
            let left = ENDLESS.saturating_sub(call.took());
            call = if call.is_awaited {
                self.bell.wait(call).unwrap_or_else(PoisonError::into_inner)
            } else if !left.is_zero() {
                self.bell.wait_timeout(call, left).unwrap_or_else(PoisonError::into_inner).0
            } else {
                call.is_told = true;
                let (name, seconds) = (&call.name, call.took().as_secs());
                let text = format!("{name} has not returned for {seconds} seconds");
                log.say(Category::Warn, format_args!("{text}: nothing is begun"));
                call
            };
        }
    }
}

impl Call {
    /// How long it has gone on.
    fn took(&self) -> Duration {
        self.began.map(|began| began.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(seconds_ago: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds_ago)).unwrap()
    }

    /// A state of Lua in which a call goes on for 20 seconds.
    fn late(is_ending: bool) -> (Lua, Rc<Guard>) {
        let (lua, ending) = (Lua::new(), Arc::new(AtomicBool::new(is_ending)));
        let guard = Guard::install(&lua, Log::default(), ending).unwrap();
        guard.clock.enter("a test", began(20));
        (lua, guard)
    }

    #[test]
    fn what_does_not_return_is_ended_with_the_daemon() {
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
            let (lua, _guard) = late(true);
            let error = lua.load(code).exec().unwrap_err();
            assert!(error.to_string().contains("the daemon is asked to end"), "{error}");
        }
    }

    #[test]
    fn while_the_daemon_runs_it_is_told_and_goes_on() {
        let (lua, guard) = late(false);
        let is_told = || guard.clock.call().is_told;
        // Nothing is done meanwhile, as when it waits for a program.
        while !is_told() {
            thread::yield_now();
        }
        lua.load("for n = 1, 1000000 do end").exec().unwrap();
        guard.leave();
        guard.clock.enter("another", began(20));
        while !is_told() {
            thread::yield_now();
        }
        guard.enter("a quick one");
        assert!(!is_told());
    }
}
