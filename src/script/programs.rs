//! Programs that Lua itself starts, by `io.popen`.
//!
//! Lua waits for such a program when it closes the pipe to it, and so when a state of Lua ends. One
//! that neither reads nor writes may run for ever, and the daemon must not wait for that.

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

/// How long they may take to end by themselves once their pipes are closed, and how long again once
/// they are asked to.
const GRACE: Duration = Duration::from_secs(1);

/// Tells before and after a program is started.
const POPEN: &str = "
    local popen, before, after = ...
    return function(...)
        before()
        return after(popen(...))
    end";

/// The programs that one state of Lua has started.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// By descriptors, since a number may be another process's by now.
    running: RefCell<Vec<OwnedFd>>,
    /// The children of this thread when one was about to be started.
    before: RefCell<BTreeSet<i32>>,
}

impl Programs {
    /// Keeps an eye on what this state of Lua starts from now on.
    pub(super) fn watch(lua: &Lua) -> Result<Rc<Self>> {
        let programs = Rc::new(Self::default());
        let its = Rc::clone(&programs);
        let before = lua.create_function(move |_, ()| {
            its.before.replace(children());
            Ok(())
        })?;
        let its = Rc::clone(&programs);
        let after = lua.create_function(move |_, returned: MultiValue| {
            its.note_new();
            Ok(returned)
        })?;
        let io: Table = lua.globals().get("io")?;
        let popen: Function = io.get("popen")?;
        let popen: Function = lua.load(POPEN).set_name("=popen").call((popen, before, after))?;
        io.set("popen", popen)?;
        Ok(programs)
    }

    fn note_new(&self) {
        let before = self.before.take();
        let mut running = self.running.borrow_mut();
        running.retain(is_running);
        let new = children().into_iter().filter(|child| !before.contains(child));
        let new = new.filter_map(Pid::from_raw);
        running.extend(new.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
    }

    /// Whether one of them runs.
    pub(super) fn any_runs(&self) -> bool {
        self.running.borrow().iter().any(is_running)
    }

    /// The pipes to them are about to be closed: what runs for long in spite of that is asked to end,
    /// and then is ended.
    pub(super) fn end(&self) {
        let mut running = self.running.take();
        running.retain(is_running);
        if running.is_empty() {
            return;
        }
        let end = move || {
            for signal in [Signal::TERM, Signal::KILL] {
                let until = Instant::now() + GRACE;
                running.retain(|it| !ends(it, until.saturating_duration_since(Instant::now())));
                for program in &running {
                    // It may have ended just now.
                    let _ = pidfd_send_signal(program, signal);
                }
            }
        };
        // Without a thread there is nothing better than to wait for them.
        let _ = thread::Builder::new().name("programs".into()).spawn(end);
    }
}

/// The processes that this thread has started and that nobody has waited for yet. None, where the
/// kernel does not tell: proc(5), `CONFIG_PROC_CHILDREN`.
fn children() -> BTreeSet<i32> {
    let listed = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_running(program: &OwnedFd) -> bool {
    !ends(program, Duration::ZERO)
}

/// Whether it ends within this time.
fn ends(program: &OwnedFd, within: Duration) -> bool {
    let Ok(within) = Timespec::try_from(within) else { return false };
    poll(&mut [PollFd::new(program, PollFlags::IN)], Some(&within)).is_ok_and(|ended| ended > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_an_end_does_not_hold_up_the_end_of_its_state() {
        let lua = Lua::new();
        let programs = Programs::watch(&lua).unwrap();
        let code = "
            kept = io.popen('exec sleep 1000')
            deaf = io.popen([[trap '' TERM; exec sleep 1000]], 'w')
            return io.popen('echo said'):read()";
        assert_eq!(lua.load(code).eval::<String>().unwrap(), "said");
        assert!(programs.any_runs());
        programs.end();
        assert!(!programs.any_runs(), "they are no longer its business");
        // Lua waits here.
        drop(lua);
        let left = children();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let lua = Lua::new();
        let programs = Programs::watch(&lua).unwrap();
        lua.load("for n = 1, 20 do io.popen('true'):close() end").exec().unwrap();
        assert!(!programs.any_runs());
        assert!(programs.running.borrow().len() <= 1);
        let error = lua.load("io.popen()").exec().unwrap_err().to_string();
        assert!(error.contains("bad argument #1"), "{error}");
    }
}
