//! Programs that Lua starts by `io.popen`.
//!
//! Lua waits for such a program when it closes the pipe, and therefore also when a Lua state is
//! closed. A program that neither reads nor writes may run forever, and the daemon must not wait
//! for it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    os::fd::OwnedFd,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use mlua::{Function, Lua, MultiValue, Result, Table};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

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
    /// Descriptors of the processes, since a PID may have been reused.
    running: RefCell<Vec<OwnedFd>>,
    /// The children of this thread before a program is started.
    before: RefCell<BTreeSet<i32>>,
}

impl PopenPrograms {
    /// Starts tracking the programs of this Lua state.
    pub(super) fn track(lua: &Lua) -> Result<Rc<Self>> {
        let programs = Rc::new(Self::default());
        let shared = Rc::clone(&programs);
        let before = lua.create_function(move |_, ()| {
            shared.before.replace(children());
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
        running.retain(is_running);
        let new = children().into_iter().filter(|child| !before.contains(child));
        let new = new.filter_map(Pid::from_raw);
        running.extend(new.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
    }

    pub(super) fn any_running(&self) -> bool {
        self.running.borrow().iter().any(is_running)
    }

    /// Terminates programs that are still running some time after their pipes are closed: first by
    /// SIGTERM, then by SIGKILL.
    pub(super) fn terminate(&self) {
        let mut running = self.running.take();
        running.retain(is_running);
        if running.is_empty() {
            return;
        }
        let terminate = move || {
            for signal in [Signal::TERM, Signal::KILL] {
                let until = Instant::now() + GRACE;
                running.retain(|it| {
                    !exits_within(it, until.saturating_duration_since(Instant::now()))
                });
                for program in &running {
                    // It may have exited just now.
                    let _ = pidfd_send_signal(program, signal);
                }
            }
        };
        // Without a thread the only alternative is to wait for them.
        let _ = thread::Builder::new().name("programs".into()).spawn(terminate);
    }
}

/// Returns the child processes of this thread that were not reaped yet. It is empty if the kernel
/// does not list them: proc(5), `CONFIG_PROC_CHILDREN`.
fn children() -> BTreeSet<i32> {
    let listed = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_running(program: &OwnedFd) -> bool {
    !exits_within(program, Duration::ZERO)
}

/// Returns true if the program exits within this time.
fn exits_within(program: &OwnedFd, within: Duration) -> bool {
    let Ok(within) = Timespec::try_from(within) else { return false };
    poll(&mut [PollFd::new(program, PollFlags::IN)], Some(&within)).is_ok_and(|ended| ended > 0)
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
        let left = children();
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
