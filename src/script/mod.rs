//! User scripts: Lua code that is called while the daemon runs.
//!
//! The state of Lua in which a configuration file ran stays, on the engine's thread, as long as the
//! file has scripts. What belongs to the language is written in it, in the files of Lua beside this
//! one; it stands on a few functions of Rust (`host`). A script that takes long holds up the
//! decisions and nothing else: what happens meanwhile is kept by the watcher.

mod descriptors;
mod desk;
mod guard;
mod host;
mod programs;
mod socket;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    os::fd::RawFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use mirror_core::{
    effect::Call,
    fleet::{Charter, Fleet, Limits},
    input::Answer,
    job::{Failure, JobId},
    notice::MirrorId,
    path::Escaped,
    time::Moment,
};
use mirror_platform::clock::{ticks, ticks_per_second};
use mlua::{
    Error, FromLuaMulti, Function, IntoLuaMulti, Lua, LuaString, Result as LuaResult, Table, Value,
};

use crate::{config::Sync, report::Log};

pub use descriptors::{Descriptors, Ready};
pub use desk::{Order, Seat, Spawn};

use desk::Desk;
use guard::Guard;
use programs::Programs;

/// The code of Lua beside this file.
const FILES: [(&str, &str); 6] = [
    ("commands", include_str!("commands.lua")),
    ("defaults", include_str!("defaults.lua")),
    ("events", include_str!("events.lua")),
    ("extras", include_str!("extras.lua")),
    ("runtime", include_str!("runtime.lua")),
    ("times", include_str!("times.lua")),
];

/// What a file and its scripts may use of memory, in bytes. With more they fail: a script that runs
/// away is not to take the machine with it.
const MOST_MEMORY: usize = 1 << 30;

/// Reads the sync of this number again. If it can't be run any more, why.
pub type Reread = Box<dyn Fn(usize) -> Result<Sync, String>>;

/// The scripts of one configuration.
pub struct Scripts {
    lua: Lua,
    desk: Rc<Desk>,
    host: Table,
    /// The functions of `runtime.lua` that are called from here.
    calls: Rc<RefCell<Option<Table>>>,
    /// The numbers of the mirrors, by which they are called.
    numbers: BTreeMap<MirrorId, usize>,
    reread: Option<Reread>,
    guard: Rc<Guard>,
    programs: Rc<Programs>,
}

impl Drop for Scripts {
    fn drop(&mut self) {
        self.programs.end();
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("desk", &self.desk).finish_non_exhaustive()
    }
}

/// What a script answered to a call.
#[derive(Debug)]
pub enum Called {
    /// The function for something that is due has returned.
    Done(Result<(), Failure>),
    /// What it says of the end of a child.
    Collected(JobId, Result<Answer, Failure>),
}

impl Scripts {
    /// Scripts in this state of Lua, none yet.
    ///
    /// # Errors
    ///
    /// For want of memory only.
    pub fn new(lua: &Lua) -> LuaResult<Self> {
        lua.set_memory_limit(MOST_MEMORY)?;
        let desk = Rc::new(Desk::default());
        let host = host::table(lua, &desk)?;
        let (calls, numbers) = (Rc::default(), BTreeMap::new());
        socket::add_searcher(lua)?;
        let (guard, programs) = (Rc::default(), Programs::watch(lua)?);
        Ok(Self { lua: lua.clone(), desk, host, calls, numbers, reread: None, guard, programs })
    }

    /// A function for Lua that loads what scripts need. It takes the table of the syncs, and returns
    /// what `runtime.lua` does.
    ///
    /// # Errors
    ///
    /// For want of memory only.
    pub fn loader(&self) -> LuaResult<Function> {
        let chunk = self.lua.create_function(|lua, name: String| {
            let found = FILES.iter().find(|(file, _)| *file == name);
            let (_, text) = found.ok_or_else(|| Error::runtime("no such file"))?;
            lua.load(*text).set_name(format!("={name}")).into_function()
        })?;
        let (host, calls) = (self.host.clone(), Rc::clone(&self.calls));
        self.lua.create_function(move |_, syncs: Table| {
            let runtime: Function = chunk.call("runtime")?;
            let made: Table = runtime.call((&host, syncs, &chunk))?;
            *calls.borrow_mut() = Some(made.get("calls")?);
            Ok(made)
        })
    }

    /// What ends the daemon from now on, where loading was ended before: a function for Lua.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn exit_function(&self) -> LuaResult<Function> {
        self.host.get("exit")
    }

    /// From now on calls are watched: what takes long is told to `log`, and what does not return is
    /// ended some time after `ending` is set.
    ///
    /// # Errors
    ///
    /// For want of memory only.
    pub fn watch_over(&mut self, log: Log, ending: Arc<AtomicBool>) -> LuaResult<()> {
        self.guard = Guard::install(&self.lua, log, ending)?;
        Ok(())
    }

    /// How a sync is read again when a script has changed what it leaves out.
    pub fn set_reread(&mut self, reread: Reread) {
        self.reread = Some(reread);
    }

    /// The sync of this number, as it is now.
    ///
    /// # Errors
    ///
    /// Why it can't be run any more.
    pub fn reread(&self, number: usize) -> Result<Sync, String> {
        match &self.reread {
            Some(reread) => reread(number),
            None => Err("it cannot be read again".into()),
        }
    }

    /// Whether something waits for its time, or for a descriptor.
    #[must_use]
    pub fn has_plans(&self) -> bool {
        self.desk.wake_at.get().is_some() || !self.desk.orders.borrow().is_empty()
    }

    /// Whether a program that Lua has started runs. It is asked to end with these scripts.
    #[must_use]
    pub fn has_programs(&self) -> bool {
        self.programs.any_runs()
    }

    /// The mirror of the sync of this number is this one.
    pub fn assign(&mut self, number: usize, seat: Seat) {
        self.numbers.insert(seat.mirror, number);
        self.desk.seats.borrow_mut().insert(number, seat);
    }

    /// The mirror of the sync of this number.
    #[must_use]
    pub fn mirror(&self, number: usize) -> Option<MirrorId> {
        self.desk.seat(number).ok().map(|seat| seat.mirror)
    }

    /// What scripts want done, in the order in which they said so.
    #[must_use]
    pub fn take_orders(&self) -> Vec<Order> {
        self.desk.orders.take()
    }

    /// The code with which a script wants the daemon to end.
    #[must_use]
    pub fn exit(&self) -> Option<u8> {
        self.desk.exit.get()
    }

    /// How long until an alarm is due.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        let left = self.desk.wake_at.get()? - ticks() as f64;
        let seconds = (left / f64::from(ticks_per_second())).max(0.0);
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// A child has ended, and its script is not called for that.
    pub fn forget(&self, fleet: &mut Fleet, job: JobId, now: Moment) {
        // It drops an entry of a table: it can't fail.
        let _ = self.run::<()>((fleet, now), "", "forget", job.0);
    }

    /// Calls the script of a mirror, whose sync has this name.
    pub fn call(
        &self,
        fleet: &mut Fleet,
        (mirror, sync): (MirrorId, &str),
        call: &Call,
        now: Moment,
    ) -> Called {
        // Who is called has a number, or there would be no such call.
        let number = self.numbers.get(&mirror).copied().unwrap_or_default();
        let (name, id) = match call {
            Call::Init(id) => ("init", Some(id.0)),
            Call::Full(id) => ("full", Some(id.0)),
            Call::Action => ("action", None),
            Call::Collect { job, code, .. } => {
                let (what, given) = (format!("collect of {sync}"), (number, job.0, *code));
                let said = self.run((fleet, now), &what, "collect", given);
                return Called::Collected(*job, said.map(answer));
            }
        };
        let said = self.run((fleet, now), &format!("{name} of {sync}"), name, (number, id));
        Called::Done(said.map(|_: Value| ()))
    }

    /// Calls the alarms that are due.
    ///
    /// # Errors
    ///
    /// What some of them failed with. The others were called all the same.
    pub fn ring(&self, fleet: &mut Fleet, now: Moment) -> Result<(), Failure> {
        let failed: Option<LuaString> = self.run((fleet, now), "an alarm", "ring", ())?;
        failed.map_or(Ok(()), |why| Err(Failure::new(readable(&why.as_bytes()))))
    }

    /// Calls the functions for a descriptor that is ready.
    ///
    /// # Errors
    ///
    /// What one of them failed with.
    pub fn ready(
        &self,
        fleet: &mut Fleet,
        (fd, what): (RawFd, Ready),
        now: Moment,
    ) -> Result<(), Failure> {
        let called = "a function for a descriptor";
        if what.read {
            self.run::<()>((fleet, now), called, "ready", (fd, "ready"))?;
        }
        if what.write {
            self.run::<()>((fleet, now), called, "ready", (fd, "writey"))?;
        }
        Ok(())
    }

    /// Calls `onSynced` of the sync of this number, for names that have a NUL behind each.
    ///
    /// # Errors
    ///
    /// What it failed with.
    pub fn synced(
        &self,
        fleet: &mut Fleet,
        (number, names): (usize, &[u8]),
        now: Moment,
    ) -> Result<(), Failure> {
        let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let names = names.map(|name| self.lua.create_string(name)).collect::<LuaResult<Vec<_>>>();
        let names = names.map_err(|error| Failure::new(said(&error)))?;
        let said =
            self.run::<Option<LuaString>>((fleet, now), "onSynced", "synced", (number, names));
        match said? {
            None => Ok(()),
            Some(why) => Err(Failure::new(readable(&why.as_bytes()))),
        }
    }

    /// Calls one of the functions of `runtime.lua`, which has the fleet meanwhile. `what` is what
    /// people call it.
    fn run<R: FromLuaMulti>(
        &self,
        (fleet, now): (&mut Fleet, Moment),
        what: &str,
        name: &str,
        given: impl IntoLuaMulti,
    ) -> Result<R, Failure> {
        if self.exit().is_some() {
            return Err(Failure::new("the script asked to end"));
        }
        let calls = self.calls.borrow().clone();
        let function = calls.map(|calls| calls.get::<Function>(name));
        let Some(Ok(function)) = function else {
            return Err(Failure::new(format!("there is no function {name}")));
        };
        let nobody = Fleet::new(Vec::<Charter>::new(), Limits::default());
        self.desk.fleet.replace(Some(std::mem::replace(fleet, nobody)));
        self.desk.now.set(now);
        self.guard.enter(what);
        let returned = function.call::<R>(given);
        self.guard.leave();
        if let Some(back) = self.desk.fleet.take() {
            *fleet = back;
        }
        returned.map_err(|error| {
            if self.lua.used_memory() > MOST_MEMORY / 2 {
                // What ran out of memory left it full, and the next call would find none. A collector
                // that fails leaves it as it was.
                let _ = self.lua.gc_collect();
            }
            Failure::new(said(&error))
        })
    }
}

fn answer(answer: Value) -> Answer {
    match answer {
        Value::String(text) if text.as_bytes() == b"again" => Answer::Again,
        Value::String(text) if text.as_bytes() == b"die" => Answer::Die,
        _ => Answer::Done,
    }
}

/// What Lua says, with the way by which it came there.
fn said(error: &Error) -> String {
    match error {
        Error::RuntimeError(text) => readable(text.as_bytes()),
        Error::MemoryError(_) => {
            "the scripts need more memory than they may have: 1 GiB".to_owned()
        }
        other => readable(other.to_string().as_bytes()),
    }
}

/// Lines for the log, of which those of a traceback begin with a tab. Names may be in them: nothing
/// else of their bytes is to tell a terminal anything.
fn readable(lines: &[u8]) -> String {
    let is_of_a_traceback = |byte: &u8| matches!(byte, b'\n' | b'\t');
    let parts = lines.chunk_by(|one, other| is_of_a_traceback(one) == is_of_a_traceback(other));
    let part = |part: &[u8]| match part.first() {
        Some(first) if is_of_a_traceback(first) => String::from_utf8_lossy(part).into_owned(),
        _ => Escaped(part).to_string(),
    };
    parts.map(part).collect()
}
