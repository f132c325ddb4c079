//! User scripts: Lua functions that are called while the daemon runs.
//!
//! The Lua state in which the configuration file ran stays alive on the engine's thread as long as
//! the file has scripts. Language-level parts are written in Lua, in the files of this directory,
//! on top of a few functions in Rust (`host`). A slow script delays the decisions of the engine and
//! nothing else: the watcher keeps the changes meanwhile.

mod call_context;
mod descriptors;
mod host;
mod programs;
mod socket;
mod watchdog;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    os::fd::RawFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use mirror_core::{
    effect::ScriptCall,
    fs_event::MirrorId,
    input::CollectAnswer,
    job::{Failure, JobId},
    path::Escaped,
};
use mirror_platform::clock::{ticks, ticks_per_second};
use mlua::{
    Error, FromLuaMulti, Function, IntoLuaMulti, Lua, LuaString, Result as LuaResult, Table, Value,
};

use crate::{config::SyncConfig, report::Log};

pub(crate) use call_context::{CallContext, ScriptRequest, SpawnRequest, SyncBinding};
pub(crate) use descriptors::{DescriptorPoller, FdReadiness};

use call_context::ScriptState;
use programs::PopenPrograms;
use watchdog::Watchdog;

/// Lua source files of this directory.
const FILES: [(&str, &str); 6] = [
    ("commands", include_str!("commands.lua")),
    ("defaults", include_str!("defaults.lua")),
    ("events", include_str!("events.lua")),
    ("extras", include_str!("extras.lua")),
    ("runtime", include_str!("runtime.lua")),
    ("times", include_str!("times.lua")),
];

/// Memory limit of a Lua state in bytes. Exceeding it raises a Lua error: a runaway script must not
/// exhaust the machine.
const MAX_LUA_MEMORY: usize = 1 << 30;

/// Garbage in bytes for which a collection is worthwhile. It also has to be one part in
/// [`GARBAGE_DIVISOR`] of what was left by the last collection, whose cost grows with that.
const MIN_GARBAGE: usize = 64 << 10;

/// See [`MIN_GARBAGE`].
const GARBAGE_DIVISOR: usize = 8;

/// Reads the sync of this number again. The error explains why it can't be run any more.
pub(crate) type RereadSync = Box<dyn Fn(usize) -> Result<SyncConfig, String>>;

/// The scripts of one configuration.
pub struct Scripts {
    lua: Lua,
    state: Rc<ScriptState>,
    host: Table,
    /// The functions of `runtime.lua` that are called from Rust.
    functions: Rc<RefCell<Option<Table>>>,
    /// Sync numbers by mirror.
    sync_numbers: BTreeMap<MirrorId, usize>,
    reread: Option<RereadSync>,
    watchdog: Rc<Watchdog>,
    programs: Rc<PopenPrograms>,
    /// Bytes in use after the last collection of all garbage.
    collected: Cell<usize>,
}

impl Drop for Scripts {
    fn drop(&mut self) {
        self.programs.terminate();
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) enum CallResult {
    /// A function for a due event has returned.
    Done(Result<(), Failure>),
    /// The decision about the exit of a child.
    Collected(JobId, Result<CollectAnswer, Failure>),
}

impl Scripts {
    /// Prepares a Lua state for scripts.
    ///
    /// # Errors
    ///
    /// If memory is exhausted.
    pub(crate) fn new(lua: &Lua) -> LuaResult<Self> {
        lua.set_memory_limit(MAX_LUA_MEMORY)?;
        let state = Rc::new(ScriptState::default());
        let host = host::host_table(lua, &state)?;
        let (functions, sync_numbers) = (Rc::default(), BTreeMap::new());
        socket::add_searcher(lua)?;
        let (watchdog, programs) = (Rc::default(), PopenPrograms::track(lua)?);
        Ok(Self {
            lua: lua.clone(),
            state,
            host,
            functions,
            sync_numbers,
            reread: None,
            watchdog,
            programs,
            collected: Cell::default(),
        })
    }

    /// Returns a Lua function that loads the runtime of scripts. It takes the table of the syncs,
    /// and returns the result of `runtime.lua`.
    ///
    /// # Errors
    ///
    /// If memory is exhausted.
    pub(crate) fn runtime_loader(&self) -> LuaResult<Function> {
        let chunk = self.lua.create_function(|lua, name: String| {
            let found = FILES.iter().find(|(file, _)| *file == name);
            let (_, text) = found.ok_or_else(|| Error::runtime("no such file"))?;
            lua.load(*text).set_name(format!("={name}")).into_function()
        })?;
        let (host, functions) = (self.host.clone(), Rc::clone(&self.functions));
        self.lua.create_function(move |_, syncs: Table| {
            let runtime: Function = chunk.call("runtime")?;
            let runtime: Table = runtime.call((&host, syncs, &chunk))?;
            *functions.borrow_mut() = Some(runtime.get("calls")?);
            Ok(runtime)
        })
    }

    /// Returns the Lua function that makes the daemon exit. Before, while loading, an exit only
    /// ended the loading.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(crate) fn exit_function(&self) -> LuaResult<Function> {
        self.host.get("exit")
    }

    /// Installs the watchdog: long calls are reported to `log`, and a call that does not return is
    /// aborted some time after `exit_requested` is set.
    ///
    /// # Errors
    ///
    /// If memory is exhausted.
    pub(crate) fn install_watchdog(
        &mut self,
        log: Log,
        exit_requested: Arc<AtomicBool>,
    ) -> LuaResult<()> {
        self.watchdog = Watchdog::install(&self.lua, log, exit_requested)?;
        Ok(())
    }

    /// Sets the function that reads a sync again after a script has changed its exclusions.
    pub(crate) fn set_reread(&mut self, reread: RereadSync) {
        self.reread = Some(reread);
    }

    /// Reads the sync of this number again.
    ///
    /// # Errors
    ///
    /// If it can't be run any more: the reason.
    pub(crate) fn reread(&self, number: usize) -> Result<SyncConfig, String> {
        match &self.reread {
            Some(reread) => reread(number),
            None => Err("it cannot be read again".into()),
        }
    }

    /// Returns true if an alarm or a request is pending.
    #[must_use]
    pub(crate) fn has_pending_callbacks(&self) -> bool {
        self.state.next_alarm.get().is_some() || !self.state.requests.borrow().is_empty()
    }

    /// Returns true if a program started by Lua is running. It is terminated together with these
    /// scripts.
    #[must_use]
    pub(crate) fn has_programs(&self) -> bool {
        self.programs.any_running()
    }

    /// Binds the sync of this number to its mirror.
    pub(crate) fn bind(&mut self, number: usize, binding: SyncBinding) {
        self.sync_numbers.insert(binding.mirror, number);
        self.state.bindings.borrow_mut().insert(number, binding);
    }

    /// Returns the mirror of the sync of this number.
    #[must_use]
    pub(crate) fn mirror(&self, number: usize) -> Option<MirrorId> {
        self.state.binding(number).ok().map(|binding| binding.mirror)
    }

    /// Takes the requests of scripts, in their order.
    #[must_use]
    pub(crate) fn take_requests(&self) -> Vec<ScriptRequest> {
        self.state.requests.take()
    }

    /// Returns the exit code that a script has requested.
    #[must_use]
    pub(crate) fn exit_code(&self) -> Option<u8> {
        self.state.exit_code.get()
    }

    /// Returns the time until the next alarm.
    #[must_use]
    pub(crate) fn time_to_next_alarm(&self) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        let left = self.state.next_alarm.get()? - ticks() as f64;
        let seconds = (left / f64::from(ticks_per_second())).max(0.0);
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Drops the state of a child whose exit is not passed to its script.
    pub(crate) fn forget(&self, context: CallContext<'_>, job: JobId) {
        // The function only removes a table entry: it can't fail.
        let _ = self.call_function::<()>(context, "", "forget", job.0);
    }

    /// Calls the script of a mirror, whose sync has the name `sync`.
    pub(crate) fn call(
        &self,
        context: CallContext<'_>,
        mirror: MirrorId,
        sync: &str,
        call: &ScriptCall,
    ) -> CallResult {
        // A mirror that is called always has a number.
        let number = self.sync_numbers.get(&mirror).copied().unwrap_or_default();
        let (name, id) = match call {
            ScriptCall::Init(id) => ("init", Some(id.0)),
            ScriptCall::Full(id) => ("full", Some(id.0)),
            ScriptCall::Action => ("action", None),
            ScriptCall::Collect { job, code, .. } => {
                let (title, args) = (format!("collect of {sync}"), (number, job.0, *code));
                let result = self.call_function(context, &title, "collect", args);
                return CallResult::Collected(*job, result.map(|answer| collect_answer(&answer)));
            }
        };
        let result = self.call_function(context, &format!("{name} of {sync}"), name, (number, id));
        CallResult::Done(result.map(|_: Value| ()))
    }

    /// Calls the alarms that are due.
    ///
    /// # Errors
    ///
    /// The errors of those that failed. The others were called all the same.
    pub(crate) fn call_due_alarms(&self, context: CallContext<'_>) -> Result<(), Failure> {
        let failed: Option<LuaString> = self.call_function(context, "an alarm", "ring", ())?;
        failed.map_or(Ok(()), |why| Err(Failure::new(escape_lines(&why.as_bytes()))))
    }

    /// Calls the functions for a descriptor that is ready.
    ///
    /// # Errors
    ///
    /// The error of one of them.
    pub(crate) fn call_for_descriptor(
        &self,
        CallContext { fleet, now }: CallContext<'_>,
        fd: RawFd,
        readiness: FdReadiness,
    ) -> Result<(), Failure> {
        let kinds = [(readiness.read, "ready"), (readiness.write, "writey")];
        for (_, kind) in kinds.into_iter().filter(|(is_ready, _)| *is_ready) {
            let context = CallContext { fleet: &mut *fleet, now };
            self.call_function::<()>(context, "a function for a descriptor", "ready", (fd, kind))?;
        }
        Ok(())
    }

    /// Calls `onSynced` of the sync of this number, for paths that are each followed by a NUL.
    ///
    /// # Errors
    ///
    /// The error of the function.
    pub(crate) fn call_on_synced(
        &self,
        context: CallContext<'_>,
        number: usize,
        names: &[u8],
    ) -> Result<(), Failure> {
        let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let names = names.map(|name| self.lua.create_string(name)).collect::<LuaResult<Vec<_>>>();
        let names = names.map_err(|error| Failure::new(error_text(&error)))?;
        let failed: Option<LuaString> =
            self.call_function(context, "onSynced", "synced", (number, names))?;
        failed.map_or(Ok(()), |why| Err(Failure::new(escape_lines(&why.as_bytes()))))
    }

    /// Frees all unused memory, if it may be much. Not while a program of `io.popen` runs: Lua
    /// would wait for it.
    pub(crate) fn collect_garbage(&self) {
        let before = self.collected.get();
        let limit = before.saturating_add(MIN_GARBAGE.max(before / GARBAGE_DIVISOR));
        if self.lua.used_memory() < limit || self.programs.any_running() {
            return;
        }
        // Lua only warns of a finalizer that fails.
        let _ = self.lua.gc_collect();
        self.collected.set(self.lua.used_memory());
    }

    /// Calls one of the functions of `runtime.lua`. `title` is the name of the call for messages.
    fn call_function<R: FromLuaMulti>(
        &self,
        context: CallContext<'_>,
        title: &str,
        name: &str,
        args: impl IntoLuaMulti,
    ) -> Result<R, Failure> {
        if self.exit_code().is_some() {
            return Err(Failure::new("the script asked to end"));
        }
        let functions = self.functions.borrow().clone();
        let function = functions.map(|functions| functions.get::<Function>(name));
        let Some(Ok(function)) = function else {
            return Err(Failure::new(format!("there is no function {name}")));
        };
        self.watchdog.enter(title);
        let returned = self.state.with_context(&self.lua, context, || function.call::<R>(args));
        self.watchdog.leave();
        returned.map_err(|error| {
            if self.lua.used_memory() > MAX_LUA_MEMORY / 2 {
                // A call that ran out of memory left it full, and the next call would find none. A
                // failed collection changes nothing.
                let _ = self.lua.gc_collect();
            }
            Failure::new(error_text(&error))
        })
    }
}

fn collect_answer(answer: &Value) -> CollectAnswer {
    match answer.as_string().map(LuaString::as_bytes).as_deref() {
        Some(b"again") => CollectAnswer::Again,
        Some(b"die") => CollectAnswer::Die,
        _ => CollectAnswer::Done,
    }
}

/// Returns the text of a Lua error with its traceback.
#[expect(clippy::wildcard_enum_match_arm, reason = "the errors of Lua are many")]
fn error_text(error: &Error) -> String {
    match error {
        Error::RuntimeError(text) => escape_lines(text.as_bytes()),
        Error::MemoryError(_) => "the scripts exceed their memory limit of 1 GiB".to_owned(),
        other => escape_lines(other.to_string().as_bytes()),
    }
}

/// Escapes lines for the log, except newlines and the tabs that begin the lines of a traceback.
/// Names in them must not send control characters to a terminal.
fn escape_lines(lines: &[u8]) -> String {
    let is_traceback_layout = |byte: &u8| matches!(byte, b'\n' | b'\t');
    let parts = lines.chunk_by(|one, other| is_traceback_layout(one) == is_traceback_layout(other));
    let part = |part: &[u8]| match part.first() {
        Some(first) if is_traceback_layout(first) => String::from_utf8_lossy(part).into_owned(),
        _ => Escaped(part).to_string(),
    };
    parts.map(part).collect()
}
