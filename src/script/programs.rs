//! Programs that Lua starts by `io.popen`.
//!
//! Lua waits for such a program when it closes the pipe, and therefore also when a Lua state is
//! closed. A program that neither reads nor writes may run forever, and the daemon must not wait
//! for it.

use std::{
    cell::RefCell,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use mirror_platform::{process_handle::ProcessHandle, processes::children_of_this_thread};
use mlua::{Function, Lua, MultiValue, Result, Table};
use rustix::process::{Pid, Signal};

/// Time that programs may take to exit after their pipes are closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// Wrapper of `io.popen` that calls a function before and after.
const POPEN: &str = "
    local popen, before, after = ...
    return function(...)
        before()
        return after(popen(...))
    end";

/// The programs that one Lua state has started.
#[derive(Debug, Default)]
pub(super) struct PopenPrograms {
    /// Handles of the processes, since a PID may have been reused.
    running: RefCell<Vec<ProcessHandle>>,
    /// The children of this thread before a program is started.
    before: RefCell<Vec<Pid>>,
}

impl PopenPrograms {
    /// Starts tracking the programs of this Lua state.
    pub(super) fn track(lua: &Lua) -> Result<Rc<Self>> {
        let programs = Rc::new(Self::default());
        let shared = Rc::clone(&programs);
        let before = lua.create_function(move |_, ()| {
            shared.before.replace(children_of_this_thread());
            Ok(())
        })?;
        let shared = Rc::clone(&programs);
        let after = lua.create_function(move |_, returned: MultiValue| {
            shared.record_started();
            Ok(returned)
        })?;
        let io: Table = lua.globals().get("io")?;
        let popen: Function = io.get("popen")?;
        let popen: Function = lua.load(POPEN).set_name("=popen").call((popen, before, after))?;
        io.set("popen", popen)?;
        Ok(programs)
    }

    fn record_started(&self) {
        let before = self.before.take();
        let mut running = self.running.borrow_mut();
        running.retain(|program| !program.has_exited());
        let new = children_of_this_thread().into_iter().filter(|child| !before.contains(child));
        running.extend(new.filter_map(|pid| ProcessHandle::open(pid).ok()));
    }

    pub(super) fn any_running(&self) -> bool {
        self.running.borrow().iter().any(|program| !program.has_exited())
    }

    /// Terminates programs that are still running some time after their pipes are closed: first by
    /// SIGTERM, then by SIGKILL.
    pub(super) fn terminate(&self) {
        let mut running = self.running.take();
        running.retain(|program| !program.has_exited());
        if running.is_empty() {
            return;
        }
        let terminate = move || {
            for signal in [Signal::TERM, Signal::KILL] {
                let until = Instant::now() + GRACE;
                running
                    .retain(|it| !it.exits_within(until.saturating_duration_since(Instant::now())));
                for program in &running {
                    // It may have exited just now.
                    let _ = program.signal(signal);
                }
            }
        };
        // Without a thread the only alternative is to wait for them.
        let _ = thread::Builder::new().name("programs".into()).spawn(terminate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_program_does_not_block_closing_the_lua_state() {
        let lua = Lua::new();
        let programs = PopenPrograms::track(&lua).unwrap();
        let code = "
            kept = io.popen('exec sleep 1000')
            deaf = io.popen([[trap '' TERM; exec sleep 1000]], 'w')
            return io.popen('echo said'):read()";
        assert_eq!(lua.load(code).eval::<String>().unwrap(), "said");
        assert!(programs.any_running());
        programs.terminate();
        assert!(!programs.any_running(), "they are no longer tracked");
        // Lua waits for its programs here.
        drop(lua);
        let left = children_of_this_thread();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn exited_programs_are_forgotten() {
        let lua = Lua::new();
        let programs = PopenPrograms::track(&lua).unwrap();
        lua.load("for n = 1, 20 do io.popen('true'):close() end").exec().unwrap();
        assert!(!programs.any_running());
        assert!(programs.running.borrow().len() <= 1);
        let error = lua.load("io.popen()").exec().unwrap_err().to_string();
        assert!(error.contains("bad argument #1"), "{error}");
    }
}
