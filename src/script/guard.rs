//! An eye on calls that take long, or do not return.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    /// The call that goes on.
    call: RefCell<String>,
    began: Cell<Option<Instant>>,
    is_told: Cell<bool>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Guard {
    /// Watches this state. Between the steps of Lua it can be ended, within a program that it
    /// waits for it can't.
    pub(super) fn install(lua: &Lua, log: Log, ending: Arc<AtomicBool>) -> Result<Rc<Self>> {
        let guard = Rc::new(Self { log, ending, ..Self::default() });
        let its = Rc::clone(&guard);
        its.look_every(STEPS, lua)?;
        Ok(guard)
    }

    fn look_every(self: Rc<Self>, steps: u32, lua: &Lua) -> Result<()> {
        let often = HookTriggers::new().every_nth_instruction(steps);
        lua.set_global_hook(often, move |lua, _| self.look(lua))
    }

    /// A call begins, which people know by this name.
    pub(super) fn enter(&self, call: &str) {
        call.clone_into(&mut self.call.borrow_mut());
        self.began.set(Some(Instant::now()));
        self.is_told.set(false);
    }

    /// It is over.
    pub(super) fn leave(&self) {
        let took = self.began.take().map(|began| began.elapsed()).unwrap_or_default();
        if took >= SLOW {
            let (call, seconds) = (self.call.borrow(), took.as_secs_f64());
            let text = format!("{call} took {seconds:.1} seconds: so long nothing else was begun");
            self.log.say(Category::Warn, text);
        }
    }

    fn look(self: &Rc<Self>, lua: &Lua) -> Result<VmState> {
        let took = self.began.get().map(|began| began.elapsed()).unwrap_or_default();
        if took >= ENDLESS && !self.is_told.replace(true) {
            let (call, seconds) = (self.call.borrow(), took.as_secs());
            let text = format!("{call} has not returned for {seconds} seconds: nothing is begun");
            self.log.say(Category::Warn, text);
        }
        if took >= GRACE && self.ending.load(Ordering::Relaxed) {
            // That is for the coroutine which runs, and for those that are made from now on.
            Rc::clone(self).look_every(EACH_STEP, lua)?;
            return Err(Error::runtime("ended, since the daemon is asked to end"));
        }
        Ok(VmState::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of Lua in which a call goes on for 20 seconds.
    fn late(is_ending: bool) -> (Lua, Rc<Guard>) {
        let (lua, ending) = (Lua::new(), Arc::new(AtomicBool::new(is_ending)));
        let guard = Guard::install(&lua, Log::default(), ending).unwrap();
        guard.enter("a test");
        guard.began.set(Instant::now().checked_sub(Duration::from_secs(20)));
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
    fn while_the_daemon_runs_it_is_told_once_and_goes_on() {
        let (lua, guard) = late(false);
        lua.load("for n = 1, 1000000 do end").exec().unwrap();
        assert!(guard.is_told.get());
        guard.enter("another");
        lua.load("for n = 1, 1000000 do end").exec().unwrap();
        assert!(!guard.is_told.get());
    }
}
